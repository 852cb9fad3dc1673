"""Machines for tests, and a look at what an engine left unsaid when the test was over."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from everstep import WorkflowEntrypoint
from everstep.engine.runtime.options import EngineOptions
from everstep.telemetry.log_records import INSTANCE

from .virtual import Held, Machine, VirtualClock

_MEMORY = Path("/dev/shm")
Running = Callable[..., Awaitable[Machine]]


@pytest.fixture(scope="session", autouse=True)
def _small_heap():
    """Leave modules and the like out of later collections, one of which follows every test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
async def unheard(caplog: pytest.LogCaptureFixture) -> AsyncIterator[list[dict[str, Any]]]:
    """Fail a test that leaves an exception nobody retrieved, or an error in the engine's log."""
    contexts: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))
    yield contexts
    gc.collect()
    await asyncio.sleep(0)
    assert not contexts
    errors = [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
    ours = [record for record in errors if record.name.startswith("everstep")]
    assert not [record.getMessage() for record in ours if record.name != INSTANCE]  # an instance may fail


@pytest.fixture
def disk() -> Iterator[Path]:
    """A directory for databases: in memory where that is possible, as nothing here depends on a real disk."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as directory:
        yield Path(directory)


@pytest.fixture
async def running(disk: Path, unheard: list[dict[str, Any]], request: pytest.FixtureRequest) -> AsyncIterator[Running]:
    """Boot machines on virtual time: `machine = await running(Flow, options=EngineOptions(max_cached=0))`."""
    postgres = None
    if request.config.getoption("--store") == "postgres":
        postgres = request.getfixturevalue("postgres_server")
    machines: list[Machine] = []
    numbers = itertools.count()

    async def boot(
        *workflows: type[WorkflowEntrypoint[Any, Any]],
        env: dict[str, Any] | None = None,
        options: EngineOptions | None = None,
        clock: VirtualClock | None = None,
    ) -> Machine:
        path = disk / f"state{next(numbers)}.db"
        options = options or EngineOptions(drain_ms=0)
        machine = Machine(path, clock or VirtualClock(), workflows=workflows, env=env, options=options)
        if postgres is not None:
            machine.database = postgres.empty_schema()
        machines.append(machine)
        await machine.boot()
        return machine

    yield boot
    for machine in reversed(machines):
        await machine.stop()
        await machine.clock.close()


@pytest.fixture
def held() -> Any:
    """A place for functions in threads to stand."""
    place = Held()
    yield place
    place.release()
