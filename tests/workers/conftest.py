"""Worker processes on one database, and a client beside them that takes no instances itself."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from everstep import Everstep
from everstep.engine.runtime.options import EngineOptions
from postgres_server import PostgresServer

from .pair import Pair
from .program import WORKFLOWS

_PROGRAM = Path(__file__).with_name("program.py")


@pytest.fixture
async def server() -> AsyncIterator[PostgresServer]:
    """A server of a test's own, to be stopped and ill-treated."""
    server = PostgresServer()
    server.start()
    yield server
    server.remove()


class Fleet:
    """Processes that work on the same database."""

    def __init__(self, database: str, notes: Path) -> None:
        self.database = database
        self._notes = notes
        self.processes: list[asyncio.subprocess.Process] = []

    async def worker(self, *, lease: str = "2 seconds", running: int = 10_000) -> asyncio.subprocess.Process:
        """Start a worker, and wait until it works."""
        command = [sys.executable, str(_PROGRAM), self.database, str(self._notes), "--lease", lease]
        process = await asyncio.create_subprocess_exec(
            *command, "--running", str(running), stdout=asyncio.subprocess.PIPE
        )
        self.processes.append(process)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        return process

    def client(self, *, running: int = 0) -> Everstep:
        """Return an engine for the test itself; with no room to run anything, unless it is given some."""
        return Everstep(
            WORKFLOWS, database=self.database, lease="2 seconds", options=EngineOptions(max_running=running)
        )

    @property
    def notes(self) -> list[tuple[int, float, str]]:
        """What the workers did: who, when, what."""
        if not self._notes.exists():
            return []
        lines = [line.split(" ", 2) for line in self._notes.read_text().splitlines()]
        return [(int(pid), float(at), what) for pid, at, what in lines]

    async def noted(self, count: int, *, by: asyncio.subprocess.Process | None = None) -> None:
        """Wait until there are so many notes, of one worker or of all."""
        async with asyncio.timeout(20):
            while len([1 for pid, _, _ in self.notes if by is None or pid == by.pid]) < count:
                await asyncio.sleep(0.01)

    async def end(self) -> None:
        """Kill what is left."""
        for process in self.processes:
            if process.returncode is None:
                os.kill(process.pid, signal.SIGCONT)
                process.kill()
            await process.wait()


@pytest.fixture
async def fleet(postgres_server: PostgresServer, tmp_path: Path) -> AsyncIterator[Fleet]:
    fleet = Fleet(postgres_server.empty_schema(), tmp_path / "notes")
    yield fleet
    await fleet.end()


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.remove()
