"""Workflow code that awaits what no step records, asks for values in odd places, or goes on from an old history."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import re
import sqlite3
import time

import pytest

from engine.virtual import flow
from everstep.engine.execution import outside, workflow_loop

from .interrupting import WAYS, interrupt

every_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch):
    """What was told once of a line is told again in each test."""
    monkeypatch.setattr(outside, "_told", {})


@every_way
async def test_a_thread_of_the_code_and_its_steps_take_turns_in_every_life(running, way):
    ran = []

    @flow
    async def reads(event, step):
        first = await step.do("first", lambda: ran.append("first") or 1)
        read = await asyncio.to_thread(lambda: time.sleep(0.005) or first + 1)
        second = await step.do("second", lambda: ran.append("second") or read + 1)
        await step.wait_for_event("go", "go", timeout="1 hour")
        again = await asyncio.to_thread(lambda: second + 1)
        return await step.do("third", lambda: ran.append("third") or [first, read, second, again])

    machine = await running(reads)
    instance = await machine.es.workflow(reads).create(id="one")
    await machine.settle()
    await interrupt(machine, instance, way, wake=True)
    handle = machine.handle(reads, "one")
    await handle.send_event(type="go")

    assert await handle.result(timeout="20 seconds") == [1, 2, 3, 4]
    assert ran == ["first", "second", "third"]


async def test_awaiting_the_outside_is_told_with_the_line_and_only_once(running, caplog):
    @flow
    async def reads(event, step):
        for _ in range(3):
            await asyncio.to_thread(time.sleep, 0.001)
        return await step.do("end", lambda: "end")

    machine = await running(reads)
    with caplog.at_level(logging.WARNING, "everstep"):
        for number in range(3):
            await (await machine.es.workflow(reads).create(id=f"i{number}")).result(timeout="20 seconds")

    [told] = [
        one.getMessage() for one in caplog.records if "to_thread" in one.getMessage() or "await" in one.getMessage()
    ]
    assert "test_outside.py:" in told


async def test_every_line_that_awaits_the_outside_is_told_once_up_to_a_limit(running, caplog, monkeypatch):
    @flow
    async def reads(event, step):
        for _ in range(2):
            await asyncio.to_thread(time.sleep, 0.001)
            await asyncio.to_thread(time.sleep, 0.001)
        await step.do("between", lambda: None)
        await asyncio.to_thread(time.sleep, 0.001)
        await asyncio.to_thread(time.sleep, 0.001)

    monkeypatch.setattr(outside, "_MOST_TOLD", 3)
    machine = await running(reads)
    with caplog.at_level(logging.WARNING, "everstep"):
        await (await machine.es.workflow(reads).create(id="one")).result(timeout="20 seconds")

    lines = [re.search(r"test_outside.py:(\d+)", one.getMessage()).group(1) for one in caplog.records]
    assert len(lines) == len(set(lines)) == 3
    assert int(lines[1]) == int(lines[0]) + 1
    assert int(lines[2]) == int(lines[1]) + 2


async def test_code_that_polls_for_a_step_is_ended_with_a_reason(running):
    @flow
    async def polls(event, step):
        done = []

        async def branch():
            done.append(await step.do("work", lambda: 1))

        task = asyncio.create_task(branch())
        while not done:
            await asyncio.sleep(0)
        return await task

    machine = await running(polls)
    await machine.es.workflow(polls).create(id="one")
    status = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(20):
            while (status := await machine.handle(polls, "one").status()).status == "running":
                await asyncio.sleep(0.01)

    assert status is not None
    assert (status.status, status.error.name) == ("errored", "WorkflowCodeError")
    assert "Await" in status.error.message


async def test_bursts_of_work_between_steps_are_not_taken_for_polling(running, monkeypatch):
    monkeypatch.setattr(workflow_loop, "SLICE_CALLBACKS", 100)

    @flow
    async def works(event, step):
        nap = asyncio.create_task(step.sleep("nap", "1 hour"))
        for number in range(60):  # each burst is longer than a slice, and all together are longer than polling may last
            for _ in range(150):
                await asyncio.sleep(0)
            await step.do(f"step {number}", lambda: None)
        nap.cancel()
        return "done"

    machine = await running(works)
    instance = await machine.es.workflow(works).create(id="one")

    assert await instance.result(timeout="20 seconds") == "done"


async def test_code_that_nothing_can_go_on_with_is_told_of(running, caplog):
    @flow
    async def waits(event, step):
        await asyncio.Event().wait()

    machine = await running(waits)
    with caplog.at_level(logging.WARNING, "everstep"):
        instance = await machine.es.workflow(waits).create(id="one")
        await machine.settle()

    [told] = [one.getMessage() for one in caplog.records if "waits for nothing" in one.getMessage()]
    assert "test_outside.py:" in told
    await instance.terminate()


async def test_a_value_in_a_steps_function_is_new_in_each_attempt(running):
    drawn = []

    @flow
    async def draws(event, step):
        async def work(ctx):
            drawn.append((step.uuid(), step.random(), step.now()))
            if ctx.attempt < 3:
                raise RuntimeError("again")
            return str(drawn[-1][0])

        retries = {"retries": {"limit": 5, "delay": "1 second", "backoff": "constant"}}
        return [str(step.uuid()), await step.do("draw", retries, work)]

    machine = await running(draws)
    instance = await machine.es.workflow(draws).create(id="one")
    await machine.advance(10_000)
    before, within = await instance.result(timeout="20 seconds")

    assert len({*(str(one) for one, _, _ in drawn), before}) == 4
    assert within == str(drawn[-1][0])
    assert [(later[2] - earlier[2]).total_seconds() for earlier, later in itertools.pairwise(drawn)] == [1, 1]


async def test_a_history_without_an_order_goes_on_by_its_names(running):
    """Releases before the order was recorded left rows without it."""
    ran = []

    def job(what):
        return lambda: ran.append(what) or what

    @flow
    async def old(event, step):
        async def branch(name):
            got = [await step.do(f"{name} {number}", job(f"{name} {number}")) for number in (1, 2)]
            await step.wait_for_event(f"{name} waits", name, timeout="1 day")
            return [*got, await step.do(f"{name} 3", job(f"{name} 3"))]

        return await asyncio.gather(branch("a"), branch("b"))

    machine = await running(old)
    await machine.es.workflow(old).create(id="one")
    await machine.settle()
    await machine.stop()
    with contextlib.closing(sqlite3.connect(machine.database.removeprefix("sqlite:///"))) as database, database:
        changed = database.execute("update step set asked_after = null, settlement = null, sent_after = null").rowcount
    assert changed == 6
    await machine.boot()
    handle = machine.handle(old, "one")
    await handle.send_event(type="b")
    await handle.send_event(type="a")

    assert await handle.result(timeout="20 seconds") == [["a 1", "a 2", "a 3"], ["b 1", "b 2", "b 3"]]
    assert sorted(ran) == [f"{name} {number}" for name in "ab" for number in (1, 2, 3)]


@every_way
async def test_an_error_that_the_code_will_look_at_later_is_not_told_as_forgotten(running, way):
    """The `unheard` fixture fails the test where asyncio tells of one, whose task was collected with its life."""

    @flow
    async def looks_later(event, step):
        async def fails():
            raise ValueError("later")

        task = asyncio.create_task(fails())
        for _ in range(40):
            await asyncio.create_task(asyncio.sleep(0))
        await step.wait_for_event("go", "go", timeout="1 hour")
        return repr(*await asyncio.gather(task, return_exceptions=True))

    machine = await running(looks_later)
    instance = await machine.es.workflow(looks_later).create(id="one")
    await machine.settle()
    await interrupt(machine, instance, way, wake=True)
    handle = machine.handle(looks_later, "one")
    await handle.send_event(type="go")

    assert await handle.result(timeout="20 seconds") == "ValueError('later')"
