"""The arithmetic of the benchmarks."""

from __future__ import annotations

import pytest

from benchmarks.figures import Spread, advantage, latencies_ms, percentile


def test_a_spread_is_the_median_and_what_it_lies_between() -> None:
    assert Spread.of([5.0, 1.0, 3.0]) == Spread(median=3.0, least=1.0, most=5.0)


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (100, 100), (1, 1)])
def test_a_percentile_is_the_value_that_so_many_are_not_above(percent: int, value: int) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == value


def test_a_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7.0], 99) == 7.0


def test_latencies_are_in_milliseconds() -> None:
    assert latencies_ms([0.001] * 98 + [0.5] * 2) == {"p50_ms": 1.0, "p99_ms": 500.0}


def test_of_more_is_better_the_ratio_is_ours_to_theirs() -> None:
    assert advantage({0: 100.0, 1: 300.0, 2: 200.0}, {0: 50.0, 1: 100.0, 2: 200.0}, "more") == Spread(2.0, 1.0, 3.0)


def test_of_less_is_better_the_ratio_is_theirs_to_ours() -> None:
    assert advantage({0: 2.0}, {0: 8.0}, "less") == Spread(4.0, 4.0, 4.0)


def test_ratios_are_of_the_same_round() -> None:
    assert advantage({0: 10.0, 1: 20.0}, {1: 5.0, 2: 1.0}, "more") == Spread(4.0, 4.0, 4.0)


@pytest.mark.parametrize("theirs", [{}, {5: 1.0}, {0: 0.0}])
def test_without_anything_to_compare_there_is_no_ratio(theirs: dict[int, float]) -> None:
    assert advantage({0: 10.0}, theirs, "more") is None
