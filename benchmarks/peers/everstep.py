"""Everstep: each measurement in a process and a database of its own, ended by kill -9 and counted afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import cold, grown
from benchmarks.installs import python_environment
from benchmarks.peers.peer import Measured, NoEquivalentError, Peer
from benchmarks.processes import ROOT, MeasurementError, run_program
from benchmarks.works import Work

DO = {
    "sequential": "sequential", "parallel-1": "parallel", "parallel-8": "parallel", "parallel-64": "parallel",
    "parallel-best": "parallel", "create": "create", "event": "event", "event-replay": "event",
    "sleep-1": "sleep_one", "sleep-10000": "sleep_many", "due-at-once": "due_at_once",
    "long-history": "long_history", "results": "results", "branches": "branches",
}  # fmt: skip
"""The function of the program that does a work, where one process does it all."""


PROGRAM_IMPORTS = "from everstep import Everstep, WorkflowEntrypoint, WorkflowEvent, WorkflowStep"


class EverstepPeer(Peer):
    """A tree of Everstep's source; the one this file is in unless another is given."""

    name = "everstep"
    title = "Everstep"
    durability = "1 fdatasync a step, before the next line runs; shared by steps that end together"
    best = 128  # of 64 to 1,000

    def __init__(self, tree: Path = ROOT, *, name: str = "everstep", title: str = "Everstep") -> None:
        self.tree, self.name, self.title = tree, name, title
        self._python = Path(sys.executable)

    def set_up(self) -> None:
        """Install what the tree depends on; the tree itself is found through PYTHONPATH."""
        digest = hashlib.sha256(repr(self.requirements()).encode()).hexdigest()[:8]
        self._python = python_environment(f"everstep-{digest}", self.requirements())

    def requirements(self) -> list[str]:
        """What the tree depends on."""
        return list(tomllib.loads((self.tree / "pyproject.toml").read_text())["project"]["dependencies"])

    def do(self, work: Work, given: dict[str, Any], folder: Path) -> Measured:
        special: dict[str, Callable[[Work, dict[str, Any], Path], Measured]] = {
            "asleep": self._asleep, "kill": self._kill, "million": self._million, "dev": self._dev,
        }  # fmt: skip
        if work.key in DO:
            return self.program(DO[work.key], given, folder, work.seconds)
        if work.key == "import":
            return cold.import_figures(
                self._python, "import everstep", PROGRAM_IMPORTS, given["times"], self._environment()
            )
        if work.group == "j":
            raise NoEquivalentError("a SQLite file is for one process; see Everstep, PostgreSQL")
        return special[work.key](work, given, folder)

    def program(self, do: str, given: dict[str, Any], folder: Path, seconds: float) -> Measured:
        """Run one function of the program, then count in its database what it says it has done."""
        database = folder / "state.db"
        measured = self._run({"database": f"sqlite:///{database}", **given, "do": do}, folder, seconds)
        check_proof(measured, database)
        return measured

    def _asleep(self, work: Work, given: dict[str, Any], folder: Path) -> Measured:
        asleep = self.program("fall_asleep", given, folder, work.seconds)
        return asleep | self.program("start_again", given, folder, work.seconds)

    def _kill(self, work: Work, given: dict[str, Any], folder: Path) -> Measured:
        database = f"sqlite:///{folder / 'state.db'}"
        self._run({"database": database, **given, "do": "until_killed"}, folder, work.seconds)
        return self.program("after_kill", given, folder, work.seconds)

    def _million(self, work: Work, given: dict[str, Any], folder: Path) -> Measured:
        full, empty = folder / "full", folder / "empty"
        full.mkdir()
        empty.mkdir()
        template = empty / "template.db"
        self._run(
            {**given, "do": "parallel", "instances": 1, "steps": 2, "database": f"sqlite:///{template}"}, empty, 60
        )
        database = grown.database(template, given["finished"])
        shutil.copyfile(database, full / "state.db")
        before = self.program("parallel", given, empty, work.seconds)
        measured = self._run(
            {**given, "do": "parallel", "database": f"sqlite:///{full / 'state.db'}"}, full, work.seconds
        )
        return {"per_s": measured["per_s"], "to_empty": measured["per_s"] / before["per_s"]}

    def _dev(self, work: Work, given: dict[str, Any], folder: Path) -> Measured:
        shutil.copyfile(ROOT / "benchmarks" / "programs" / "everstep" / "dev_app.py", folder / "app.py")
        (folder / "everstep.toml").write_text('name = "bench"\nmain = "app.py"\n')

        def command(port: int) -> list[str | Path]:
            return [self._python, "-m", "everstep", "dev", "--no-keys", "--quiet", "--port", str(port)]

        return cold.server_figures(command, "/", given, folder, self._environment())

    def _run(self, given: dict[str, Any], folder: Path, seconds: float) -> Measured:
        command = [self._python, "-m", "benchmarks.programs.everstep", cold.as_json(given)]
        return run_program(command, folder=folder, seconds=seconds, environment=self._environment(), killed=True)

    def _whole_environment(self) -> dict[str, str]:
        return {**os.environ, **self._environment()}

    def _environment(self) -> dict[str, str]:
        return {"PYTHONPATH": f"{ROOT}:{self.tree / 'src'}"}


def check_proof(measured: Measured, database: Path) -> None:
    """Take the proof out of the figures and compare it with what is on disk. Raises MeasurementError."""
    steps, instances, ran = (measured.pop(key, None) for key in ("steps", "instances", "ran"))
    if ran is not None and ran != steps:
        raise MeasurementError(f"{steps} steps were to run, {ran} did")
    if instances is None:
        return
    with contextlib.closing(sqlite3.connect(database)) as connection:
        [(complete,)] = connection.execute("select count(*) from instance where status = 'complete'")
        [(done,)] = connection.execute("select count(*) from step where ended_at is not null")
    if complete != instances or (steps is not None and done != steps):
        raise MeasurementError(f"{complete} instances and {done} steps are on disk, not {instances} and {steps}")


def revision(tree: Path = ROOT) -> str:
    """The commit of a tree, with a + if it was changed since."""
    if shutil.which("git") is None:
        return "unknown"
    command = ["git", "-C", str(tree), "describe", "--always", "--dirty=+", "--abbrev=10", "--exclude=*"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"
