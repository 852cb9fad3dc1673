"""A run: peers alternate, what fails is reported, and the tables show what was measured."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report, rounds
from benchmarks.installs import UnavailableError
from benchmarks.peers.peer import Measured, NoEquivalentError, Peer
from benchmarks.processes import MeasurementError
from benchmarks.works import Figure, Work

FAST = Work(
    "fast", "a", "something fast, {n} times", (Figure("per_s", "steps/s", "steps/s", "more"),), {"n": 9}, {"n": 3}
)
LATE = Work(
    "late", "b", "something late", (Figure("p50_ms", "p50", "ms", "less"), Figure("p99_ms", "p99", "ms", "less"))
)


class Scripted(Peer):
    """A peer that answers with what it was given, or raises it."""

    def __init__(self, name: str, *answers: Any, calls: list[str] | None = None) -> None:
        self.name, self.title, self.durability = name, name.title(), f"{name} on disk"
        self._answers = list(answers)
        self._calls = [] if calls is None else calls

    def do(self, work: Work, given: dict[str, Any], folder: Path) -> Measured:
        assert folder.is_dir()
        self._calls.append(f"{self.name} {work.key} {given.get('n', '')}".strip())
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def speeds(*values: float) -> list[Measured]:
    return [{"per_s": value} for value in values]


def ran(*peers: Peer, works: tuple[Work, ...] = (FAST,), times: int = 3, quick: bool = False) -> rounds.Results:
    return rounds.run(peers, works, rounds=times, quick=quick, about={"commit": "abc"}, say=lambda _: None)


def test_peers_take_turns_within_each_work_and_nobody_is_always_first() -> None:
    calls: list[str] = []
    one, other = Scripted("everstep", *speeds(1, 2), calls=calls), Scripted("slow", *speeds(1, 2), calls=calls)

    ran(one, other, times=2)

    assert calls == ["everstep fast 9", "slow fast 9", "slow fast 9", "everstep fast 9"]


def test_a_quick_run_has_the_quick_sizes() -> None:
    calls: list[str] = []

    ran(Scripted("everstep", *speeds(1), calls=calls), times=1, quick=True)

    assert calls == ["everstep fast 3"]


def test_the_table_shows_the_median_the_spread_and_the_ratio_of_what_was_measured() -> None:
    text = report.as_text(
        ran(Scripted("everstep", *speeds(4000, 5000, 6000)), Scripted("slow", *speeds(400, 1000, 300)))
    )

    assert "(a) something fast, 9 times [fast]" in text
    rows = {line.split()[0]: re.sub(" +", " ", line.strip()) for line in text.splitlines() if "steps/s" in line}
    assert rows["Everstep"] == "Everstep 5,000 steps/s 4,000 – 6,000"
    assert rows["Slow"] == "Slow 400 steps/s 300 – 1,000 ×10.0 (5.00 – 20.0)"
    assert "slow on disk" in text


def test_a_slower_peer_does_fewer_instances_but_not_fewer_than_at_a_time() -> None:
    class Slow(Peer):
        name, title, durability, best, slower = "slow", "Slow", "yes", 40, 10

        def do(self, work: Work, given: dict[str, Any], folder: Path) -> Measured:
            return {"per_s": given["instances"]}

    def instances(concurrency: Any) -> float:
        return Slow().measure(FAST, {"instances": 100, "concurrency": concurrency}, Path())["per_s"]

    assert [instances(8), instances("best"), instances(1000)] == [10, 40, 100]


def test_of_latencies_the_lower_is_the_better_one() -> None:
    ours, theirs = {"p50_ms": 1.0, "p99_ms": 2.0}, {"p50_ms": 7.0, "p99_ms": 5.0}

    results = ran(Scripted("everstep", ours), Scripted("slow", theirs), works=(LATE,), times=1)

    ratios = [results.ahead(LATE, "slow", figure) for figure in LATE.figures]
    assert [ratio.median for ratio in ratios if ratio] == [7.0, 2.5]


@pytest.mark.parametrize("trouble", [MeasurementError("not finished within 3 s"), OSError("no room"), {"other": 1.0}])
def test_a_failing_peer_is_reported_and_does_not_stop_the_others(trouble: Any) -> None:
    results = ran(Scripted("everstep", *speeds(1, 2, 3)), Scripted("slow", trouble))

    assert list(results.by_round(FAST, "everstep", FAST.figures[0]).values()) == [1, 2, 3]
    assert results.by_round(FAST, "slow", FAST.figures[0]) == {}
    assert f"Slow: {results.missing['fast']['slow']}" in report.as_text(results)


def test_a_peer_that_cannot_do_a_work_says_why() -> None:
    results = ran(Scripted("everstep", *speeds(1)), Scripted("slow", NoEquivalentError("knows no events")), times=1)

    assert "Slow: knows no events" in report.as_text(results)


def test_a_peer_that_cannot_be_installed_is_reported_with_the_reason() -> None:
    class Absent(Scripted):
        def set_up(self) -> None:
            raise UnavailableError("there is no npm here")

    text = report.as_text(ran(Scripted("everstep", *speeds(1)), Absent("slow"), times=1))

    assert "NOT MEASURED: there is no npm here" in text


def test_the_json_has_every_value_and_what_was_worked_out_of_it() -> None:
    results = ran(Scripted("everstep", *speeds(30, 10, 20)), Scripted("slow", *speeds(1, 1, 1)))

    written = json.loads(json.dumps(results.as_json()))

    [work] = written["works"]
    [figure] = work["figures"]
    assert figure["peers"]["everstep"]["values"] == [30, 10, 20]
    assert figure["peers"]["everstep"]["median"] == 20
    assert figure["peers"]["slow"]["everstep_ahead"] == {"median": 20, "least": 10, "most": 30}
    assert written["about"]["rounds"] == 3
