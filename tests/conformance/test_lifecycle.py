"""Every status, every verb; then what each verb does."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from everstep import InstanceNotFoundError, InstanceStateError, InstanceTerminatedError, WorkflowTimeoutError

from .factories import (
    AWAY,
    START,
    Flaky,
    Gate,
    attempts_of,
    flow,
    in_status,
    one_step,
    quick,
    sleeper,
    state,
    status_machine,
    steps_of,
    wake_after,
)

VERBS = {
    "pause": lambda one: one.pause(),
    "resume": lambda one: one.resume(),
    "terminate": lambda one: one.terminate(),
    "terminate with rollback": lambda one: one.terminate(rollback=True),
    "restart": lambda one: one.restart(),
    "restart from a step": lambda one: one.restart(from_step="first"),
    "delete": lambda one: one.delete(),
    "send_event": lambda one: one.send_event(type="tick"),
}
STATUSES = ("queued", "running", "waiting", "paused", "waitingForPause", "complete", "errored", "terminated")
# What each status is after each verb, or the code of the refusal. The instances are those of `in_status`: those that
# run stand in a step "stand", those that wait sleep after a step "first", and restarting brings them back to it.
# fmt: off
TABLE = {
    "pause": ("paused", "waitingForPause", "paused", "paused", "waitingForPause", *["instance.cannot_pause"] * 3),
    "resume": ("queued", "running", "waiting", "waiting", "running", *["instance.cannot_resume"] * 3),
    "terminate": (*["terminated"] * 5, *["instance.cannot_terminate"] * 3),
    "terminate with rollback": (*["terminated"] * 5, *["instance.cannot_terminate"] * 3),
    "restart": ("queued", "running", "waiting", "waiting", "running", "complete", "errored", "waiting"),
    "restart from a step": ("instance.cannot_restart", "instance.cannot_restart", "waiting", "waiting",
                            "instance.cannot_restart", "complete", "errored", "waiting"),
    "delete": ("instance.not_found",) * 8,
    "send_event": ("queued", "running", "waiting", "paused", "waitingForPause", *["instance.cannot_receive"] * 3),
}
# fmt: on


async def outcome(machine, instance, verb: str) -> str:
    """Do it, and say how it was refused, or what the instance is then."""
    before = await state(instance)
    try:
        await VERBS[verb](instance)
    except InstanceStateError as refused:
        await machine.settle()
        assert await state(instance) == before, "what was refused has changed something"
        return refused.code
    await machine.settle()
    try:
        return await state(instance)
    except InstanceNotFoundError as gone:
        return gone.code


@pytest.mark.parametrize("verb", TABLE)
@pytest.mark.parametrize("status", STATUSES)
async def test_every_verb_does_in_every_status_what_the_state_machine_says(running, status, verb):
    """I §2.4, §3.1, S §2.8"""
    machine = await status_machine(running, status)
    instance = await in_status(machine, status)
    assert await outcome(machine, instance, verb) == TABLE[verb][STATUSES.index(status)]


@pytest.mark.parametrize("verb", [*VERBS, "status", "result"])
async def test_every_verb_refuses_an_unknown_instance(running, verb):
    """I §2.3, S §1.4"""
    machine = await running(quick)
    ask = VERBS.get(verb) or (lambda one: getattr(one, verb)())
    with pytest.raises(InstanceNotFoundError, match="'nobody'"):
        await ask(machine.handle(quick, "nobody"))


# Pausing


async def test_a_pause_lets_the_attempt_in_flight_finish_and_keeps_its_result(running):
    """I §2.4, S §2.8"""
    machine = await running(shop := one_step(gate := Gate("kept")))
    instance = await machine.create(shop)
    await instance.pause()
    gate.open()
    await machine.settle()
    assert (await state(instance), await steps_of(instance)) == ("paused", [("charge", 1, "complete")])
    await instance.resume()
    assert await machine.output(instance) == "kept"
    assert gate.calls == 1


async def test_a_pause_of_what_sleeps_waits_or_is_between_attempts_is_immediate(running):
    """I §2.4, §3.1"""

    @flow
    async def waits(event, step):
        await step.wait_for_event("wait", "tick", timeout="1 hour")

    retries = one_step(Flaky(), {"retries": {"limit": 1, "delay": "1 hour"}})
    retries.__name__ = "Retries"
    machine = await running(sleeper, waits, retries)
    for kind in (sleeper, waits, retries):
        instance = await machine.create(kind)
        await instance.pause()
        assert await state(instance) == "paused"


async def test_resuming_moves_pending_sleeps_timeouts_and_delays_by_the_time_spent_paused(running):
    """I §2.4, §3.1, S §2.8"""

    @flow
    async def all_three(event, step):
        await asyncio.gather(
            step.sleep("nap", "1 hour"),
            step.wait_for_event("wait", "tick", timeout="1 hour"),
            step.do("charge", {"retries": {"limit": 1, "delay": "1 hour"}}, Flaky()),
            return_exceptions=True,
        )

    machine = await running(all_three)
    instance = await machine.create(all_three)
    await machine.advance("20 minutes")
    await instance.pause()
    await machine.advance("5 hours")
    await instance.resume()
    await machine.settle()
    found = await instance.status(steps=True)
    assert {step.wake_at - START for step in found.steps} == {timedelta(hours=6)}


async def test_resuming_does_not_move_a_sleep_until(running):
    """S §2.8"""

    @flow
    async def until(event, step):
        await step.sleep_until("moment", START + timedelta(hours=1))
        return "awake"

    machine = await running(until)
    instance = await machine.create(until)
    await instance.pause()
    await machine.advance("30 minutes")
    await instance.resume()
    await machine.settle()
    assert await wake_after(instance) == timedelta(hours=1)


async def test_nothing_wakes_a_paused_instance_but_resuming(running):
    """I §3.1"""
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    await instance.pause()
    await machine.advance("365 days")
    await machine.reboot()
    assert await state(instance) == "paused"


async def test_resuming_a_pending_pause_takes_it_back(running):
    """I §2.4, §3.1"""
    machine = await running(shop := one_step(gate := Gate("done")))
    instance = await machine.create(shop)
    await instance.pause()
    assert await state(instance) == "waitingForPause"
    await instance.resume()
    assert await state(instance) == "running"
    gate.open()
    assert await machine.output(instance) == "done"


@pytest.mark.parametrize("verb", ["pause", "resume", "terminate"])
async def test_a_verb_that_has_returned_survives_a_crash(running, verb):
    """S §2.1"""
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    if verb == "resume":
        await instance.pause()
    await VERBS[verb](instance)
    await machine.reboot()
    assert await state(instance) == {"pause": "paused", "resume": "waiting", "terminate": "terminated"}[verb]


# Terminating


async def test_terminating_cuts_off_the_attempt_in_flight(running):
    """I §2.4"""
    machine = await running(shop := one_step(gate := Gate()))
    instance = await machine.create(shop)
    await machine.advance("1 second")
    await instance.terminate()
    gate.open()
    await machine.settle()
    assert (gate.cancelled, await steps_of(instance)) == (1, [("charge", 1, "cancelled")])


async def test_a_terminated_instance_has_no_result(running):
    """S §1.3"""
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    await instance.terminate()
    found = await instance.status()
    assert (found.status, found.output, found.error) == ("terminated", None, None)
    with pytest.raises(InstanceTerminatedError):
        await instance.result()


# Restarting


async def test_a_restart_wipes_all_state_and_keeps_id_and_params(running):
    """I §2.4"""
    calls = []

    @flow
    async def shop(event, step):
        n = await step.do("count", lambda: calls.append(1) or len(calls))
        return [event.instance_id, event.payload, n]

    machine = await running(shop)
    instance = await machine.create(shop, {"order": 1}, id="order-1")
    await instance.restart()
    assert await machine.output(instance) == ["order-1", {"order": 1}, 2]
    assert await steps_of(instance) == [("count", 1, "complete")]


async def test_a_restart_cancels_the_work_in_flight(running):
    """I §2.4"""
    machine = await running(shop := one_step(gate := Gate()))
    instance = await machine.create(shop)
    await instance.restart()
    await machine.settle()
    assert (gate.calls, gate.cancelled) == (2, 1)


def five(calls, events=False):
    """Make a workflow of five steps "s", with a sleep and a wait of the same name between them."""

    @flow
    async def shop(event, step):
        for n in range(5):
            if n == 3:
                await step.sleep("s", 0)
            await step.do("s", lambda n=n: calls.append(n) or len(calls))

    return shop


async def test_a_restart_from_a_step_keeps_what_started_before_it_and_wipes_the_rest(running):
    """I §2.4, S §2.9"""
    machine = await running(shop := five(calls := []))
    instance = await machine.create(shop)
    await instance.restart(from_step="s", count=3)
    await machine.settle()
    assert calls == [0, 1, 2, 3, 4, 2, 3, 4]
    assert await state(instance) == "complete"


async def test_a_restart_is_from_the_first_do_of_that_name_unless_told_otherwise(running):
    """I §2.4"""
    machine = await running(shop := five(calls := []))
    instance = await machine.create(shop)
    await instance.restart(from_step="s")
    await machine.settle()
    assert len(calls) == 10
    await instance.restart(from_step="s", type="sleep")
    await machine.settle()
    assert calls[10:] == [3, 4]


async def test_a_restart_may_be_from_a_wait(running):
    """I §2.4"""

    @flow
    async def shop(event, step):
        first = (await step.wait_for_event("first", "tick")).payload
        return [first, (await step.wait_for_event("second", "tick")).payload]

    machine = await running(shop)
    instance = await machine.create(shop)
    for payload in ("a", "b"):
        await instance.send_event(type="tick", payload=payload)
    await machine.settle()
    await instance.restart(from_step="second", type="waitForEvent")
    await instance.send_event(type="tick", payload="c")
    assert await machine.output(instance) == ["a", "c"]


async def test_a_restart_from_a_step_wipes_timers_and_buffered_events(running):
    """I §2.4, S §2.9"""

    @flow
    async def shop(event, step):
        await step.do("first", lambda: 1)
        await step.sleep("nap", "1 hour")
        await step.wait_for_event("wait", "tick", timeout="1 minute")

    machine = await running(shop)
    instance = await machine.create(shop)
    await instance.send_event(type="tick")
    await machine.advance("30 minutes")
    await instance.restart(from_step="first")
    await machine.settle()
    assert await wake_after(instance) == timedelta(minutes=90)
    await machine.advance("2 hours")
    assert (await instance.status()).error.name == "WorkflowTimeoutError"


@pytest.mark.parametrize("step", [{"from_step": "nothing"}, {"from_step": "first", "count": 2}], ids=str)
async def test_a_restart_from_a_step_that_history_has_not_is_refused_and_names_it(running, step):
    """I §2.4"""
    machine = await running(quick)
    instance = await machine.create(quick)
    with pytest.raises(InstanceStateError, match=f"'{step['from_step']}'") as refused:
        await instance.restart(**step)
    assert refused.value.code == "instance.cannot_restart"
    assert await state(instance) == "complete"


async def test_a_refused_restart_leaves_the_attempt_in_flight_alone(running):
    """I §2.4, §2.8"""
    machine = await running(shop := one_step(gate := Gate("done")))
    instance = await machine.create(shop)
    await machine.advance("1 second")
    with pytest.raises(InstanceStateError):
        await instance.restart(from_step="nothing")
    await machine.settle()
    assert (gate.calls, gate.cancelled) == (1, 0)


@pytest.mark.parametrize("wrong", [{"count": 0}, {"count": -1}, {"count": 1.5}, {"type": "nap"}], ids=str)
async def test_an_impossible_step_to_restart_from_is_an_error(running, wrong):
    """I §2.4"""
    machine = await running(quick)
    instance = await machine.create(quick)
    with pytest.raises((ValueError, TypeError)):
        await instance.restart(from_step="first", **wrong)


async def test_a_step_that_failed_is_tried_with_all_its_attempts_after_a_restart_from_it(running):
    """I §2.4"""
    charge = Flaky(failures=3)
    machine = await running(shop := one_step(charge, {"retries": {"limit": 1, "delay": 0}}))
    instance = await machine.create(shop)
    await machine.advance("1 second")
    assert await state(instance) == "errored"
    await instance.restart(from_step="charge")
    await machine.advance("1 second")
    assert await machine.output(instance) == 4
    assert attempts_of(await instance.status(steps=True), "charge") == [
        (1, "errored", "ConnectionError"),
        (2, "complete", None),
    ]


async def test_a_restart_runs_the_code_of_today(running):
    """I §2.4"""
    answers = ["old", "new"]
    machine = await running(shop := one_step(lambda: answers.pop(0)))
    instance = await machine.create(shop)
    await instance.restart()
    assert await machine.output(instance) == "new"


# Results


async def test_result_waits_for_the_end_and_gives_the_output(running):
    """S §1.3"""
    machine = await running(sleeper, options=AWAY)
    instance = await machine.create(sleeper)
    results = [asyncio.ensure_future(instance.result()) for _ in range(3)]
    await machine.advance("1 hour")
    assert await asyncio.gather(*results) == ["awake"] * 3


async def test_result_gives_up_after_its_timeout_and_leaves_the_instance_alone(running):
    """S §1.3"""
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    result = asyncio.ensure_future(instance.result(timeout="10 minutes"))
    await machine.advance("10 minutes")
    with pytest.raises(WorkflowTimeoutError):
        await result
    assert await state(instance) == "waiting"
