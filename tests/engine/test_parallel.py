"""Parallel branches: gather, task groups and races, with one history for all of them."""

from __future__ import annotations

import asyncio

import pytest

from everstep import NonRetryableError
from everstep.engine.runtime.options import EngineOptions

from .virtual import START_MS, flow


async def double(n):
    await asyncio.sleep(0)
    return 2 * n


async def decline():
    raise NonRetryableError("declined")


async def test_gather_runs_branches_at_the_same_time_and_keeps_their_order(running):
    together = asyncio.Barrier(3)

    async def meet(n):
        await together.wait()
        return n

    @flow
    async def shop(event, step):
        return await asyncio.gather(*(step.do(f"meet {n}", meet, n) for n in (3, 1, 2)))

    assert await (await running(shop)).run(shop) == [3, 1, 2]


async def test_a_task_group_waits_for_all_its_steps(running):
    @flow
    async def shop(event, step):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(step.do("double", double, n)) for n in range(3)]
            group.create_task(step.sleep("nap", "1 hour"))
        return [task.result() for task in tasks]

    machine = await running(shop)
    instance = await machine.create(shop)
    await machine.reboot()
    await machine.advance("1 hour")
    assert await machine.output(instance) == [0, 2, 4]


@pytest.mark.parametrize("max_cached", [0, 10])
async def test_branches_go_on_independently_of_each_other(running, max_cached):
    @flow
    async def shop(event, step):
        async def branch(n):
            times = []
            for _ in range(3):
                await step.sleep(f"nap {n}", f"{n} minutes")
                times.append(await step.do(f"now {n}", lambda: (machine.now - START_MS) // 60_000))
            return times

        return await asyncio.gather(*(branch(n) for n in (1, 2, 3)))

    machine = await running(shop, options=EngineOptions(max_cached=max_cached))
    instance = await machine.create(shop)
    await machine.advance("10 minutes")
    assert await machine.output(instance) == [[1, 2, 3], [2, 4, 6], [3, 6, 9]]


async def test_the_first_of_several_waits_wins_live_and_on_replay(running):
    @flow
    async def shop(event, step):
        approval = asyncio.create_task(step.wait_for_event("approval", "approval"), name="approval")
        reminder = asyncio.create_task(step.sleep("reminder", "1 hour"), name="reminder")
        done, _ = await asyncio.wait({approval, reminder}, return_when=asyncio.FIRST_COMPLETED)
        winner = done.pop()
        winner.result()
        name = await step.do("note", lambda name: name, winner.get_name())
        await step.sleep("rest", "2 hours")
        return name

    machine = await running(shop)
    instance = await machine.create(shop)
    await machine.advance("1 hour")
    await machine.reboot()
    await machine.advance("2 hours")
    assert await machine.output(instance) == "reminder"


async def test_a_failing_branch_of_gather_ends_the_instance(running):
    cancelled = []

    @flow
    async def shop(event, step):
        async def long():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append("long")
                raise

        await asyncio.gather(step.do("long", long), step.do("charge", decline))

    machine = await running(shop)
    instance = await machine.create(shop)
    with pytest.raises(NonRetryableError, match="declined"):
        await machine.output(instance)
    assert cancelled == ["long"]
    steps = (await instance.status(steps=True)).steps
    assert ("charge", "errored") in [(step.name, step.status) for step in steps]


async def test_a_failing_branch_of_a_task_group_cancels_the_others_and_can_be_caught(running):
    @flow
    async def shop(event, step):
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(step.do("long", asyncio.Event().wait))
                group.create_task(step.sleep("nap", "1 hour"))
                group.create_task(step.do("charge", decline))
        except* NonRetryableError:
            pass
        await step.sleep("after", "1 minute")
        return await step.do("refund", lambda: "refunded")

    machine = await running(shop)
    instance = await machine.create(shop)
    await machine.advance("1 minute")
    assert await machine.output(instance) == "refunded"


async def test_errors_can_be_gathered_with_the_results(running):
    @flow
    async def shop(event, step):
        results = await asyncio.gather(step.do("a", double, 1), step.do("b", decline), return_exceptions=True)
        return [results[0], type(results[1]).__name__]

    assert await (await running(shop)).run(shop) == [2, "NonRetryableError"]


async def test_a_step_that_the_workflow_cancels_is_cancelled_and_not_failed(running):
    @flow
    async def shop(event, step):
        task = asyncio.create_task(step.do("long", asyncio.Event().wait))
        await step.do("a moment", double, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await step.do("after", double, 2)

    machine = await running(shop)
    instance = await machine.create(shop)
    assert await machine.output(instance) == 4
    steps = (await instance.status(steps=True)).steps
    assert [(step.name, step.status) for step in steps if step.name == "long"] in ([("long", "cancelled")], [])


@pytest.mark.parametrize("config", [{}, {"retries": {"limit": 2}}], ids=["by default", "configured"])
async def test_a_step_stays_cancelled_when_its_function_answers_that_with_an_error(running, config):
    calls = []

    async def stubborn():
        calls.append("stubborn")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ValueError("not now") from None

    @flow
    async def shop(event, step):
        task = asyncio.create_task(step.do("long", config, stubborn))
        await step.do("a moment", double, 1)
        task.cancel()
        await asyncio.wait({task})
        await step.sleep("nap", "1 hour")
        return task.cancelled()

    machine = await running(shop)
    instance = await machine.create(shop)
    assert [step.status for step in (await instance.status(steps=True)).steps if step.name == "long"] == ["cancelled"]
    await machine.reboot()
    await machine.advance("1 hour")
    assert await machine.output(instance) is True
    [long] = [step for step in (await instance.status(steps=True)).steps if step.name == "long"]
    assert (long.status, calls) == ("cancelled", ["stubborn"])


@pytest.mark.parametrize("turns", range(12))
async def test_a_step_that_may_run_once_and_is_cancelled_early_does_not_keep_the_instance_at_work(running, turns):
    """Cancelled at any moment, also while its start is on its way to the disk."""

    @flow
    async def shop(event, step):
        task = asyncio.create_task(step.do("once", {"retries": {"limit": 0}}, asyncio.Event().wait))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        await step.sleep("nap", "1 hour")
        return "awake"

    machine = await running(shop)
    instance = await machine.create(shop)
    assert (await instance.status()).status == "waiting"
    await machine.reboot()
    await machine.advance("1 hour")
    assert await machine.output(instance) == "awake"


async def test_a_step_within_a_step_is_a_step_of_its_own(running):
    calls = []

    @flow
    async def shop(event, step):
        async def outer():
            return 1 + await step.do("inner", lambda: calls.append(1) or 1)

        return await step.do("outer", outer)

    assert await (await running(shop)).run(shop) == 2
    assert calls == [1]


async def test_tasks_that_are_left_behind_end_with_the_instance(running):
    cancelled, went_on = [], []

    async def long():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append("attempt")
            raise

    tasks = []

    @flow
    async def shop(event, step):
        async def stray():
            await step.sleep("nap", "1 hour")
            went_on.append("stray")

        tasks.extend([asyncio.create_task(stray()), asyncio.create_task(step.do("long", long))])
        await step.do("quick", double, 1)
        return "done"

    machine = await running(shop)
    instance = await machine.create(shop)
    assert await machine.output(instance) == "done"
    await machine.advance("2 hours")
    assert (set(cancelled), went_on) == ({"attempt"}, [])
    assert all(task.done() for task in tasks)
    steps = {step.name: step.status for step in (await instance.status(steps=True)).steps}
    assert steps["quick"] == "complete"
    assert steps.get("nap", "cancelled") == "cancelled"


async def test_a_task_left_behind_that_asks_for_a_step_later_does_not_get_it(running):
    calls, left = [], asyncio.Event()
    tasks = []

    @flow
    async def shop(event, step):
        async def stray():
            await left.wait()
            await step.do("late", lambda: calls.append("late"))

        tasks.append(asyncio.create_task(stray()))
        return await step.do("quick", double, 1)

    machine = await running(shop)
    instance = await machine.create(shop)
    assert await machine.output(instance) == 2
    left.set()
    await machine.settle()
    assert calls == []
    assert all(task.done() for task in tasks)


async def test_many_branches_share_one_history(running):
    @flow
    async def shop(event, step):
        return sum(await asyncio.gather(*(step.do("double", double, n) for n in range(200))))

    machine = await running(shop)
    instance = await machine.create(shop)
    assert await machine.output(instance) == 2 * sum(range(200))
    assert (await instance.status()).step_count == 200
