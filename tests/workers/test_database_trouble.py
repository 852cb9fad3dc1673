"""The database restarts, dies, hangs, or throws its clients out: the engine waits, and does everything once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from everstep import Everstep, WorkflowEntrypoint
from everstep.core.errors import StoreError
from postgres_server import PostgresServer

pytestmark = pytest.mark.crash

INSTANCES, STEPS = 30, 60
calls: Counter[tuple[str, int]] = Counter()


class Steady(WorkflowEntrypoint[Any, Any]):
    async def run(self, event: Any, step: Any) -> Any:
        for number in range(STEPS):
            await step.do(f"step-{number}", self.one, event.instance_id, number)
        got = await step.wait_for_event("go", "go", timeout="1 hour")
        return got.payload

    async def one(self, id: str, number: int) -> None:
        calls[id, number] += 1
        await asyncio.sleep(0.01)


async def restarted(server: PostgresServer) -> None:
    await asyncio.to_thread(server.stop)
    await asyncio.sleep(0.3)
    await asyncio.to_thread(server.start)


async def crashed(server: PostgresServer) -> None:
    await asyncio.to_thread(server.stop, signal.SIGQUIT)
    await asyncio.to_thread(server.start)


async def clients_thrown_out(server: PostgresServer) -> None:
    chance = random.Random(5)
    admin = await asyncpg.connect(server.url)
    for _ in range(40):
        await asyncio.sleep(chance.uniform(0.005, 0.05))
        await admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name = 'everstep' and random() < 0.4"
        )
    await admin.close()


async def standing_still(server: PostgresServer) -> None:
    pids = [server.pid, *server.backends()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(1.5)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("trouble", [restarted, crashed, clients_thrown_out, standing_still])
async def test_everything_is_done_once_whatever_happens_to_the_database(
    server: PostgresServer, trouble: Callable[[PostgresServer], Awaitable[None]]
):
    calls.clear()
    async with Everstep([Steady], database=server.url, lease="15 seconds") as es:
        steady = es.workflow(Steady)
        instances = [await steady.create(id=f"s{number}") for number in range(INSTANCES)]
        await asyncio.sleep(0.2)
        await trouble(server)
        async with asyncio.timeout(40):
            for number, instance in enumerate(instances):
                await sent(instance, number)
            assert [await one.result() for one in instances] == list(range(INSTANCES))
        assert len(calls) == INSTANCES * STEPS
        assert set(calls.values()) == {1}
        for instance in instances:
            events = [event async for event in instance.subscribe()]
            assert Counter(event.type for event in events)["step_completed"] == STEPS
            assert Counter(event.type for event in events)["workflow_completed"] == 1


class Caught(WorkflowEntrypoint[Any, Any]):
    """Goes on whatever its children and streams raise, as a workflow may."""

    async def run(self, event: Any, step: Any) -> Any:
        told = []
        for number in range(30):
            try:
                told.append(await step.run_workflow(f"child-{number}", Worked, number))
                stream = await step.do(f"stream-{number}", self.streamed)
                told.append(b"".join([piece async for piece in stream]).decode())
            except Exception as error:
                told.append(repr(error))
        return told

    async def streamed(self) -> AsyncIterator[bytes]:
        yield b"abc"


class Worked(WorkflowEntrypoint[Any, Any]):
    async def run(self, event: Any, step: Any) -> Any:
        return await step.do("work", lambda: event.payload)


async def test_no_code_hears_of_an_outage_that_is_longer_than_the_patience_of_those_outside(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
):
    for module in ("write_pipeline", "read_pool"):
        monkeypatch.setattr(f"everstep.store.postgres.{module}.OUTAGE_TIMEOUT_SECONDS", 0.1)
    async with Everstep([Caught, Worked], database=server.url) as es:
        instances = [await es.workflow(Caught).create() for _ in range(8)]
        for _ in range(2):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(0.7)
            await asyncio.to_thread(server.start)
        expected = [told for number in range(30) for told in (number, "abc")]
        async with asyncio.timeout(40):
            assert [await one.result() for one in instances] == [expected] * 8


async def sent(instance: Any, payload: Any) -> None:
    """Send an event until it is acknowledged: whoever asks from outside hears of trouble that lasts."""
    while True:
        try:
            return await instance.send_event(type="go", payload=payload)
        except StoreError:
            await asyncio.sleep(0.1)
