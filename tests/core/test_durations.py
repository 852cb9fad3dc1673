"""Durations as users write them."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everstep.core.durations import duration_ms, format_duration, lease_ms

UNITS = {
    "second": 1_000,
    "minute": 60_000,
    "hour": 3_600_000,
    "day": 86_400_000,
    "week": 604_800_000,
    "month": 2_592_000_000,
    "year": 31_536_000_000,
}


@pytest.mark.parametrize(("unit", "ms"), UNITS.items())
def test_every_unit_is_taken_in_the_singular_and_in_the_plural(unit: str, ms: int) -> None:
    assert duration_ms(f"1 {unit}") == ms
    assert duration_ms(f"3 {unit}s") == 3 * ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1.5 minutes", 90_000),
        (".5 seconds", 500),
        ("1.1 seconds", 1_100),
        ("10seconds", 10_000),
        (" 1  hour ", 3_600_000),
    ],
)
def test_fractions_and_spaces_are_taken(text: str, ms: int) -> None:
    assert duration_ms(text) == ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [("500ms", 500), ("5s", 5_000), ("10m", 600_000), ("2h", 7_200_000), ("1d", 86_400_000), ("1.5 h", 5_400_000)],
)
def test_units_have_short_names(text: str, ms: int) -> None:
    assert duration_ms(text) == ms


@pytest.mark.parametrize("text", ["5S", "10M", "5mss", "1h30m", "5ss", "1w", "1y"])
def test_other_short_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        duration_ms(text)


def test_a_timedelta_is_taken() -> None:
    assert duration_ms(timedelta(minutes=2, milliseconds=3)) == 120_003


@pytest.mark.parametrize("zero", [0, 0.0, "0 seconds", timedelta(0)])
def test_zero_needs_no_unit(zero: Any) -> None:
    assert duration_ms(zero) == 0


@pytest.mark.parametrize("text", ["0.0000000001 seconds", "0.0001 seconds", "0.00000000000000000001 years"])
def test_the_shortest_text_is_still_a_millisecond(text: str) -> None:
    assert duration_ms(text) == 1


@given(micros=st.integers(0, 2**62))
def test_a_timedelta_is_rounded_up_to_the_next_millisecond(micros: int) -> None:
    ms = duration_ms(timedelta(microseconds=micros))
    assert 0 <= ms * 1000 - micros < 1000


@given(
    whole=st.integers(0, 10**15), digits=st.text("0123456789", min_size=1, max_size=30), unit=st.sampled_from([*UNITS])
)
def test_text_is_rounded_up_to_the_next_millisecond(whole: int, digits: str, unit: str) -> None:
    exact = Fraction(f"{whole}.{digits}") * UNITS[unit]
    assert 0 <= duration_ms(f"{whole}.{digits} {unit}s") - exact < 1


@given(one=st.integers(0, 10**9), other=st.integers(0, 10**9))
def test_a_longer_text_is_never_a_shorter_time(one: int, other: int) -> None:
    shorter, longer = sorted((one, other))
    assert duration_ms(f"{shorter} seconds") <= duration_ms(f"{longer} seconds")


def test_the_longest_timedelta_is_taken() -> None:
    assert duration_ms(timedelta.max) == 86_400_000_000_000_000


def test_a_number_too_long_for_a_float_is_taken() -> None:
    assert duration_ms("9" * 400 + " years") == int("9" * 400) * UNITS["year"]


@pytest.mark.parametrize("number", [10, 1.5, -3, float("inf"), float("nan")])
def test_a_bare_number_is_refused_with_the_reason_and_the_cure(number: float) -> None:
    with pytest.raises(TypeError) as caught:
        duration_ms(number, what="timeout of step 'charge'")
    message = str(caught.value)
    assert message.startswith(f"timeout of step 'charge' is the bare number {number!r}")
    assert "milliseconds in JavaScript" in message
    assert f'write "{number} seconds", or "{number}ms" where it is in milliseconds' in message


@pytest.mark.parametrize("value", [None, True, False, b"10 seconds", ["10 seconds"]])
def test_another_kind_of_value_is_refused_by_its_type(value: Any) -> None:
    with pytest.raises(TypeError, match=rf"retries.delay must be a string or a timedelta, got {type(value).__name__}"):
        duration_ms(value, what="retries.delay")


@pytest.mark.parametrize(
    "text", ["", "10", "ten seconds", "10 sec", "-10 seconds", "1e3 seconds", "10 seconds ago", "inf days"]
)
def test_text_that_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        duration_ms(text, what="timeout of wait 'approval'")
    assert str(caught.value).startswith(f"timeout of wait 'approval' {text!r} is not a duration")
    assert '"10 seconds"' in str(caught.value)


def test_a_negative_timedelta_is_refused_with_its_value() -> None:
    with pytest.raises(ValueError, match=r"delay must not be negative, got datetime.timedelta\(days=-1\)"):
        duration_ms(timedelta(days=-1), what="delay")


def test_a_refusal_is_not_remembered_under_another_name() -> None:
    for what in ("one", "other"):
        with pytest.raises(ValueError, match=f"^{what} "):
            duration_ms("soon", what=what)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 ms"),
        (12, "12 ms"),
        (1_000, "1 s"),
        (1_500, "1.5 s"),
        (90_000, "1.5 min"),
        (7_200_000, "2 h"),
        (86_400_000, "1 d"),
    ],
)
def test_a_duration_is_written_for_people_in_the_largest_unit(ms: int, text: str) -> None:
    assert format_duration(ms) == text


@pytest.mark.parametrize("lease", ["2 seconds", "1 day", timedelta(hours=24)])
def test_a_lease_lasts_from_two_seconds_to_a_day(lease: Any) -> None:
    assert 2_000 <= lease_ms(lease) <= 86_400_000


@pytest.mark.parametrize("lease", ["1.9 seconds", "25 hours", "500 days", 0])
def test_a_lease_that_is_shorter_or_longer_is_refused(lease: Any) -> None:
    with pytest.raises(ValueError, match="a lease must be from 2 seconds to 1 day, got"):
        lease_ms(lease)
