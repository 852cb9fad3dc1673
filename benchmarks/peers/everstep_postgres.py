"""Everstep over PostgreSQL, with one worker or several; every measurement on a cluster of its own."""

from __future__ import annotations

import contextlib
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import cold, postgres
from benchmarks.installs import UnavailableError
from benchmarks.peers.everstep import DO, EverstepPeer
from benchmarks.peers.peer import Measured, NoEquivalentError
from benchmarks.processes import ROOT, MeasurementError, end
from benchmarks.works import Work


class EverstepOnPostgres(EverstepPeer):
    """The same programs with another database URL."""

    name = "everstep-postgres"
    title = "Everstep, PostgreSQL"
    durability = "fsync of PostgreSQL's log (default)"
    best = 1000

    def __init__(self, tree: Path = ROOT) -> None:
        super().__init__(tree, name=self.name, title=self.title)

    def set_up(self) -> None:
        """Install the driver, and find PostgreSQL's programs or a wheel that carries them."""
        if not (self.tree / "src" / "everstep" / "store" / "postgres").is_dir():
            raise UnavailableError("this tree has no PostgreSQL store")
        postgres.programs()
        super().set_up()

    def requirements(self) -> list[str]:
        """What is needed on SQLite, and the extra."""
        project = tomllib.loads((self.tree / "pyproject.toml").read_text())["project"]
        return [*super().requirements(), *project.get("optional-dependencies", {}).get("postgres", [])]

    def do(self, work: Work, given: dict[str, Any], folder: Path) -> Measured:
        if work.group not in {"a", "b", "c", "d", "j"} and work.key != "due-at-once":
            raise NoEquivalentError("measured on SQLite")
        with postgres.cluster() as url:
            if work.group == "j":
                return self._workers(work, {**given, "database": url}, folder)
            measured = self._run({**given, "database": url, "do": DO[work.key]}, folder, work.seconds)
            return _proven(measured, url)

    def _workers(self, work: Work, given: dict[str, Any], folder: Path) -> Measured:
        """One process only creates, the others only work: who creates an instance would keep it."""
        with contextlib.ExitStack() as stack:
            for _ in range(given["workers"]):
                stack.enter_context(self._worker(given, folder))
            time.sleep(2)  # until they are up: what is measured is work, not start-up
            measured = self._run({**given, "do": "create_and_wait"}, folder, work.seconds)
            return _proven(measured, given["database"])

    @contextlib.contextmanager
    def _worker(self, given: dict[str, Any], folder: Path) -> Iterator[None]:
        command = [self._python, "-m", "benchmarks.programs.everstep", cold.as_json({**given, "do": "work"})]
        with (folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=folder, env=self._whole_environment(), stdout=log, stderr=log, start_new_session=True
            )
        try:
            yield
        finally:
            end(process)


def _proven(measured: Measured, url: str) -> Measured:
    """Compare what a program says it did with what the database has. Raises MeasurementError."""
    steps, instances = measured.pop("steps", None), measured.pop("instances", None)
    measured.pop("ran", None)  # in this process only, where others work, too
    query = (
        "select (select count(*) from everstep.instance where status = 'complete'),"
        " (select count(*) from everstep.step where ended_at is not null)"
    )
    psql = [postgres.programs() / "psql", "-XAt", "-F,", "-d", url, "-c", query]
    complete, done = map(int, subprocess.run(psql, capture_output=True, text=True, check=True).stdout.split(","))
    if instances is not None and (complete != instances or (steps is not None and done != steps)):
        raise MeasurementError(f"{complete} instances and {done} steps are on disk, not {instances} and {steps}")
    return measured
