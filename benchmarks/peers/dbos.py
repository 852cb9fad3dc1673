"""DBOS Transact for Python, a library in the measuring process, on SQLite (its default) and on PostgreSQL."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from benchmarks import cold, postgres
from benchmarks.installs import python_environment
from benchmarks.peers.peer import Measured, Peer
from benchmarks.processes import run_program
from benchmarks.works import Work

VERSION = "3.4.0"


class DbosOnSqlite(Peer):
    """Everything at its defaults, steps and workflows `async`; DBOS sets no pragmas beyond its busy timeout."""

    name = "dbos-sqlite"
    title = "DBOS, SQLite"
    durability = "4 fdatasync a step (journal_mode=DELETE, synchronous=FULL)"
    best = 8
    slower = 4
    lacks: ClassVar = {
        "event-replay": "keeps every waiting workflow in memory",
        "long-history": "not measured",
        "million": "not measured",
        "asleep": "keeps a task or thread for each sleeper; 100,000 were not tried",
        "sleep-10000": "starts about 200 workflows a second: the first would be over before the last began",
        "due-at-once": "starts about 200 workflows a second: the first would be over before the last began",
        "dev": "a library without a server",
        "j": "open source has no recovery between workers",
    }

    def set_up(self) -> None:
        """Install it from PyPI."""
        self._python = python_environment("dbos", [f"dbos=={VERSION}"])

    @contextlib.contextmanager
    def database(self, folder: Path) -> Iterator[str]:
        """The URL of a database that is new."""
        yield f"sqlite:///{folder / 'dbos.sqlite'}"

    def do(self, work: Work, given: dict[str, Any], folder: Path) -> Measured:
        if work.key == "import":
            return cold.import_figures(self._python, "import dbos", "from dbos import DBOS", given["times"], {})
        with self.database(folder) as url:
            given = {**given, "database": url}
            if work.key == "kill":
                self._run({**given, "do": "until_killed"}, folder, work.seconds, killed=True)
                return self._run({**given, "do": "after_kill"}, folder, work.seconds)
            do = "parallel" if work.key.startswith("parallel") else work.key.replace("-", "_")
            return self._run({**given, "do": do}, folder, work.seconds)

    def _run(self, given: dict[str, Any], folder: Path, seconds: float, *, killed: bool = False) -> Measured:
        command = [self._python, "-m", "benchmarks.programs.dbos", json.dumps(given)]
        return run_program(command, folder=folder, seconds=seconds, killed=killed)


class DbosOnPostgres(DbosOnSqlite):
    """The same on a PostgreSQL of its own with PostgreSQL's defaults, on the same machine."""

    name = "dbos-postgres"
    title = "DBOS, PostgreSQL"
    durability = "fsync of PostgreSQL's log (default)"
    best = 16
    lacks: ClassVar = {**DbosOnSqlite.lacks, "import": "as on SQLite"}

    def set_up(self) -> None:
        """Install it and find PostgreSQL's programs, or a wheel that carries them."""
        super().set_up()
        postgres.programs()

    @contextlib.contextmanager
    def database(self, folder: Path) -> Iterator[str]:
        """The URL of a database that is new."""
        with postgres.cluster() as url:
            yield url
