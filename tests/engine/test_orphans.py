"""Instances that are the engine's on disk and that nobody runs: found by the process itself, whatever led to it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from everstep.engine.scheduling import orphans

from .virtual import flow


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(orphans, "EVERY_SECONDS", 0.2)
    monkeypatch.setattr(orphans, "AGAIN_SECONDS", 0.2)


async def lost(machine):
    """Let an instance fall out of memory as if the answer to its claim had been lost."""
    await machine.settle()
    engine = machine.engine
    [execution] = engine.cache.all()
    engine.cache.remove(execution.pk).evict()


async def test_an_instance_that_nobody_runs_goes_on_and_is_told(running, caplog):
    hold, begun = asyncio.Event(), []

    async def work():
        begun.append("work")
        await hold.wait()
        return len(begun)

    @flow
    async def order(event, step):
        await step.do("first", lambda: begun.append("first"))
        return await step.do("work", work)

    machine = await running(order)
    instance = await machine.create(order)
    await lost(machine)
    hold.set()
    with caplog.at_level(logging.WARNING, "everstep.engine"):
        assert await asyncio.wait_for(instance.result(), 5) == 3
    assert begun == ["first", "work", "work"]
    assert [record.message for record in caplog.records] == [
        "instance 1 was running on disk and nobody ran it: it goes on from its journal"
    ]


async def test_an_instance_that_was_to_be_paused_and_that_nobody_runs_is_paused(running):
    hold = asyncio.Event()

    @flow
    async def order(event, step):
        await step.do("work", hold.wait)

    machine = await running(order)
    instance = await machine.create(order)
    await machine.settle()
    await instance.pause()
    assert (await instance.status()).status == "waitingForPause"
    await lost(machine)
    async with asyncio.timeout(5):
        while (await instance.status()).status != "paused":
            await asyncio.sleep(0.01)
    hold.set()
    await instance.resume()
    await asyncio.wait_for(instance.result(), 5)


async def test_what_is_in_memory_or_at_rest_is_left_alone(running, caplog):
    hold = asyncio.Event()

    @flow
    async def busy(event, step):
        await step.do("work", hold.wait)

    @flow
    async def rests(event, step):
        await step.wait_for_event("go", "go")

    machine = await running(busy, rests)
    instances = [await machine.create(busy), await machine.create(rests)]
    await machine.settle()
    for _ in range(3):
        await machine.engine.orphans.sweep()
    hold.set()
    await instances[1].send_event(type="go")
    for instance in instances:
        await asyncio.wait_for(instance.result(), 5)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
