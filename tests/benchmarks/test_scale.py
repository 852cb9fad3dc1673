"""The simulation of many workers, small: what the rules of claims and adoption hold whatever their number."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.scale import PAGE, Case, Outcome, World

SMALL = Case(workers=100, sleepers=100_000, over_hours=1.0, seconds=30.0)


def simulated(**more: Any) -> Outcome:
    return World(replace(SMALL, **more)).run()


def test_everything_that_is_due_is_claimed_within_a_moment():
    got = simulated()
    assert len(got.waited_ms) >= 0.99 * 100_000 * 30 / 3600
    assert got.late(0.99) < 250


def test_not_everybody_comes_for_the_same_instance():
    now, before = simulated(), simulated(spread=False)
    assert now.empty_claims < before.empty_claims
    assert sum(now.statements.values()) < sum(before.statements.values())


def test_a_database_with_little_to_do_is_asked_little():
    got = simulated(sleepers=0)
    assert sum(got.statements.values()) <= 100 * 31


def test_a_dead_worker_is_adopted_by_few_and_at_once():
    got = simulated(dead=1)
    assert sum(got.adopters.values()) == SMALL.at_work
    assert len(got.adopters) == 1
    assert got.adopted_after_ms < 2_000
    large = {"dead": 1, "at_work": 200_000}
    assert len(simulated(**large).adopters) < len(simulated(**large, turns=False).adopters)


def test_the_dead_of_a_lost_rack_are_spread_over_the_living():
    got = simulated(dead=50, notified=False)
    assert sum(got.adopters.values()) == 50 * SMALL.at_work
    assert len(got.adopters) >= 5
    assert got.adopted_after_ms < 5_000


def test_the_page_was_written_by_the_simulation():
    assert "Written by `python3 -m benchmarks.scale`" in PAGE.read_text(encoding="utf-8")
