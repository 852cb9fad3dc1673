"""Workers and their database harmed at random; `EVERSTEP_CRASH_SECONDS` says for how long."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from everstep.core.errors import StoreError
from postgres_server import PostgresServer

from .conftest import Fleet

pytestmark = pytest.mark.crash

SECONDS = float(os.environ.get("EVERSTEP_CRASH_SECONDS", "12"))
STEPS = 12


class Nemesis:
    """Does harm to a fleet and to its database, and sees to it that somebody is left."""

    def __init__(self, fleet: Fleet, server: PostgresServer, chance: random.Random) -> None:
        self._fleet = fleet
        self._server = server
        self._chance = chance

    async def strike(self) -> None:
        """Do one harm."""
        worker = self._chance.choice(self._fleet.processes)
        match self._chance.choice(("kill", "kill", "stop", "leave", "database")):
            case "kill":
                worker.kill()
                await self._replace(worker)
            case "stop":
                os.kill(worker.pid, signal.SIGSTOP)
                await asyncio.sleep(self._chance.uniform(0.5, 4))
                os.kill(worker.pid, signal.SIGCONT)
            case "leave":
                worker.terminate()
                await self._replace(worker)
            case "database":
                await asyncio.to_thread(self._server.stop, signal.SIGQUIT)
                await asyncio.to_thread(self._server.start)

    async def _replace(self, worker: asyncio.subprocess.Process) -> None:
        await worker.wait()
        self._fleet.processes.remove(worker)
        await self._fleet.worker()


async def test_whatever_happens_to_workers_and_database_nothing_acknowledged_is_lost_or_done_twice(tmp_path: Path):
    chance = random.Random(11)
    server = PostgresServer()
    server.start()
    fleet = Fleet(server.empty_schema(), tmp_path / "notes")
    try:
        async with fleet.client() as client:
            for _ in range(3):
                await fleet.worker()
            chains = client.workflow("chain")
            acknowledged = []
            nemesis = Nemesis(fleet, server, chance)
            harm = asyncio.ensure_future(_strikes(nemesis))
            while not harm.done():
                number = len(acknowledged)
                try:
                    chain = await chains.get_or_create(id=f"c{number}", params={"steps": STEPS, "seconds": 0.03})
                    acknowledged.append(chain)
                except StoreError:
                    pass
                await asyncio.sleep(0.05)
            await harm
            async with asyncio.timeout(60):
                for chain in acknowledged:
                    await chain.result()
            for chain in acknowledged:
                steps = (await chain.status(steps=True)).steps
                assert [(one.name, one.status) for one in steps] == [
                    (f"step-{number}", "complete") for number in range(STEPS)
                ]
                for one in steps:
                    numbers = [attempt.attempt for attempt in one.attempts]
                    assert numbers == sorted(set(numbers))
        calls = Counter(what for _, _, what in fleet.notes)
        assert set(calls) >= {f"c{n} {s}" for n in range(len(acknowledged)) for s in range(STEPS)}
        print(f"{len(acknowledged)} instances, {sum(calls.values()) - len(calls)} attempts cut off")
    finally:
        await fleet.end()
        server.remove()


async def _strikes(nemesis: Nemesis) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        await asyncio.sleep(0.3)
        await nemesis.strike()
