"""What is measured, as data: each work with its figures and its sizes. How a peer does a work is in `peers/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

STEP_RESULT = {"orderId": "ord_12345", "total": 129.95, "currency": "EUR", "items": 3, "status": "charged"}
"""What a trivial step returns, here and at every peer."""


@dataclass(frozen=True)
class Figure:
    """One number that a work yields; `unit` is part of its meaning, `better` is the direction of progress."""

    key: str
    title: str
    unit: str
    better: Literal["more", "less"]


@dataclass(frozen=True)
class Work:
    """One thing to be done by every peer that can.

    Attributes:
        key: Its name on the command line.
        group: The letter of the group it belongs to, which names it on the command line, too.
        title: What is done, in words, with its sizes in braces.
        figures: What comes out.
        settings: Its sizes in a full run.
        quick: What of them is smaller in a quick one.
        seconds: How long one measurement may take before it is given up and reported so.
    """

    key: str
    group: str
    title: str
    figures: tuple[Figure, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    quick: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 300

    def named(self, *, quick: bool) -> str:
        """The title with its sizes."""
        return self.title.format_map(self.sizes(quick=quick))

    def sizes(self, *, quick: bool) -> dict[str, Any]:
        """The sizes of a run."""
        return {**self.settings, **(self.quick if quick else {})}


def _speed(what: str = "steps") -> tuple[Figure, ...]:
    return (Figure("per_s", f"{what}/s", f"{what}/s", "more"),)


def _latency() -> tuple[Figure, ...]:
    return Figure("p50_ms", "p50", "ms", "less"), Figure("p99_ms", "p99", "ms", "less")


def _lateness() -> tuple[Figure, ...]:
    return tuple(
        Figure(f"{which}_{seconds}s_ms", f"{seconds} s, {which}", "ms", "less")
        for seconds in ("0.1", "1", "5")
        for which in ("p50", "p99")
    )


WORKS: Sequence[Work] = (
    Work(
        "sequential", "a", "one instance, trivial steps one after the other", _speed(), {"steps": 1000}, {"steps": 300}
    ),
    *(
        Work(
            f"parallel-{concurrency}",
            "b",
            f"instances of 10 steps, {concurrency} at a time",
            _speed(),
            {"instances": 1000, "steps": 10, "concurrency": concurrency},
            {"instances": 100 if concurrency == 1 else 300},
        )
        for concurrency in (1, 8, 64)
    ),
    Work(
        "parallel-best",
        "b",
        "instances of 10 steps, as many at a time as suits the peer",
        _speed(),
        {"instances": 1000, "steps": 10, "concurrency": "best"},
    ),
    Work(
        "create",
        "c",
        "an empty workflow from create to its result, one caller",
        _latency(),
        {"instances": 1000},
        {"instances": 200},
    ),
    Work(
        "event",
        "d",
        "event sent to next step running, instance in memory",
        _latency(),
        {"instances": 200, "steps": 10, "cached": True},
        {"instances": 50},
    ),
    Work(
        "event-replay",
        "d",
        "event sent to next step running, instance replayed first (10 steps)",
        _latency(),
        {"instances": 200, "steps": 10, "cached": False},
        {"instances": 50},
    ),
    Work(
        "sleep-1",
        "e",
        "lateness of a sleep, one sleeper",
        _lateness(),
        {"rounds": {"0.1": 20, "1": 5, "5": 3}},
        {"rounds": {"0.1": 10, "1": 2, "5": 1}},
    ),
    Work(
        "sleep-10000",
        "e",
        "lateness of a sleep, {instances:,} sleepers, 1,000 of them a second",
        _lateness(),
        {"instances": 10_000},
        {"instances": 1000},
        seconds=600,
    ),
    Work(
        "due-at-once",
        "e",
        "{instances:,} sleeps due at one moment: until they have gone on",
        (Figure("first_s", "first", "s", "less"), Figure("last_s", "last", "s", "less")),
        {"instances": 10_000},
        {"instances": 1000},
        seconds=600,
    ),
    Work(
        "asleep",
        "f",
        "{instances:,} sleeping instances",
        (
            Figure("rss_mib", "memory added", "MiB", "less"),
            Figure("cpu_percent", "CPU while asleep", "% of a core", "less"),
            Figure("restart_s", "start again with them", "s", "less"),
        ),
        {"instances": 100_000, "watch_s": 10},
        {"instances": 10_000, "watch_s": 3},
        seconds=600,
    ),
    Work(
        "kill",
        "g",
        "kill -9 with {instances:,} in flight, half of their {steps} steps done",
        (
            Figure("first_s", "new process to first step", "s", "less"),
            Figure("last_s", "new process to last step", "s", "less"),
        ),
        {"instances": 10_000, "steps": 4},
        {"instances": 1000},
        seconds=600,
    ),
    Work(
        "long-history",
        "h",
        "one instance of {steps:,} steps",
        (
            Figure("last_to_first", "cost of a step, last / first ones", "×", "less"),
            Figure("replay_ms", "replay of all of them", "ms", "less"),
        ),
        {"steps": 10_000},
        {"steps": 4000},
    ),
    Work(
        "million",
        "h",
        "instances of 10 steps, 64 at a time, in a database with {finished:,} finished instances",
        (*_speed(), Figure("to_empty", "speed / speed on an empty database", "×", "more")),
        {"instances": 1000, "steps": 10, "concurrency": 64, "finished": 1_000_000},
        {"finished": 50_000},
    ),
    Work(
        "results",
        "h",
        "one instance, steps that return 100 KB",
        _speed(),
        {"steps": 300, "kilobytes": 100},
        {"steps": 100},
    ),
    Work(
        "branches",
        "h",
        "100 parallel branches, again and again in one instance",
        _speed(),
        {"branches": 100, "times": 50},
        {"times": 10},
    ),
    Work(
        "dev",
        "i",
        "the dev server",
        (
            Figure("answers_s", "from typed to the first answer", "s", "less"),
            Figure("idle_mib", "memory when idle, all processes", "MiB", "less"),
            Figure("creates_per_s", "durable creates over HTTP, 32 connections", "requests/s", "more"),
            Figure("create_p99_ms", "their p99", "ms", "less"),
        ),
        {"requests": 3000, "connections": 32},
        {"requests": 500},
    ),
    Work(
        "import",
        "i",
        "importing the library",
        (
            Figure("import_ms", "import of the package", "ms", "less"),
            Figure("needed_ms", "import of what a program needs", "ms", "less"),
        ),
        {"times": 7},
        {"times": 3},
    ),
    *(
        Work(
            f"workers-{workers}",
            "j",
            f"instances of 10 steps over PostgreSQL, {workers} worker{'s' if workers > 1 else ''}",
            _speed(),
            {"instances": 2000, "steps": 10, "workers": workers},
            {"instances": 500},
        )
        for workers in (1, 2, 4)
    ),
)

HOT_PATH = ("a", "b", "c", "d", "branches")
"""What `--against` compares: nothing else is as much a matter of every change."""


def chosen(names: Sequence[str]) -> list[Work]:
    """The works of these keys and group letters, in their own order; all for none. Raises ValueError for others."""
    known = {work.key for work in WORKS} | {work.group for work in WORKS}
    if unknown := sorted(set(names) - known):
        raise ValueError(f"there is no work {', '.join(unknown)}; known: {', '.join(work.key for work in WORKS)}")
    return [work for work in WORKS if not names or work.key in names or work.group in names]
