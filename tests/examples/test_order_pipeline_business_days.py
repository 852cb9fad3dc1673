"""When the shop ships next."""

from datetime import UTC, datetime, time, timedelta

import pytest
from business_days import next_business_day
from hypothesis import given
from hypothesis import strategies as st

moments = st.timedeltas(timedelta(0), timedelta(days=36_525)).map(lambda age: datetime(2000, 1, 1, tzinfo=UTC) + age)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-11-23T15:30:00Z", "2026-11-24T09:00:00Z"),  # Monday → Tuesday
        ("2026-11-24T00:00:00Z", "2026-11-25T09:00:00Z"),  # midnight, before opening: still the next day
        ("2026-11-27T09:00:00Z", "2026-11-30T09:00:00Z"),  # Friday → Monday
        ("2026-11-28T12:00:00Z", "2026-11-30T09:00:00Z"),  # Saturday → Monday
        ("2026-11-29T23:59:59Z", "2026-11-30T09:00:00Z"),  # Sunday → Monday
        ("2026-12-31T10:00:00Z", "2027-01-01T09:00:00Z"),  # holidays are not known
    ],
)
def test_ships_the_next_working_day_at_nine(now: str, expected: str) -> None:
    assert next_business_day(datetime.fromisoformat(now)) == datetime.fromisoformat(expected)


@given(moments)
def test_is_always_a_weekday_at_nine_utc(now: datetime) -> None:
    shipping = next_business_day(now)

    assert shipping.weekday() < 5
    assert shipping.timetz() == time(9, tzinfo=UTC)


@given(moments)
def test_is_after_now_and_never_further_than_a_weekend(now: datetime) -> None:
    shipping = next_business_day(now)

    assert timedelta(0) < shipping - now <= timedelta(days=3, hours=9)


@given(moments, st.timedeltas(timedelta(0), timedelta(days=5)))
def test_later_orders_never_ship_earlier(now: datetime, later: timedelta) -> None:
    assert next_business_day(now) <= next_business_day(now + later)
