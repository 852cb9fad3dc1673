"""Limits of a workflow: instances at work at once, and steps of one instance."""

from __future__ import annotations

import asyncio

import pytest

from everstep import InstanceExistsError
from everstep.engine.runtime.options import EngineOptions

from .virtual import flow, limited


class Work:
    """Steps that stand until they are let go, and how many stood at once."""

    def __init__(self) -> None:
        self.at_work, self.most = 0, 0
        self.started: list[str] = []
        self.go: dict[str, asyncio.Event] = {}

    async def __call__(self, ctx):
        self.started.append(ctx.instance_id)
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        try:
            await self.go.setdefault(ctx.instance_id, asyncio.Event()).wait()
        finally:
            self.at_work -= 1
        return ctx.instance_id

    def release(self, *ids):
        for id in ids:
            self.go.setdefault(id, asyncio.Event()).set()


def worker(work):
    @flow
    async def job(event, step):
        return await step.do("work", work)

    return job


async def statuses(machine, job, ids):
    return [(await machine.handle(job, id).status()).status for id in ids]


async def test_instances_over_the_limit_queue_and_start_as_others_end(running):
    work = Work()
    job = worker(work)
    machine = await running(limited(job, concurrency=2))
    for id in "abcd":
        await machine.create(job, id=id)
    assert await statuses(machine, job, "abcd") == ["running", "running", "queued", "queued"]
    work.release("a")
    await machine.settle()
    assert await statuses(machine, job, "abcd") == ["complete", "running", "running", "queued"]
    work.release(*"bcd")
    await machine.settle()
    assert await statuses(machine, job, "abcd") == ["complete"] * 4
    assert work.most == 2


async def test_a_burst_created_at_once_keeps_the_limit(running):
    work = Work()
    job = worker(work)
    machine = await running(limited(job, concurrency=3))
    binding = machine.es.workflow(job)
    await asyncio.gather(*(binding.create(id=f"i{n}") for n in range(40)))
    await machine.settle()
    for n in range(40):
        work.release(f"i{n}")
        await machine.settle()
    assert work.most == 3
    assert await statuses(machine, job, [f"i{n}" for n in range(40)]) == ["complete"] * 40


async def test_a_creation_that_is_refused_gives_its_place_back(running):
    work = Work()
    job = worker(work)
    machine = await running(limited(job, concurrency=1))
    binding = machine.es.workflow(job)
    await machine.create(job, id="a")
    for round in range(20):
        await machine.create(job, id=f"b{round}")
        before = f"b{round - 1}" if round else "a"
        work.release(before)
        refused = [asyncio.ensure_future(binding.create(id="a")) for _ in range(3)]
        for _turn in range(round):
            await asyncio.sleep(0)
        refused += [asyncio.ensure_future(binding.create(id="a")) for _ in range(3)]
        answers = await asyncio.gather(*refused, return_exceptions=True)
        assert all(isinstance(answer, InstanceExistsError) for answer in answers)
        await machine.settle()
        assert await statuses(machine, job, [f"b{round}"]) == ["running"]


async def test_a_waiting_instance_takes_no_place(running):
    @flow
    async def job(event, step):
        await step.sleep("nap", "1 hour")

    machine = await running(limited(job, concurrency=1))
    for id in "abc":
        await machine.create(job, id=id)
    assert await statuses(machine, job, "abc") == ["waiting"] * 3
    await machine.advance("1 hour")
    assert await statuses(machine, job, "abc") == ["complete"] * 3


@pytest.mark.parametrize("max_cached", [0, 1_000])
async def test_a_woken_instance_goes_before_a_new_one(running, max_cached):
    work = Work()

    @flow
    async def job(event, step):
        if event.payload == "sleeper":
            await step.sleep("nap", "1 minute")
        await step.do("work", work)

    machine = await running(limited(job, concurrency=1), options=EngineOptions(max_cached=max_cached, drain_ms=0))
    await machine.create(job, "sleeper", id="woken")
    await machine.create(job, id="busy")
    await machine.create(job, id="new")
    await machine.advance("1 minute")
    assert await statuses(machine, job, ["woken", "busy", "new"]) == ["waiting", "running", "queued"]
    work.release("busy")
    await machine.settle()
    assert work.started == ["busy", "woken"]
    work.release("woken")
    await machine.settle()
    assert work.started == ["busy", "woken", "new"]


@pytest.mark.parametrize("max_cached", [0, 1_000])
async def test_an_instance_woken_by_an_event_queues_while_the_workflow_is_full(running, max_cached):
    work = Work()

    @flow
    async def job(event, step):
        if event.payload == "waiter":
            await step.wait_for_event("go", "go")
        await step.do("work", work)

    machine = await running(limited(job, concurrency=1), options=EngineOptions(max_cached=max_cached, drain_ms=0))
    waiter = await machine.create(job, "waiter", id="waiter")
    await machine.create(job, id="busy")
    await waiter.send_event(type="go")
    await machine.settle()
    assert work.started == ["busy"]
    work.release("busy")
    await machine.settle()
    assert work.started == ["busy", "waiter"]
    work.release("waiter")
    await machine.output(waiter)
    assert work.most == 1


async def test_the_limit_holds_after_a_crash(running):
    work = Work()
    job = worker(work)
    machine = await running(limited(job, concurrency=2))
    for id in "abcd":
        await machine.create(job, id=id)
    await machine.advance("1 second")
    work.at_work = 0
    await machine.reboot()
    await machine.advance("1 minute")
    assert work.at_work <= 2
    work.release(*"abcd")
    for _ in range(4):
        await machine.advance("1 minute")
    assert await statuses(machine, job, "abcd") == ["complete"] * 4
    assert work.most <= 2


@pytest.mark.parametrize("verb", ["terminate", "pause", "delete", "restart"])
async def test_a_place_is_free_again_however_its_instance_leaves(running, verb):
    work = Work()
    job = worker(work)
    machine = await running(limited(job, concurrency=1))
    first = await machine.create(job, id="a")
    second = await machine.create(job, id="b")
    await getattr(first, verb)()
    if verb == "pause":
        work.release("a")
    await machine.settle()
    if verb == "restart":
        work.release("a", "b")
        await machine.settle()
        assert work.most == 1
        assert await statuses(machine, job, "ab") == ["complete", "complete"]
    else:
        assert (await second.status()).status == "running"


async def test_a_queued_instance_can_be_paused_resumed_and_terminated(running):
    work = Work()
    job = worker(work)
    machine = await running(limited(job, concurrency=1))
    await machine.create(job, id="a")
    second = await machine.create(job, id="b")
    third = await machine.create(job, id="c")
    await second.pause()
    assert (await second.status()).status == "paused"
    await third.terminate()
    work.release("a")
    await machine.settle()
    assert work.started == ["a"]
    await second.resume()
    await machine.settle()
    assert work.started == ["a", "b"]


async def test_a_parent_and_its_child_of_a_workflow_for_one_do_not_block_each_other(running):
    @flow
    async def tree(event, step):
        depth = event.payload
        if depth:
            return 1 + await step.run_workflow("deeper", "tree", depth - 1)
        return 0

    machine = await running(limited(tree, concurrency=1))
    assert await machine.run(tree, 3) == 3


async def test_one_full_workflow_does_not_hold_another_up(running):
    work = Work()
    job = worker(work)

    @flow
    async def other(event, step):
        return await step.do("answer", lambda: 42)

    machine = await running(limited(job, concurrency=1), other)
    await machine.create(job, id="a")
    await machine.create(job, id="b")
    assert await machine.run(other) == 42


# Steps


@pytest.mark.parametrize("max_cached", [0, 1_000])
@pytest.mark.parametrize("naps", [False, True])
async def test_the_step_limit_ends_the_instance_over_all_its_lives(running, naps, max_cached):
    ran = []

    async def note():
        ran.append(1)

    @flow
    async def loop(event, step):
        while True:
            await step.do("part", note)
            if naps:
                await step.sleep("nap", "1 minute")

    machine = await running(limited(loop, step_limit=5), options=EngineOptions(max_cached=max_cached, drain_ms=0))
    instance = await machine.create(loop)
    for _ in range(8):
        await machine.advance("1 minute")
        if len(ran) >= 20:
            break
    status = await instance.status()
    assert (status.status, status.error and status.error.name, len(ran)) == ("errored", "StepLimitError", 5)
    assert "limits.steps" in status.error.message


async def test_exactly_as_many_steps_as_allowed_are_fine_and_sleeps_do_not_count(running):
    @flow
    async def job(event, step):
        for _ in range(5):
            await step.do("part", lambda: 1)
            await step.sleep("nap", "1 minute")
        return "done"

    machine = await running(limited(job, step_limit=5))
    instance = await machine.create(job)
    for _ in range(5):
        await machine.advance("1 minute")
    assert await machine.output(instance) == "done"


async def test_the_step_limit_cannot_be_caught_and_rolls_back(running):
    undone = []

    @flow
    async def job(event, step):
        try:
            for _ in range(9):
                await step.do("part", {"rollback": lambda rb: undone.append(rb.ctx.step.count)}, lambda: 1)
        except Exception:
            return "caught"

    machine = await running(limited(job, step_limit=3))
    instance = await machine.create(job)
    status = await instance.status()
    assert (status.status, status.rollback.outcome, undone) == ("errored", "complete", [3, 2, 1])


async def test_parallel_steps_over_the_limit_end_the_instance_once(running):
    @flow
    async def job(event, step):
        return await asyncio.gather(*(step.do(f"part {n}", lambda: 1) for n in range(9)))

    machine = await running(limited(job, step_limit=3))
    instance = await machine.create(job)
    status = await instance.status()
    assert (status.status, status.error.name) == ("errored", "StepLimitError")
