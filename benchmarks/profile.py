"""Where the time of a step goes: samples of the engine at work, by area of the code. Written into the performance page.

Samples are taken from outside the process, of threads that hold the interpreter's lock, so that nothing is slowed down
that is measured.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from benchmarks.installs import python_environment
from benchmarks.pages import table
from benchmarks.processes import ROOT

PAGE = ROOT / "docs" / "design" / "performance.md"
BEGIN, END = "<!-- profile -->", "<!-- end of profile -->"
_REQUIREMENTS = ["py-spy>=0.4,<1", f"--editable={ROOT}"]
_RATE = 500

AREAS = {
    "everstep/sdk/": "the call of `step.do`: its forms and names",
    "everstep/core/serialization/codec": "the result as JSON, and read back",
    "everstep/core/journal": "the journal: which step it is",
    "everstep/core/": "other rules and values",
    "everstep/engine/steps/executor": "carrying a step out",
    "everstep/engine/steps/step_runner": "carrying a step out",
    "everstep/engine/steps/attempt": "the attempt: context, time, the function's call",
    "everstep/engine/steps/timeouts": "the attempt: context, time, the function's call",
    "everstep/engine/steps/start_recorder": "the attempt: context, time, the function's call",
    "everstep/engine/execution/execution": "the instance in memory",
    "everstep/engine/scheduling/creator": "instances created, ended, waited for",
    "everstep/control/": "instances created, ended, waited for",
    "everstep/embedded": "instances created, ended, waited for",
    "everstep/engine/steps/replay": "instances created, ended, waited for",
    "everstep/engine/": "instances created, ended, waited for",
    "everstep/store/sqlite/group_commit": "groups gathered and answered",
    "everstep/store/sqlite/writer_thread": "groups gathered and answered",
    "everstep/store/sqlite/connection": "SQLite",
    "everstep/store/": "rows and statements",
    "asyncio/": "the event loop",
}
"""Where a function belongs, by the beginning of its file's path: the first that fits."""
ELSEWHERE = "the workflow itself, and everything else"

PROGRAMS = {
    "a thousand instances at work": (1_000, 10, 12),
    "one instance": (1, 1_000, 12),
}
"""Instances, steps of each, and how often."""


def main(*, write_docs: bool) -> int:
    """Sample each program, print the shares, and put them into the page if asked for."""
    python = python_environment("profile", _REQUIREMENTS)
    columns = {title: shares(_samples(python, *sizes)) for title, sizes in PROGRAMS.items()}
    text = "\n".join(as_table(columns))
    print(text)
    if write_docs:
        PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")
    return 0


def shares(stacks: Iterable[tuple[list[str], int]]) -> dict[str, float]:
    """Say which share of the samples each area has, by the innermost function that belongs to one.

    Example:
        >>> shares([(["run (shop.py:3)", "do (everstep/engine/steps/step_runner.py:9)"], 3), (["run (shop.py:4)"], 1)])
        {'carrying a step out': 0.75, 'the workflow itself, and everything else': 0.25}
    """
    counted: Counter[str] = Counter()
    for frames, samples in stacks:
        counted[area(frames)] += samples
    total = sum(counted.values())
    return {name: count / total for name, count in counted.most_common()}


def area(frames: list[str]) -> str:
    """Name the area of a stack, outermost frame first. What Python's library does is done for whoever called it."""
    for frame in reversed(frames):
        for path, name in AREAS.items():
            if path in frame:
                return name
    return ELSEWHERE


def as_table(columns: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Write the shares as a table in Markdown, the largest of the first column first."""
    first = next(iter(columns.values()))
    names = sorted({name for column in columns.values() for name in column}, key=lambda name: -first.get(name, 0))
    rows = [(name, *(f"{column.get(name, 0):.0%}" for column in columns.values())) for name in names]
    yield from table(("", *columns), rows)


def replaced(page: str, text: str) -> str:
    """Put the table into the page, between its marks."""
    before, rest = page.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def _samples(python: Path, instances: int, steps: int, times: int) -> Iterator[tuple[list[str], int]]:
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "stacks"
        program = [str(python), "-m", "benchmarks.programs.profiled", str(instances), str(steps), str(times)]
        sampler = [
            str(python.parent / "py-spy"),
            "record",
            "--gil",
            "-r",
            str(_RATE),
            "-f",
            "raw",
            "-o",
            str(raw),
            "--",
        ]
        done = subprocess.run([*sampler, *program], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"the sampler failed: {done.stderr.strip()}")
        for line in raw.read_text(encoding="utf-8").splitlines():
            stack, _, count = line.rpartition(" ")
            yield stack.split(";"), int(count)
