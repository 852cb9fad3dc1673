"""What is wrong with the original (inventory §10.7), and must not be here."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from everstep import InstanceExistsError, NonRetryableError

from .factories import (
    AWAY,
    START,
    Flaky,
    Gate,
    attempts_of,
    flow,
    limited,
    one_step,
    quick,
    seconds,
    sleeper,
    state,
    steps_of,
    types_of,
    wake_after,
)


async def test_does_not_make_another_sleep_of_one_whose_duration_changed(running):
    """I §10.7.1"""
    duration = ["1 hour"]

    @flow
    async def naps(event, step):
        await step.sleep("nap", duration[0])

    machine = await running(naps)
    instance = await machine.create(naps)
    await machine.crash()
    duration[0] = "1 minute"
    await machine.boot()
    await machine.settle()
    assert (await steps_of(instance), await wake_after(instance)) == ([("nap", 1, "waiting")], timedelta(hours=1))


async def test_does_not_fail_the_replay_of_a_sleep_until_that_has_passed(running):
    """I §10.7.1"""

    @flow
    async def naps(event, step):
        await step.sleep_until("moment", START + timedelta(minutes=1))
        await step.sleep("nap", "1 hour")
        return "done"

    machine = await running(naps, options=AWAY)
    instance = await machine.create(naps)
    await machine.advance("1 day")
    assert await machine.output(instance) == "done"


async def test_does_not_run_an_instance_twice_that_is_created_twice(running):
    """I §10.7.2"""
    calls = []
    machine = await running(shop := one_step(lambda: calls.append(1)))
    await machine.create(shop)
    with pytest.raises(InstanceExistsError):
        await machine.create(shop)
    await machine.settle()
    assert calls == [1]


async def test_does_not_run_a_step_again_on_replay_that_failed_as_non_retryable(running):
    """I §10.7.3"""
    charge = Flaky(error=NonRetryableError("declined"))

    @flow
    async def shop(event, step):
        try:
            await step.do("charge", charge)
        except NonRetryableError:
            pass
        await step.sleep("nap", "1 hour")

    machine = await running(shop, options=AWAY)
    instance = await machine.create(shop)
    await machine.reboot()
    await machine.advance("1 hour")
    assert (len(charge.times), await state(instance)) == (1, "complete")


async def test_does_not_overlook_an_attempt_that_a_crash_cut_off(running):
    """I §10.7.4, S §2.2"""
    machine = await running(shop := one_step(Gate(), {"retries": {"limit": 1, "delay": "10 seconds"}}))
    instance = await machine.create(shop)
    for _ in range(2):
        await machine.advance("11 seconds")
        await machine.reboot()
    found = await instance.status(steps=True)
    assert found.status == "errored"
    assert attempts_of(found, "charge") == [(n, "errored", "AttemptInterruptedError") for n in (1, 2)]


async def test_does_not_let_a_step_that_kills_its_process_loop_for_ever(running):
    """I §10.7.4, S §2.2"""
    gate = Gate()
    retries = {"limit": 2, "delay": "10 seconds", "backoff": "constant"}
    machine = await running(shop := one_step(gate, {"retries": retries}))
    instance = await machine.create(shop)
    for _ in range(6):
        await machine.advance("11 seconds")
        await machine.reboot()
    assert (gate.calls, await state(instance)) == (3, "errored")


async def test_does_not_shorten_a_computed_delay_after_a_crash(running):
    """I §10.7.5"""
    charge = Flaky(failures=1)
    machine = await running(shop := one_step(charge, {"retries": {"limit": 1, "delay": lambda _: "2 hours"}}))
    charge.machine = machine
    await machine.create(shop)
    for _ in range(3):
        await machine.advance("10 minutes")
        await machine.reboot()
    await machine.advance("2 hours")
    assert charge.times == [0, 7200]


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8])
async def test_does_not_deliver_an_event_twice_or_lose_it_however_the_process_dies(running, turns):
    """I §10.7.6, S §2.5"""

    @flow
    async def shop(event, step):
        first = (await step.wait_for_event("first", "tick")).payload
        second = (await step.wait_for_event("second", "tick")).payload
        return [first, second]

    machine = await running(shop)
    instance = await machine.create(shop)
    await instance.send_event(type="tick", payload=1)
    for _ in range(turns):
        await asyncio.sleep(0)
    await machine.reboot()
    assert await state(instance) == "waiting"
    await instance.send_event(type="tick", payload=2)
    assert await machine.output(instance) == [1, 2]


async def test_does_not_leave_a_timed_out_function_running(running):
    """I §10.7.7, S §1.2"""
    gate = Gate()
    config = {"timeout": "1 second", "retries": {"limit": 1, "delay": "1 second"}}
    machine = await running(shop := one_step(gate, config))
    await machine.create(shop)
    await machine.advance("1 minute")
    assert (gate.calls, gate.cancelled) == (2, 2)


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}, b"", 0.0], ids=repr)
async def test_does_not_take_a_falsy_result_for_none_at_all(running, value):
    """I §10.7.8"""
    calls = []

    @flow
    async def shop(event, step):
        await step.do("falsy", lambda: calls.append(1) or value)
        await step.sleep("nap", "1 hour")
        return await step.do("last", lambda: value)

    machine = await running(shop, options=AWAY)
    instance = await machine.create(shop)
    await machine.advance("1 hour")
    assert (await machine.output(instance), calls) == (value, [1])


async def test_does_not_need_to_be_touched_to_go_on_after_a_restart_of_the_process(running):
    """I §10.7.9, S §2.3"""

    @flow
    async def waits(event, step):
        try:
            await step.wait_for_event("wait", "tick", timeout="1 hour")
        except TimeoutError:
            return "timed out"

    charge = Flaky(failures=1)
    retries = one_step(charge, {"retries": {"limit": 1, "delay": "1 hour"}})
    retries.__name__ = "Retries"
    machine = await running(sleeper, waits, retries)
    instances = [await machine.create(kind) for kind in (sleeper, waits, retries)]
    await machine.crash()
    await machine.clock.advance("1 hour")
    await machine.boot()
    await machine.settle()
    assert [await state(one) for one in instances] == ["complete"] * 3


async def test_does_not_call_a_waiting_instance_running(running):
    """I §10.7.10, S §2.8"""

    @flow
    async def waits(event, step):
        await step.wait_for_event("wait", "tick")

    machine = await running(sleeper, waits, shop := one_step(Flaky()))
    assert [await state(await machine.create(kind)) for kind in (sleeper, waits, shop)] == ["waiting"] * 3


async def test_does_not_ignore_concurrency_limits_locally(running):
    """I §10.7.10, S §5"""
    machine = await running(limited(shop := one_step(Gate()), concurrency=1))
    await machine.create(shop, id="first")
    assert await state(await machine.create(shop, id="second")) == "queued"


async def test_does_not_ignore_retention_locally(running):
    """I §10.7.10, S §5"""
    machine = await running(quick)
    await machine.es.workflow(quick).create(id="one", retention="1 hour")
    await machine.advance("1 hour")
    await machine.engine.retention.expire()
    assert len(await machine.es.workflow(quick).list()) == 0


async def test_does_not_take_kept_steps_for_rolled_back_after_a_restart_from_a_later_one(running):
    """I §10.7.11"""
    undone = []

    @flow
    async def shop(event, step):
        await step.do("reserve", {"rollback": lambda rb: undone.append(rb.output)}, lambda: "r-1")
        await step.do("charge", {"retries": {"limit": 0}}, Flaky())

    machine = await running(shop)
    instance = await machine.create(shop)
    await instance.restart(from_step="charge")
    await machine.settle()
    assert undone == ["r-1", "r-1"]


@pytest.mark.parametrize("kind", ["renamed", "moved", "removed", "another kind"])
async def test_does_not_silently_run_anything_when_code_contradicts_history(running, kind):
    """I §10.7.12, S §2.7"""
    calls, changed = [], []

    @flow
    async def shop(event, step):
        async def call(name):
            await step.do(name, lambda: calls.append(name))

        if not changed:
            await call("a")
            await call("b")
        elif kind == "renamed":
            await call("a")
            await call("b, renamed")
        elif kind == "moved":
            await call("c")
            await call("a")
        elif kind == "removed":
            await call("b")
            await call("c")
        elif kind == "another kind":
            await step.sleep("a", "1 minute")
        await step.sleep("nap", "1 hour")

    machine = await running(shop)
    instance = await machine.create(shop)
    changed.append(True)
    await machine.reboot()
    await machine.advance("1 hour")
    found = await instance.status()
    assert (found.status, found.error.name) == ("errored", "NonDeterminismError")
    assert calls == ["a", "b"]


async def test_does_not_lose_an_instance_whose_code_was_wrong_for_a_while(running):
    """I §10.7.12, S §2.7"""
    calls, names = [], ["a"]

    @flow
    async def shop(event, step):
        await step.do(names[0], lambda: calls.append(1))
        await step.sleep("nap", "1 hour")
        return "done"

    machine = await running(shop)
    instance = await machine.create(shop)
    names[0] = "b"
    await machine.reboot()
    await machine.advance("1 hour")
    found = await instance.status()
    assert "'b'" in found.error.message
    assert "'a'" in found.error.message
    names[0] = "a"
    await instance.resume()
    await machine.advance("1 hour")
    assert (await machine.output(instance), calls) == ("done", [1])


async def test_does_not_keep_an_instance_from_being_restarted_from_a_step_after_its_code_changed(running):
    """S §2.7"""
    names = ["a"]

    @flow
    async def shop(event, step):
        await step.do("first", lambda: 1)
        await step.do(names[0], lambda: 1)
        await step.sleep("nap", "1 hour")
        return "done"

    machine = await running(shop)
    instance = await machine.create(shop)
    names[0] = "b"
    await machine.reboot()
    await machine.advance("1 hour")
    await instance.restart(from_step="a")
    await machine.advance("1 hour")
    assert await machine.output(instance) == "done"
    assert [name for name, _, _ in await steps_of(instance)] == ["first", "b", "nap"]


async def test_does_not_lose_rich_types_in_outputs(running):
    """I §10.7.13, S §1.2"""
    output = {"at": datetime(2026, 1, 2, tzinfo=UTC), "price": Decimal("1.10"), "tags": {"a"}, "raw": b"\x00"}
    machine = await running(shop := one_step(lambda: output))
    instance = await machine.create(shop)
    found = await instance.status(steps=True)
    assert found.output == await instance.result() == found.steps[0].output == output


async def test_does_not_let_one_waiter_displace_another(running):
    """I §10.7.14"""
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    waiting = [asyncio.ensure_future(instance.result()) for _ in range(10)]
    await machine.advance("1 hour")
    assert await asyncio.gather(*waiting) == ["awake"] * 10


@pytest.mark.parametrize("verb", ["pause", "terminate", "restart"])
async def test_does_not_call_a_wait_timed_out_that_was_interrupted(running, verb):
    """I §10.7.15"""

    @flow
    async def shop(event, step):
        await step.wait_for_event("wait", "tick", timeout="1 hour")

    machine = await running(shop)
    instance = await machine.create(shop)
    await getattr(instance, verb)()
    await machine.advance("30 minutes")
    if verb == "pause":
        await instance.resume()
    if verb != "terminate":
        await instance.send_event(type="tick")
        await machine.settle()
    assert "wait_timed_out" not in await types_of(instance)


async def test_does_not_call_a_wait_timed_out_that_is_paused_past_its_timeout(running):
    """I §10.7.15"""

    @flow
    async def shop(event, step):
        return (await step.wait_for_event("wait", "tick", timeout="1 hour")).payload

    machine = await running(shop)
    instance = await machine.create(shop)
    await instance.pause()
    await machine.advance("5 hours")
    assert seconds(machine) == 5 * 3600
    await instance.resume()
    await instance.send_event(type="tick", payload="in time")
    assert await machine.output(instance) == "in time"
