"""Steps side by side."""

from __future__ import annotations

import asyncio

import pytest

from .factories import AWAY, Gate, flow, state, steps_of


async def test_gather_runs_steps_at_the_same_time_and_keeps_their_order(running):
    """I §1.5"""
    gates = [Gate(n) for n in range(3)]

    @flow
    async def shop(event, step):
        return await asyncio.gather(*(step.do(f"s{n}", gate) for n, gate in enumerate(gates)))

    machine = await running(shop)
    instance = await machine.create(shop)
    assert [gate.calls for gate in gates] == [1, 1, 1]
    for gate in reversed(gates):
        gate.open()
        await machine.settle()
    assert await machine.output(instance) == [0, 1, 2]


async def test_errors_can_be_gathered_with_the_results(running):
    """I §1.5 (allSettled)"""

    async def fail():
        raise LookupError("no")

    @flow
    async def shop(event, step):
        once = {"retries": {"limit": 0}}
        steps = [step.do("good", lambda: 1), step.do("bad", once, fail)]
        return [repr(one) for one in await asyncio.gather(*steps, return_exceptions=True)]

    assert await (await running(shop)).run(shop) == ["1", "LookupError('no')"]


async def test_the_first_of_several_steps_can_be_awaited(running):
    """I §1.5 (race, any)"""
    gates = {name: Gate(name) for name in ("slow", "fast")}

    @flow
    async def shop(event, step):
        steps = [asyncio.ensure_future(step.do(name, gate)) for name, gate in gates.items()]
        done, _ = await asyncio.wait(steps, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()

    machine = await running(shop)
    instance = await machine.create(shop)
    gates["fast"].open()
    assert await machine.output(instance) == "fast"


async def test_a_race_inside_a_step_has_a_winner_that_replays_keep(running):
    """I §1.4"""
    winners = iter(["first life", "second life"])
    seen = []

    @flow
    async def shop(event, step):
        seen.append(await step.do("race", lambda: next(winners)))
        await step.sleep("nap", "1 minute")

    machine = await running(shop, options=AWAY)
    await machine.create(shop)
    await machine.advance("1 minute")
    assert len(seen) >= 2
    assert set(seen) == {"first life"}


async def test_an_error_in_one_branch_ends_the_instance_and_its_other_branches(running):
    """I §1.5"""
    gate, bad = Gate(), Gate(LookupError("no"))

    @flow
    async def shop(event, step):
        await asyncio.gather(step.do("slow", gate), step.do("bad", {"retries": {"limit": 0}}, bad))

    machine = await running(shop)
    instance = await machine.create(shop)
    await machine.advance("1 second")
    bad.open()
    await machine.settle()
    found = await instance.status()
    assert (found.status, found.error.name) == ("errored", "LookupError")
    gate.open()
    await machine.settle()
    assert ("slow", 1, "cancelled") in await steps_of(instance)


async def test_a_pause_waits_for_every_attempt_in_flight(running):
    """I §1.5, §3.1, S §2.8"""
    gates = [Gate(), Gate()]

    @flow
    async def shop(event, step):
        await asyncio.gather(*(step.do(f"s{n}", gate) for n, gate in enumerate(gates)))
        await step.do("after", lambda: 1)

    machine = await running(shop)
    instance = await machine.create(shop)
    await instance.pause()
    gates[0].open()
    await machine.settle()
    assert await state(instance) == "waitingForPause"
    gates[1].open()
    await machine.settle()
    assert await state(instance) == "paused"
    assert [name for name, _, _ in await steps_of(instance)] == ["s0", "s1"]


async def test_no_step_begins_while_a_pause_is_pending(running):
    """I §3.1"""
    gate, go = Gate(), asyncio.Event()
    begun = []

    @flow
    async def shop(event, step):
        async def late():
            await go.wait()
            await step.do("late", lambda: begun.append(1))

        await asyncio.gather(step.do("slow", gate), late())

    machine = await running(shop)
    instance = await machine.create(shop)
    await instance.pause()
    go.set()
    await machine.settle()
    assert (begun, await state(instance)) == ([], "waitingForPause")
    gate.open()
    await machine.settle()
    await instance.resume()
    await machine.settle()
    assert (begun, await state(instance)) == ([1], "complete")


@pytest.mark.parametrize("options", [None, AWAY], ids=["in memory", "away"])
async def test_branches_sleep_wait_and_work_independently(running, options):
    """I §1.5"""
    done = []

    @flow
    async def shop(event, step):
        async def branch(n):
            await step.sleep(f"nap {n}", f"{n} minutes")
            await step.do(f"work {n}", lambda: done.append(n))

        await asyncio.gather(*(branch(n) for n in (3, 1, 2)), step.wait_for_event("go", "go"))

    machine = await running(shop, options=options)
    instance = await machine.create(shop)
    await machine.advance("3 minutes")
    assert done == [1, 2, 3]
    assert await state(instance) == "waiting"
    await instance.send_event(type="go")
    await machine.settle()
    assert await state(instance) == "complete"


async def test_a_task_group_works_too(running):
    """S §1.1"""

    @flow
    async def shop(event, step):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(step.do(f"s{n}", lambda n=n: n)) for n in range(3)]
        return [task.result() for task in tasks]

    assert await (await running(shop)).run(shop) == [0, 1, 2]
