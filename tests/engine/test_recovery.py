"""Recovery: what goes on by itself after a crash, and what a clean stop leaves behind."""

from __future__ import annotations

import asyncio
import logging

import pytest

from everstep import WorkflowNotFoundError, current_step
from everstep.engine.runtime.options import EngineOptions

from .virtual import Machine, attempts_of, flow


@flow
async def sleeper(event, step):
    await step.sleep("nap", "1 hour")
    return "awake"


@flow
async def waiter(event, step):
    return (await step.wait_for_event("tick", "tick")).payload


async def test_everything_goes_on_by_itself_after_a_crash(running):
    entered = []

    @flow
    async def worker(event, step):
        await step.do("before", lambda: 1)

        async def work():
            entered.append(1)
            if len(entered) == 1:
                await asyncio.Event().wait()

        await step.do("work", {"retries": {"delay": 0}}, work)
        return "worked"

    machine = await running(worker, sleeper, waiter)
    at_work = await machine.create(worker)
    asleep = await machine.create(sleeper)
    waiting = await machine.create(waiter)
    assert await machine.reboot() == 1
    assert await machine.output(at_work) == "worked"
    await waiting.send_event(type="tick", payload=7)
    assert await machine.output(waiting) == 7
    await machine.advance("1 hour")
    assert await machine.output(asleep) == "awake"


async def test_what_was_acknowledged_just_before_a_crash_is_there(running):
    machine = await running(sleeper, waiter)
    await machine.es.workflow(sleeper).create(id="one")
    await machine.es.workflow(waiter).create(id="one")
    await machine.handle(waiter).send_event(type="tick", payload=1)
    await machine.reboot()
    assert await machine.output(machine.handle(waiter)) == 1
    await machine.advance("1 hour")
    assert await machine.output(machine.handle(sleeper)) == "awake"


async def test_a_step_whose_result_was_acknowledged_never_runs_again(running):
    calls = []

    @flow
    async def shop(event, step):
        for n in range(5):
            await step.do("call", lambda n=n: calls.append(n))
            await step.sleep("nap", "1 minute")

    machine = await running(shop)
    instance = await machine.create(shop)
    for _ in range(5):
        await machine.reboot()
        await machine.advance("1 minute")
    await machine.output(instance)
    assert calls == [0, 1, 2, 3, 4]


async def test_an_instance_can_be_crashed_at_every_turn_of_the_loop_and_ends_the_same(running):
    @flow
    async def shop(event, step):
        a = await step.do("a", {"retries": {"delay": 0}}, lambda: 1)
        b, c = await asyncio.gather(
            step.do("b", {"retries": {"delay": 0}}, lambda: 2), step.do("c", {"retries": {"delay": 0}}, lambda: 3)
        )
        await step.sleep("nap", "1 minute")
        event = await step.wait_for_event("tick", "tick")
        return [a, b, c, event.payload]

    machine = await running(shop)
    for turns in range(0, 24, 2):
        id_ = f"i{turns}"
        await machine.es.workflow(shop).create(id=id_)
        instance = machine.handle(shop, id_)
        await instance.send_event(type="tick", payload=turns)
        for _ in range(turns):
            await asyncio.sleep(0)
        await machine.reboot()
        await machine.advance("1 minute")
        assert await machine.output(instance) == [1, 2, 3, turns]


async def test_instances_of_an_unknown_workflow_wait_until_it_is_known_again(running, caplog):
    machine = await running(sleeper, waiter)
    instance = await machine.create(sleeper)
    await machine.stop()
    machine.workflows = [waiter]
    await machine.boot()
    await machine.advance("2 hours")
    with pytest.raises(WorkflowNotFoundError, match="sleeper"):
        machine.es.workflow("sleeper")
    assert "1 instances of workflow 'sleeper' wait" in caplog.text
    await machine.stop()
    machine.workflows = [waiter, sleeper]
    await machine.boot()
    assert await machine.output(instance) == "awake"


async def test_an_instance_goes_on_with_the_code_of_today(running):
    greetings = ["hello"]

    @flow
    async def greeter(event, step):
        await step.sleep("nap", "1 hour")
        return await step.do("greet", lambda: greetings[-1])

    machine = await running(greeter)
    instance = await machine.create(greeter)
    greetings.append("good morning")
    await machine.reboot()
    await machine.advance("1 hour")
    assert await machine.output(instance) == "good morning"


# Clean stops


async def bounce(machine: Machine) -> int:
    """Stop cleanly and boot again."""
    await machine.stop()
    recovered = await machine.boot()
    await machine.settle()
    return recovered


@pytest.mark.parametrize("lasting_ms", [0, 100])
async def test_an_attempt_that_a_clean_stop_cancels_is_not_counted(running, lasting_ms):
    calls = []

    @flow
    async def shop(event, step):
        async def work(ctx):
            calls.append(ctx.attempt)
            if len(calls) == 1:
                await asyncio.Event().wait()

        await step.do("work", {"retries": {"limit": 1}}, work)

    machine = await running(shop)
    instance = await machine.create(shop)
    await machine.advance(lasting_ms)
    assert await bounce(machine) == 0
    await machine.output(instance)
    assert calls == [1, 1]
    assert attempts_of(await instance.status(steps=True), "work") == [(1, "complete", None)]


@pytest.mark.parametrize("lasting_ms", [0, 100])
async def test_a_retry_that_a_clean_stop_cancels_starts_again_at_once_and_is_not_counted(running, lasting_ms):
    calls = []

    @flow
    async def shop(event, step):
        async def work(ctx):
            calls.append(ctx.attempt)
            if len(calls) == 1:
                raise ConnectionError
            if len(calls) == 2:
                await asyncio.Event().wait()

        await step.do("work", {"retries": {"limit": 2, "delay": "10 seconds"}}, work)

    machine = await running(shop)
    instance = await machine.create(shop)
    await machine.advance("10 seconds")
    await machine.advance(lasting_ms)
    assert await bounce(machine) == 0
    await machine.output(instance)
    assert calls == [1, 2, 2]
    assert attempts_of(await instance.status(steps=True), "work") == [
        (1, "errored", "ConnectionError"),
        (2, "complete", None),
    ]


async def test_the_only_attempt_of_a_step_is_made_again_after_a_clean_stop(running):
    calls = []

    @flow
    async def shop(event, step):
        async def work():
            calls.append(1)
            if len(calls) == 1:
                await asyncio.Event().wait()
            return "done"

        return await step.do("work", {"retries": {"limit": 0}}, work)

    machine = await running(shop)
    instance = await machine.create(shop)
    await bounce(machine)
    assert await machine.output(instance) == "done"


async def test_a_clean_stop_lets_attempts_finish_for_a_moment(running):
    calls = []

    @flow
    async def shop(event, step):
        async def work():
            calls.append(1)
            await asyncio.sleep(0.02)  # the moment that a stop waits is real
            return "done"

        return await step.do("work", work)

    machine = await running(shop, options=EngineOptions(drain_ms=5_000))
    await machine.es.workflow(shop).create(id="one")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await bounce(machine)
    assert await machine.output(machine.handle(shop)) == "done"
    assert calls == [1]


async def test_a_clean_stop_of_a_thread_is_not_counted(running, held):
    calls = []

    def work():
        calls.append(1)
        if len(calls) == 1:
            held.wait()
        return len(calls)

    @flow
    async def shop(event, step):
        return await step.do("work", work)

    machine = await running(shop)
    instance = await machine.create(shop)
    await machine.advance(100)
    await bounce(machine)
    held.release()
    assert await machine.output(instance) == 2
    assert attempts_of(await instance.status(steps=True), "work") == [(1, "complete", None)]


@pytest.mark.parametrize("limit", [0, 2])
async def test_a_step_that_every_stop_cuts_off_ends_after_its_retries(running, limit):
    tries = []

    @flow
    async def endless(event, step):
        async def work(ctx):
            tries.append(ctx.attempt)
            await asyncio.Event().wait()

        await step.do("work", {"retries": {"limit": limit, "delay": 0}}, work)

    machine = await running(endless)
    await machine.create(endless)
    for _ in range(4 * (limit + 1)):
        await machine.settle()
        await machine.stop()
        await machine.boot()
    await machine.settle()
    status = await machine.handle(endless).status()
    assert (status.status, status.error.name) == ("errored", "AttemptInterruptedError")
    assert tries == [attempt for attempt in range(1, limit + 2) for _ in range(4)]


async def test_stops_are_counted_in_a_row_only(running):
    tries = []

    @flow
    async def flaky(event, step):
        async def work(ctx):
            tries.append(ctx.attempt)
            if len(tries) in (4, 8):
                raise ConnectionError("no route")
            if len(tries) < 12:
                await asyncio.Event().wait()
            return "worked"

        return await step.do("work", {"retries": {"limit": 2, "delay": 0}}, work)

    machine = await running(flaky)
    await machine.create(flaky)
    for _ in range(9):
        await machine.settle()
        await machine.stop()
        await machine.boot()
    assert await machine.output(machine.handle(flaky)) == "worked"
    assert tries == [1] * 4 + [2] * 4 + [3] * 4


async def test_a_crash_after_clean_stops_counts_from_one(running):
    calls = []

    @flow
    async def shop(event, step):
        async def work(ctx):
            calls.append(ctx.attempt)
            if len(calls) < 4:
                await asyncio.Event().wait()

        await step.do("work", {"retries": {"limit": 3, "delay": 0}}, work)

    machine = await running(shop)
    instance = await machine.create(shop)
    for _ in range(2):
        await machine.advance(100)
        await bounce(machine)
    await machine.reboot()
    await machine.output(instance)
    assert calls == [1, 1, 1, 2]


@pytest.mark.parametrize("turns", range(14))
async def test_a_stop_right_after_a_start_loses_and_counts_nothing(running, turns):
    """Also while the first claim is on its way."""
    calls = []

    def work():
        calls.append(1)
        return "done"

    @flow
    async def shop(event, step):
        await step.sleep("nap", "1 minute")
        return await step.do("work", {"retries": {"limit": 0}}, work)

    machine = await running(shop)
    instance = await machine.create(shop)
    await machine.crash()
    await machine.advance("1 minute")
    await machine.boot()
    for _ in range(turns):
        await asyncio.sleep(0)
    await machine.stop()
    await machine.boot()
    assert await machine.output(instance) == "done"
    assert attempts_of(await instance.status(steps=True), "work") == [(1, "complete", None)]


async def test_a_stop_waits_for_nobody_who_sleeps(running):
    machine = await running(sleeper, options=EngineOptions(drain_ms=60_000))
    instance = await machine.create(sleeper)
    await asyncio.wait_for(machine.stop(), 5)
    await machine.boot()
    await machine.advance("1 hour")
    assert await machine.output(instance) == "awake"


async def test_a_stopped_engine_logs_nothing_about_the_code_it_left(running, caplog):
    @flow
    async def parallel(event, step):
        await asyncio.gather(step.do("hold", asyncio.Event().wait), step.sleep("nap", "1 hour"))

    machine = await running(parallel)
    await machine.create(parallel)
    await machine.stop()
    await machine.settle()
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


class CrashInside:
    """Step functions that note their attempts, the first of which never end."""

    def __init__(self, hanging: set[str]) -> None:
        self.hanging = hanging
        self.attempts: list[tuple[str, int]] = []

    async def __call__(self, name: str) -> str:
        self.attempts.append((name, current_step().attempt))
        if name in self.hanging:
            self.hanging.remove(name)
            await asyncio.Event().wait()
        return name


async def test_an_attempt_counts_that_was_cut_off_before_the_end_of_the_sleep_ahead_of_it_was_on_disk(running):
    effect = CrashInside({"after"})

    @flow
    async def napping(event, step):
        await step.do("before", effect, "before")
        await step.sleep("nap", "1 hour")
        return await step.do("after", effect, "after")

    machine = await running(napping)
    instance = await machine.create(napping)
    await machine.advance("1 hour", until=lambda: len(effect.attempts) == 2)
    await machine.reboot()
    assert await machine.output(instance) == "after"
    assert effect.attempts == [("before", 1), ("after", 1), ("after", 2)]


async def test_a_crash_counts_for_every_branch_it_hit_and_for_no_step_after_them(running):
    effect = CrashInside({"b"})

    @flow
    async def branching(event, step):
        async def late():
            await asyncio.sleep(0)
            return [await step.do("b", effect, "b"), await step.do("c", effect, "c")]

        return await asyncio.gather(step.do("a", effect, "a"), late())

    machine = await running(branching)
    await machine.create(branching)
    while len(effect.attempts) < 2:
        await asyncio.sleep(0)
    await machine.reboot()
    assert effect.attempts == [("a", 1), ("b", 1), ("b", 2), ("c", 1)]


async def test_each_crash_too_quick_to_be_recorded_counts_once_however_the_journal_grew_between(running):
    effect = CrashInside({"x"})

    @flow
    async def one(event, step):
        return await step.do("x", effect, "x")

    machine = await running(one)
    instance = await machine.create(one)
    await machine.reboot()
    effect.hanging.add("x")
    await machine.reboot()  # nothing is in flight: it has ended
    assert await machine.output(instance) == "x"
    assert effect.attempts == [("x", 1), ("x", 2)]


async def test_a_step_cut_off_twice_without_a_trace_is_at_its_third_attempt(running):
    effect = CrashInside(set())

    @flow
    async def one(event, step):
        return await step.do("x", {"retries": {"delay": 0}}, effect, "x")

    effect.hanging = {"x"}
    machine = await running(one)
    instance = await machine.create(one)
    effect.hanging = {"x"}
    await machine.reboot()
    effect.hanging = set()
    await machine.reboot()
    assert await machine.output(instance) == "x"
    assert effect.attempts == [("x", 1), ("x", 2), ("x", 3)]
