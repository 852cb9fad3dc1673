"""Suspension: how an instance that waits leaves memory, and comes back by replay."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from everstep.core.errors import Suspended
from everstep.engine.runtime.options import EngineOptions

from .virtual import flow

pytestmark = pytest.mark.residency

NOBODY = EngineOptions(max_cached=0, drain_ms=0)


@flow
async def sleeper(event, step):
    await step.do("before", lambda: 1)
    await step.sleep("nap", "1 hour")
    return "awake"


async def test_a_waiting_instance_stays_in_memory_while_there_is_room(running):
    lives = []

    @flow
    async def counted(event, step):
        lives.append(1)
        await step.sleep("nap", "1 hour")

    machine = await running(counted)
    instance = await machine.create(counted)
    assert await machine.in_memory(instance)
    await machine.advance("1 hour")
    await machine.output(instance)
    assert lives == [1]


async def test_without_room_a_waiting_instance_leaves_at_once_and_is_replayed_when_it_is_due(running):
    lives, calls = [], []

    @flow
    async def counted(event, step):
        lives.append(1)
        await step.do("call", lambda: calls.append(1))
        await step.sleep("nap", "1 hour")
        return "awake"

    machine = await running(counted, options=NOBODY)
    instance = await machine.create(counted)
    assert not await machine.in_memory(instance)
    assert (await instance.status()).status == "waiting"
    await machine.advance("1 hour")
    assert await machine.output(instance) == "awake"
    assert (len(lives), calls) == (2, [1])


async def test_with_room_for_one_the_one_that_parked_first_leaves(running):
    machine = await running(sleeper, options=EngineOptions(max_cached=1))
    instances = [await machine.create(sleeper, id=id_) for id_ in ("a", "b", "c")]
    assert [await machine.in_memory(one) for one in instances] == [False, False, True]


async def test_an_instance_at_work_does_not_leave(running):
    go = asyncio.Event()

    @flow
    async def both(event, step):
        await asyncio.gather(step.do("hold", go.wait), step.sleep("nap", "1 hour"))

    machine = await running(both, options=NOBODY)
    instance = await machine.create(both)
    assert await machine.in_memory(instance)
    go.set()
    await machine.settle()
    assert not await machine.in_memory(instance)


async def test_an_instance_that_ended_leaves(running):
    @flow
    async def quick(event, step):
        await step.do("a", lambda: 1)

    machine = await running(quick)
    instance = await machine.create(quick)
    assert not await machine.in_memory(instance)


async def test_what_left_is_collected(running):
    class Heavy:
        pass

    alive = []

    @flow
    async def heavy(event, step):
        load = Heavy()
        alive.append(weakref.ref(load))
        await step.sleep("nap", "1 hour")
        return repr(load)

    machine = await running(heavy, options=NOBODY)
    await machine.create(heavy)
    gc.collect()
    assert [one() for one in alive] == [None]


@pytest.mark.parametrize("kind", ["sleep", "wait", "retry"])
async def test_every_kind_of_wait_leaves_through_finally_and_not_through_except(running, kind):
    left = []

    async def fail():
        raise ConnectionError

    @flow
    async def careful(event, step):
        try:
            if kind == "sleep":
                await step.sleep("nap", "1 hour")
            elif kind == "wait":
                await step.wait_for_event("tick", "tick", timeout="1 hour")
            else:
                await step.do("charge", {"retries": {"limit": 1, "delay": "1 hour"}}, fail)
        except Exception as error:
            left.append(type(error).__name__)
        except Suspended:
            left.append("suspended")
            raise
        finally:
            left.append("finally")

    machine = await running(careful, options=NOBODY)
    instance = await machine.create(careful)
    assert left == ["suspended", "finally"]
    await machine.advance("1 hour")
    await machine.output(instance)
    error = {"sleep": [], "wait": ["WorkflowTimeoutError"], "retry": ["ConnectionError"]}[kind]
    assert left == ["suspended", "finally", *error, "finally"]


async def test_a_step_in_finally_is_not_run_on_the_way_out(running):
    calls = []

    @flow
    async def careful(event, step):
        try:
            await step.sleep("nap", "1 hour")
        finally:
            await step.do("clean up", lambda: calls.append("clean up"))
            calls.append("after")

    machine = await running(careful, options=NOBODY)
    instance = await machine.create(careful)
    assert calls == []
    await machine.advance("1 hour")
    await machine.output(instance)
    assert calls == ["clean up", "after"]


async def test_code_that_swallows_the_way_out_gets_no_further_than_the_next_step(running):
    went_on = []

    @flow
    async def greedy(event, step):
        try:
            await step.sleep("nap", "1 hour")
        except BaseException:
            went_on.append("swallowed")
        await step.do("next", lambda: went_on.append("next"))
        return "done"

    machine = await running(greedy, options=NOBODY)
    instance = await machine.create(greedy)
    assert went_on == ["swallowed"]
    assert (await instance.status()).status == "waiting"
    await machine.advance("1 hour")
    assert await machine.output(instance) == "done"
    assert went_on == ["swallowed", "next"]


async def test_code_that_swallows_the_way_out_and_returns_has_not_ended(running):
    @flow
    async def greedy(event, step):
        try:
            await step.sleep("nap", "1 hour")
        except BaseException:
            return "too early"
        return "awake"

    machine = await running(greedy, options=NOBODY)
    instance = await machine.create(greedy)
    await machine.advance("1 hour")
    assert await machine.output(instance) == "awake"


@pytest.mark.parametrize("form", ["gather", "group", "wait", "stray"])
async def test_parallel_branches_leave_quietly(running, form):
    left = []

    @flow
    async def parallel(event, step):
        async def branch(n):
            try:
                await step.sleep(f"nap {n}", f"{n} hours")
            finally:
                left.append(n)

        if form == "gather":
            await asyncio.gather(branch(1), branch(2))
        elif form == "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(branch(1))
                group.create_task(branch(2))
        elif form == "wait":
            await asyncio.wait({asyncio.create_task(branch(1)), asyncio.create_task(branch(2))})
        else:
            stray = asyncio.create_task(branch(2))
            await branch(1)
            await stray

    machine = await running(parallel, options=NOBODY)
    instance = await machine.create(parallel)
    assert sorted(left) == [1, 2]
    await machine.advance("2 hours")
    await machine.output(instance)


async def test_attempts_that_are_cut_by_termination_leave_quietly(running):
    @flow
    async def parallel(event, step):
        await asyncio.wait(
            {asyncio.create_task(step.do(f"hold {n}", asyncio.Event().wait)) for n in range(3)}
            | {asyncio.create_task(step.sleep("nap", "1 hour"))}
        )

    machine = await running(parallel)
    instance = await machine.create(parallel)
    await instance.terminate()
    await machine.settle()
    assert not await machine.in_memory(instance)


async def test_code_that_awaits_something_else_leaves_even_where_its_cleanup_awaits(running):
    left = asyncio.Event()

    @flow
    async def stubborn(event, step):
        nap = asyncio.create_task(step.sleep("nap", "1 hour"))
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
            await asyncio.wait({nap})

    machine = await running(stubborn, options=NOBODY)
    instance = await machine.create(stubborn)
    await asyncio.wait_for(left.wait(), 5)
    assert (await instance.status()).status == "waiting"


async def test_an_event_brings_an_instance_back(running):
    @flow
    async def receiver(event, step):
        return (await step.wait_for_event("tick", "tick")).payload

    machine = await running(receiver, options=NOBODY)
    instance = await machine.create(receiver)
    assert not await machine.in_memory(instance)
    await instance.send_event(type="tick", payload=1)
    assert await machine.output(instance) == 1


async def test_waiting_instances_make_room_for_others_to_work(running):
    machine = await running(sleeper, options=EngineOptions(max_running=1))
    instances = [await machine.create(sleeper, id=f"i{n}") for n in range(5)]
    assert {(await one.status()).status for one in instances} == {"waiting"}
    await machine.advance("1 hour")
    assert [await machine.output(one) for one in instances] == ["awake"] * 5
