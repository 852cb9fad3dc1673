"""Plain functions in threads: their turns, and what becomes of threads that hang in a function which is over."""

from __future__ import annotations

import asyncio
import threading

from everstep import WorkflowTimeoutError
from everstep.engine.runtime.options import EngineOptions

from .virtual import Held, attempts_of, flow

ONCE = {"timeout": "5 seconds", "retries": {"limit": 0}}


def hangs_in(place: Held):
    """Make a workflow of one step that stands in a thread until its time is over."""

    @flow
    async def hangs(event, step):
        try:
            return await step.do("hangs", ONCE, place.wait)
        except WorkflowTimeoutError:
            return "timed out"

    return hangs


@flow
async def healthy(event, step):
    return await step.do("healthy", ONCE, plain)


def plain():
    return threading.current_thread().daemon


def options(**some) -> EngineOptions:
    return EngineOptions(drain_ms=0, **some)


async def test_a_thread_that_hangs_after_its_timeout_is_replaced(running, held):
    hangs = hangs_in(held)
    machine = await running(hangs, healthy, options=options(max_threads=2, max_lost_threads=5))
    stuck = [await machine.create(hangs, id=str(number)) for number in range(4)]
    await machine.advance("10 seconds")
    assert [await machine.output(one) for one in stuck] == ["timed out"] * 4
    assert await machine.run(healthy) is True
    metrics = await machine.es.control.metrics()
    assert (metrics.threads.now, metrics.threads.waiting) == (0, 0)
    assert (metrics.threads_lost.now, metrics.threads_lost.max) == (4, 5)
    assert (machine.es.control.health().lost_threads, machine.es.control.health().warning) == (4, None)


async def test_threads_that_return_at_last_are_not_lost_any_more(running, held):
    hangs = hangs_in(held)
    machine = await running(hangs, options=options(max_threads=2))
    for number in range(2):
        await machine.create(hangs, id=str(number))
    await machine.advance("5 seconds")
    assert machine.es.control.health().lost_threads == 2
    held.release()
    await until(lambda: machine.es.control.health().lost_threads == 0)


async def test_when_all_threads_are_lost_steps_wait_without_losing_time_and_it_is_said(running, held, caplog):
    hangs = hangs_in(held)
    machine = await running(hangs, healthy, options=options(max_threads=1, max_lost_threads=1))
    for number in range(2):
        await machine.create(hangs, id=str(number))
    await machine.advance("10 seconds")
    instance = await machine.create(healthy)
    await machine.advance("1 hour")
    assert (await instance.status()).status == "running"
    assert (await machine.es.control.metrics()).threads.waiting == 1
    warning = machine.es.control.health().warning
    assert "2 threads are in plain functions of steps" in warning
    assert "0 of 1 are left" in warning
    told = [one.getMessage() for one in caplog.records if "threads are in plain functions" in one.getMessage()]
    assert len(told) == 1, "once, when no further one is replaced"
    assert told[0].endswith("The latest is in step 'hangs'")

    held.release()
    assert await machine.output(instance) is True
    assert attempts_of(await instance.status(steps=True), "healthy") == [(1, "complete", None)]
    await until(lambda: machine.es.control.health().warning is None)


async def test_a_step_that_is_cancelled_while_it_waits_for_a_thread_gives_its_turn_on(running, held):
    called = []

    @flow
    async def shop(event, step):
        first = asyncio.create_task(step.do("first", held.wait))
        second = asyncio.create_task(step.do("second", note, "second"))
        await step.sleep("a moment", "1 second")
        second.cancel()
        third = asyncio.create_task(step.do("third", note, "third"))
        await step.sleep("another", "1 second")
        return [await first, await third]

    def note(name):
        called.append(name)
        return name

    machine = await running(shop, options=options(max_threads=1))
    instance = await machine.create(shop)
    await machine.advance("2 seconds")
    assert called == []
    held.release()
    assert await machine.output(instance) == [None, "third"]
    assert called == ["third"]
    assert machine.engine.attempts.turns.load.now == 0


async def test_what_a_plain_function_returned_is_awaited_without_a_thread(running):
    opened = asyncio.Event()

    async def long():
        await opened.wait()
        return "long"

    def begins():
        return long()

    @flow
    async def shop(event, step):
        first = asyncio.create_task(step.do("first", begins))
        second = await step.do("second", plain)
        opened.set()
        return [await first, second]

    machine = await running(shop, options=options(max_threads=1))
    assert await machine.run(shop) == ["long", True]


async def until(true, seconds: float = 10):
    """Wait in real time: a thread comes back when it likes."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.001)
