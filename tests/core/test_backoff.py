"""How long to wait before the next attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everstep.core.limits import WAIT_MS
from everstep.core.policy.backoff import Backoff, retry_delay_ms

BACKOFFS = st.sampled_from(["constant", "linear", "exponential"])
BASES = st.integers(0, WAIT_MS)
FAILURES = st.integers(1, 10_001)
CAPS = st.none() | st.integers(0, 2 * WAIT_MS)


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [
        ("constant", [10_000, 10_000, 10_000, 10_000]),
        ("linear", [10_000, 20_000, 30_000, 40_000]),
        ("exponential", [10_000, 20_000, 40_000, 80_000]),
    ],
)
def test_the_delay_grows_as_its_name_says(backoff: Backoff, delays: list[int]) -> None:
    assert [retry_delay_ms(10_000, backoff, failures) for failures in (1, 2, 3, 4)] == delays


@given(base=BASES, backoff=BACKOFFS, failures=FAILURES, cap=CAPS)
def test_a_later_retry_never_waits_less(base: int, backoff: Backoff, failures: int, cap: int | None) -> None:
    assert retry_delay_ms(base, backoff, failures, cap) <= retry_delay_ms(base, backoff, failures + 1, cap)


@given(base=BASES, backoff=BACKOFFS, failures=FAILURES, cap=CAPS)
def test_no_delay_is_longer_than_the_cap_or_a_year(base: int, backoff: Backoff, failures: int, cap: int | None) -> None:
    assert 0 <= retry_delay_ms(base, backoff, failures, cap) <= min(WAIT_MS, WAIT_MS if cap is None else cap)


@given(base=BASES, backoff=BACKOFFS, cap=CAPS)
def test_the_first_retry_waits_the_base_unless_that_is_capped(base: int, backoff: Backoff, cap: int | None) -> None:
    assert retry_delay_ms(base, backoff, 1, cap) == min(base, WAIT_MS if cap is None else cap)


@given(base=st.integers(1, WAIT_MS), failures=st.integers(40, 10_001))
def test_doubling_ends_at_a_year_however_small_it_began(base: int, failures: int) -> None:
    assert retry_delay_ms(base, "exponential", failures) == WAIT_MS


@given(backoff=BACKOFFS, failures=FAILURES)
def test_no_delay_stays_no_delay(backoff: Backoff, failures: int) -> None:
    assert retry_delay_ms(0, backoff, failures) == 0
