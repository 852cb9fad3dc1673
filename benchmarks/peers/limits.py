"""The limits of the machine, measured like peers: what a step must cost, on the bare disk and in bare SQLite."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.installs import python_environment
from benchmarks.peers.peer import Measured, Peer
from benchmarks.processes import run_program
from benchmarks.works import Work


class _Limit(Peer):
    works: tuple[str, ...] = ()

    def takes(self, work: Work) -> bool:
        """Only steps have such a limit."""
        return work.key in self.works

    def set_up(self) -> None:
        """Both need the SQLite that Everstep uses, for the same comparison."""
        self._python = python_environment("limits", ["apsw>=3.51.3.0"])

    def do(self, work: Work, given: dict[str, Any], folder: Path) -> Measured:
        rows = {"sequential": 1, "parallel-1": 1, "parallel-8": 8, "parallel-64": 64, "parallel-best": 512}[work.key]
        command = [self._python, "-m", "benchmarks.programs.limits", json.dumps({"do": self.name, "rows": rows})]
        return run_program(command, folder=folder, seconds=work.seconds)


class BareDisk(_Limit):
    """One `pwrite` and `fdatasync` for each step, over a file that has its size."""

    name = "disk"
    title = "bare fdatasync"
    durability = "fdatasync, 4 KiB over an allocated file, for each"
    works = ("sequential",)


class BareSqlite(_Limit):
    """Rows like those of our steps, committed in groups of the size the work allows."""

    name = "sqlite"
    title = "bare SQLite"
    durability = "fdatasync for each commit of 1, 8, 64 or 512 rows"
    works = ("sequential", "parallel-1", "parallel-8", "parallel-64", "parallel-best")
