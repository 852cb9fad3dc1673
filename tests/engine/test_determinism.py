"""The determinism guard: changed code is stopped before anything new runs, and goes on once it is put right."""

from __future__ import annotations

import asyncio

import pytest

from everstep.engine.runtime.options import EngineOptions

from .virtual import flow


class Code:
    """A workflow whose code a test changes between two lives."""

    def __init__(self, body) -> None:
        self.body = body
        self.ran: list[str] = []

    async def note(self, name):
        self.ran.append(name)
        return name

    def flow(self):
        @flow
        async def shop(event, step):
            return await self.body(step, self.note)

        return shop


async def original(step, note):
    await step.do("reserve", note, "reserve")
    await step.sleep("cool off", "1 hour")
    await step.do("charge", note, "charge")
    return "done"


async def renamed(step, note):
    await step.do("book", note, "book")
    await step.sleep("cool off", "1 hour")
    return await step.do("charge", note, "charge")


async def removed(step, note):
    await step.sleep("cool off", "1 hour")
    return await step.do("charge", note, "charge")


async def inserted(step, note):
    await step.do("check", note, "check")
    await step.do("reserve", note, "reserve")
    await step.sleep("cool off", "1 hour")
    return await step.do("charge", note, "charge")


async def another_kind(step, note):
    await step.do("reserve", note, "reserve")
    await step.wait_for_event("cool off", "cool")


async def child_instead(step, note):
    await step.run_workflow("reserve", "shop", {})


async def changed(running, body, max_cached=0):
    """Run the original up to its sleep, then go on with another code."""
    code = Code(original)
    shop = code.flow()
    machine = await running(shop, options=EngineOptions(max_cached=max_cached, drain_ms=0))
    instance = await machine.create(shop)
    code.body = body
    await machine.reboot()
    await machine.advance("1 hour")
    return machine, instance, code


@pytest.mark.parametrize(
    ("body", "asked", "recorded"),
    [
        (renamed, "step.do('book')", "step.do('reserve')"),
        (removed, "step.sleep('cool off')", "step.do('reserve')"),
        (inserted, "step.do('check')", "step.do('reserve')"),
        (another_kind, "step.wait_for_event('cool off')", "step.sleep('cool off')"),
        (child_instead, "step.run_workflow('reserve')", "step.do('reserve')"),
    ],
)
async def test_changed_code_is_stopped_before_anything_new_runs(running, body, asked, recorded):
    machine, instance, code = await changed(running, body)
    status = await instance.status()
    assert (status.status, status.error.name) == ("errored", "NonDeterminismError")
    assert asked in status.error.message
    assert recorded in status.error.message
    assert code.ran == ["reserve"]
    assert len((await machine.es.workflow("shop").list()).instances) == 1


async def test_the_code_cannot_catch_being_stopped(running):
    async def swallows(step, note):
        try:
            await step.do("book", note, "book")
        except Exception:
            await note("caught")
        return "done"

    _machine, instance, code = await changed(running, swallows)
    assert (await instance.status()).error.name == "NonDeterminismError"
    assert code.ran == ["reserve"]


async def test_a_step_appended_behind_the_history_is_fine(running):
    async def appended(step, note):
        await original(step, note)
        return await step.do("receipt", note, "receipt")

    machine, instance, code = await changed(running, appended)
    assert await machine.output(instance) == "receipt"
    assert code.ran == ["reserve", "charge", "receipt"]


@pytest.mark.parametrize("body", [renamed, removed, inserted])
async def test_resuming_on_corrected_code_goes_on_where_it_was(running, body):
    machine, instance, code = await changed(running, body)
    code.body = original
    await instance.resume()
    assert await machine.output(instance) == "done"
    assert code.ran == ["reserve", "charge"]
    assert (await instance.status()).error is None


async def test_resuming_on_code_that_is_still_wrong_stops_again(running):
    machine, instance, code = await changed(running, renamed)
    await instance.resume()
    await machine.settle()
    assert (await instance.status()).error.name == "NonDeterminismError"
    assert code.ran == ["reserve"]


async def test_a_stopped_instance_stays_stopped_over_a_crash_and_resumes_then(running):
    machine, instance, code = await changed(running, renamed)
    await machine.reboot()
    assert (await instance.status()).status == "errored"
    code.body = original
    await instance.resume()
    assert await machine.output(instance) == "done"


async def test_a_sleep_that_was_open_when_the_code_was_stopped_keeps_its_moment(running):
    code = Code(original)
    shop = code.flow()
    machine = await running(shop)
    instance = await machine.create(shop)
    code.body = inserted
    await machine.reboot()
    await instance.pause()
    await machine.settle()
    await instance.resume()
    await machine.settle()
    assert (await instance.status()).error.name == "NonDeterminismError"
    code.body = original
    await instance.resume()
    await machine.settle()
    await machine.advance("59 minutes")
    assert (await instance.status()).status == "waiting"
    await machine.advance("1 minute")
    assert await machine.output(instance) == "done"


async def test_a_stopped_instance_can_be_restarted_from_a_step_or_altogether(running):
    machine, instance, code = await changed(running, renamed)
    await instance.restart()
    await machine.settle()
    assert code.ran == ["reserve", "book"]
    await machine.advance("1 hour")
    assert await machine.output(instance) == "charge"


async def test_restarting_from_the_changed_step_forgets_the_contradiction(running):
    machine, instance, code = await changed(running, renamed)
    await instance.restart(from_step="reserve")
    await machine.settle()
    await machine.advance("1 hour")
    assert await machine.output(instance) == "charge"
    assert code.ran == ["reserve", "book", "charge"]


async def test_a_contradiction_calls_no_rollback_handler(running):
    undone = []

    async def before(step, note):
        await step.do("reserve", {"rollback": undone.append}, note, "reserve")
        await step.do("pay", note, "pay")
        await step.sleep("cool off", "1 hour")

    async def after(step, note):
        await step.do("reserve", {"rollback": undone.append}, note, "reserve")
        await step.do("charge", note, "charge")

    code = Code(before)
    shop = code.flow()
    machine = await running(shop, options=EngineOptions(max_cached=0, drain_ms=0))
    instance = await machine.create(shop)
    code.body = after
    await machine.advance("1 hour")
    assert (await instance.status()).error.name == "NonDeterminismError"
    assert undone == []


async def test_parallel_branches_that_arrive_in_another_order_are_fine(running):
    async def branches(step, note):
        async def branch(name, hours):
            await step.sleep(f"{name} nap", f"{hours} hours")
            await step.do(f"{name} one", note, f"{name} one")
            await asyncio.sleep(0.001)
            return await step.do(f"{name} two", note, f"{name} two")

        return await asyncio.gather(branch("a", 3), branch("b", 1), branch("c", 2))

    code = Code(branches)
    shop = code.flow()
    machine = await running(shop, options=EngineOptions(max_cached=0, drain_ms=0))
    instance = await machine.create(shop)
    for _ in range(3):
        await machine.advance("1 hour")
        await machine.reboot()
    await machine.advance("1 second")
    assert await machine.output(instance) == ["a two", "b two", "c two"]
    assert sorted(code.ran) == sorted(set(code.ran))


async def test_a_contradiction_in_one_branch_stops_them_all(running):
    async def before(step, note):
        await asyncio.gather(step.do("a", note, "a"), step.do("b", note, "b"))
        await step.sleep("nap", "1 hour")

    async def after(step, note):
        await asyncio.gather(step.do("a", note, "a"), step.do("x", note, "x"), step.do("y", note, "y"))
        await step.sleep("nap", "1 hour")

    code = Code(before)
    shop = code.flow()
    machine = await running(shop)
    instance = await machine.create(shop)
    code.body = after
    await machine.reboot()
    await machine.advance("1 hour")
    assert (await instance.status()).error.name == "NonDeterminismError"
    assert code.ran == ["a", "b"]


async def test_a_contradiction_beside_a_branch_that_sleeps_is_noticed_at_once(running):
    async def before(step, note):
        await asyncio.gather(step.do("a", note, "a"), step.sleep("nap", "1 day"))

    async def after(step, note):
        await asyncio.gather(step.do("x", note, "x"), step.sleep("nap", "1 day"))

    code = Code(before)
    shop = code.flow()
    machine = await running(shop, options=EngineOptions(max_cached=0, drain_ms=0))
    instance = await machine.create(shop)
    code.body = after
    await instance.pause()
    await machine.settle()
    await instance.resume()
    await machine.settle()
    await asyncio.sleep(0.6)
    await machine.settle()
    status = await instance.status()
    assert (status.status, status.error and status.error.name) == ("errored", "NonDeterminismError")
    assert code.ran == ["a"]


async def test_a_loser_of_a_race_that_is_cancelled_is_no_contradiction(running):
    async def race(step, note):
        quick = asyncio.ensure_future(step.do("quick", note, "quick"))
        slow = asyncio.ensure_future(step.sleep("slow", "1 day"))
        await asyncio.wait([quick, slow], return_when=asyncio.FIRST_COMPLETED)
        slow.cancel()
        await step.sleep("nap", "1 hour")
        return await step.do("after", note, "after")

    code = Code(race)
    shop = code.flow()
    machine = await running(shop, options=EngineOptions(max_cached=0, drain_ms=0))
    instance = await machine.create(shop)
    await machine.advance("1 hour")
    assert await machine.output(instance) == "after"
