"""Undoing what an instance did."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

import everstep
from everstep import NonRetryableError

from .factories import AWAY, Flaky, Gate, flow, in_status, one_step, sleeper, state, status_machine, steps_of, types_of

ONCE = {"retries": {"limit": 0}}


@dataclass
class Reservation:
    number: str


async def fail():
    raise ConnectionError("no route")


def undo(log, name="", **more):
    """A config whose rollback writes down what it was called for."""

    def rollback(rb):
        log.append(name or rb.ctx.step.name)

    return {"rollback": rollback, **ONCE, **more}


def failing(log, **more):
    """Make a workflow of two steps with handlers, then an error."""

    @flow
    async def shop(event, step):
        await step.do("reserve", undo(log, **more), lambda: "r-1")
        await step.do("charge", undo(log, **more), lambda: "c-1")
        raise LookupError("nothing there")

    return shop


async def test_an_uncaught_error_calls_the_handlers_in_reverse_start_order(running):
    """I §1.3.4, S §2.9"""
    machine = await running(shop := failing(log := []))
    instance = await machine.create(shop)
    assert log == ["charge", "reserve"]
    assert await state(instance) == "errored"


async def test_a_non_retryable_error_rolls_back_too(running):
    """I §1.3.4"""
    log = []

    @flow
    async def shop(event, step):
        await step.do("reserve", undo(log), lambda: 1)
        raise NonRetryableError("declined")

    machine = await running(shop)
    instance = await machine.create(shop)
    assert log == ["reserve"]
    assert (await instance.status()).error.message == "declined"


async def test_terminating_with_rollback_calls_the_handlers(running):
    """I §1.3.4, S §2.9"""
    machine = await running(shop := standing(log := []))
    instance = await machine.create(shop)
    await instance.terminate(rollback=True)
    await machine.settle()
    found = await instance.status()
    assert log == ["reserve"]
    assert (found.status, found.rollback.outcome, found.error) == ("terminated", "complete", None)


def standing(log, **more):
    """Make a workflow of a step with a handler, then a sleep."""

    @flow
    async def shop(event, step):
        await step.do("reserve", undo(log, **more), lambda: "r-1")
        await step.sleep("nap", "1 hour")

    return shop


async def test_a_success_does_not_roll_back(running):
    """I §1.3.4"""
    machine = await running(shop := one_step(lambda: 1, undo(log := [])))
    instance = await machine.create(shop)
    assert ((await instance.status()).rollback, log) == (None, [])


@pytest.mark.parametrize("verb", ["terminate", "restart", "delete", "pause"])
async def test_a_plain_termination_a_restart_and_a_delete_do_not_roll_back(running, verb):
    """I §1.3.4"""
    machine = await running(shop := standing(log := []))
    instance = await machine.create(shop)
    await getattr(instance, verb)()
    await machine.settle()
    assert log == []


async def test_an_output_that_cannot_be_stored_rolls_back_the_steps_before(running):
    """I §1.3.4: in the original it ends the instance before anything is rolled back, and the effect stays"""
    log = []

    @flow
    async def shop(event, step):
        await step.do("reserve", undo(log), lambda: 1)
        await step.do("bad", object)

    machine = await running(shop)
    instance = await machine.create(shop)
    found = await instance.status()
    assert (found.error.name, found.rollback.outcome, log) == ("NotSerializableError", "complete", ["reserve"])


async def test_the_step_that_failed_is_rolled_back_with_no_output(running):
    """I §1.3.4"""
    seen = []

    @flow
    async def shop(event, step):
        await step.do("charge", {**ONCE, "rollback": lambda rb: seen.append((rb.ctx.step.name, rb.output))}, fail)

    machine = await running(shop)
    await machine.create(shop)
    assert seen == [("charge", None)]


async def test_a_step_whose_failure_was_caught_is_rolled_back(running):
    """I §1.3.4"""
    log = []

    @flow
    async def shop(event, step):
        try:
            await step.do("charge", undo(log), fail)
        except ConnectionError:
            pass
        raise LookupError

    machine = await running(shop)
    await machine.create(shop)
    assert log == ["charge"]


async def test_a_step_that_never_started_is_not_rolled_back(running):
    """I §1.3.4"""
    log = []

    @flow
    async def shop(event, step):
        await step.do("first", undo(log), fail)
        await step.do("second", undo(log), lambda: 1)

    machine = await running(shop)
    await machine.create(shop)
    assert log == ["first"]


async def test_a_step_in_flight_is_rolled_back_when_its_instance_is_terminated(running):
    """I §1.3.4"""
    seen, gate = [], Gate()
    machine = await running(shop := one_step(gate, {"rollback": lambda rb: seen.append(rb.output)}))
    instance = await machine.create(shop)
    await machine.advance("1 second")
    await instance.terminate(rollback=True)
    await machine.settle()
    assert (seen, gate.cancelled) == ([None], 1)


async def test_a_step_that_has_only_just_begun_is_rolled_back_when_its_instance_is_terminated(running):
    """I §1.3.4"""
    log = []
    machine = await running(shop := one_step(gate := Gate(), undo(log, retries={"limit": 1})))
    instance = await machine.create(shop)
    assert gate.calls == 1
    await instance.terminate(rollback=True)
    await machine.settle()
    assert log == ["charge"]


async def test_steps_without_a_handler_are_skipped(running):
    """I §1.3.4"""
    log = []

    @flow
    async def shop(event, step):
        await step.do("a", undo(log), lambda: 1)
        await step.do("b", lambda: 1)
        await step.do("c", undo(log), lambda: 1)
        raise LookupError

    machine = await running(shop)
    await machine.create(shop)
    assert log == ["c", "a"]


async def test_parallel_steps_are_rolled_back_one_by_one_in_reverse_start_order(running):
    """I §1.3.4"""
    log = []

    async def rollback(rb):
        log.append(f"{rb.ctx.step.name} begins")
        await asyncio.sleep(0)
        log.append(f"{rb.ctx.step.name} ends")

    gates = [Gate(), Gate()]
    asyncio.get_running_loop().call_later(0.001, gates[1].open)
    asyncio.get_running_loop().call_later(0.005, gates[0].open)

    @flow
    async def shop(event, step):
        await asyncio.gather(*(step.do(f"s{n}", {"rollback": rollback}, gate) for n, gate in enumerate(gates)))
        raise LookupError

    machine = await running(shop)
    await machine.create(shop)
    assert log == ["s1 begins", "s1 ends", "s0 begins", "s0 ends"]


async def test_a_handler_is_told_the_context_the_error_and_the_output(running):
    """I §1.3.4, S §1.3"""
    seen = []

    def rollback(rb):
        seen.append((rb.ctx.step.name, rb.ctx.step.count, type(rb.error), str(rb.error), rb.output))

    @flow
    async def shop(event, step):
        for n in range(2):
            await step.do("reserve", {"rollback": rollback}, lambda n=n: {"n": n})
        raise LookupError("nothing there")

    machine = await running(shop)
    await machine.create(shop)
    assert seen == [("reserve", n + 1, LookupError, "nothing there", {"n": n}) for n in (1, 0)]


@pytest.mark.parametrize("options", [None, AWAY], ids=["in memory", "away"])
async def test_a_handler_of_a_terminated_instance_is_told_terminated(running, options):
    """I §1.3.4"""
    seen = []

    @flow
    async def shop(event, step):
        config = {"rollback": lambda rb: seen.append((rb.error.name, rb.error.message, rb.output))}
        await step.do("reserve", config, lambda: "r-1")
        await step.sleep("nap", "1 hour")

    machine = await running(shop, options=options)
    instance = await machine.create(shop)
    await instance.terminate(rollback=True)
    await machine.settle()
    assert seen == [("Terminated", "Instance terminated during rollback", "r-1")]


async def test_the_output_of_a_rolled_back_step_is_of_its_declared_type(running):
    """S §1.2: declared types are restored"""
    seen = []

    async def reserve() -> Reservation:
        return Reservation("r-1")

    @flow
    async def shop(event, step):
        await step.do("reserve", {"rollback": lambda rb: seen.append(rb.output)}, reserve)
        raise LookupError

    machine = await running(shop)
    await machine.create(shop)
    assert seen == [Reservation("r-1")]


async def test_a_handler_has_the_default_retries(running):
    """I §1.3.4"""
    charge = Flaky()
    machine = await running(shop := one_step(fail, {**ONCE, "rollback": lambda rb: charge()}))
    charge.machine = machine
    await machine.create(shop)
    await machine.advance("1 hour")
    assert charge.times == [0, 10, 30, 70, 150, 310]


async def test_rollback_config_retries_and_times_out_the_handler(running):
    """I §1.3.4, S §1.2"""
    gate = Gate()
    config = {"retries": {"limit": 2, "delay": "1 second", "backoff": "constant"}, "timeout": "5 seconds"}
    machine = await running(shop := one_step(fail, {**ONCE, "rollback": lambda rb: gate(), "rollback_config": config}))
    instance = await machine.create(shop)
    await machine.advance("1 minute")
    found = await instance.status()
    assert (gate.calls, gate.cancelled) == (3, 3)
    assert (found.rollback.outcome, found.rollback.error.name) == ("failed", "WorkflowTimeoutError")


@pytest.mark.parametrize(
    "more",
    [
        {"rollback": "undo"},
        {"rollback": lambda rb: None, "rollback_config": {"sensitive": "output"}},
        {"rollback": lambda rb: None, "rollback_config": {"retrys": {}}},
        {"rollback": lambda rb: None, "rollback_config": 5},
        {"rollback_config": {"timeout": "1 second"}},
    ],
    ids=["no function", "sensitive", "unknown key", "no config", "no handler"],
)
async def test_an_impossible_rollback_is_an_error_that_names_the_step(running, more):
    """I §1.3.4"""
    machine = await running(shop := one_step(lambda: 1, more))
    found = await (await machine.create(shop)).status()
    assert found.status == "errored"
    assert "charge" in found.error.message
    assert "rollback" in found.error.message


async def test_non_retryable_error_ends_a_handlers_retries(running):
    """I §1.3.4"""
    charge = Flaky(error=NonRetryableError("cannot be undone"))
    machine = await running(shop := one_step(fail, {**ONCE, "rollback": lambda rb: charge()}))
    found = await (await machine.create(shop)).status()
    assert len(charge.times) == 1
    assert (found.rollback.outcome, found.rollback.error.message) == ("failed", "cannot be undone")


async def test_the_first_handler_that_fails_for_good_ends_the_chain(running):
    """I §1.3.4"""
    log = []

    def broken(rb):
        log.append("b")
        raise NonRetryableError("stuck")

    @flow
    async def shop(event, step):
        await step.do("a", undo(log), lambda: 1)
        await step.do("b", {"rollback": broken}, lambda: 1)
        await step.do("c", undo(log), lambda: 1)
        raise LookupError("why")

    machine = await running(shop)
    found = await (await machine.create(shop)).status()
    assert log == ["c", "b"]
    assert (found.status, found.error.name, found.rollback.outcome) == ("errored", "LookupError", "failed")


async def test_a_complete_rollback_says_so_and_keeps_the_error(running):
    """I §1.3.4, §2.5"""
    machine = await running(shop := failing([]))
    found = await (await machine.create(shop)).status()
    assert (found.rollback.outcome, found.rollback.error) == ("complete", None)
    assert (found.status, found.error.message) == ("errored", "nothing there")


async def test_no_step_can_be_run_during_a_rollback(running):
    """I §1.3.4"""
    seen = []

    @flow
    async def shop(event, step):
        async def rollback(rb):
            for ask in (
                lambda: step.do("more", lambda: seen.append("ran")),
                lambda: step.wait_for_event("more", "more"),
            ):
                try:
                    await ask()
                except everstep.EverstepError as error:
                    seen.append(error.code)

        await step.do("reserve", {"rollback": rollback}, lambda: 1)
        raise LookupError

    machine = await running(shop)
    instance = await machine.create(shop)
    assert seen == ["rollback.in_progress"] * 2
    assert (await instance.status()).rollback.outcome == "complete"


async def test_an_instance_that_is_rolled_back_is_running(running):
    """I §1.3.4"""
    gate = Gate()
    machine = await running(shop := one_step(fail, {**ONCE, "rollback": lambda rb: gate()}))
    instance = await machine.create(shop)
    assert await state(instance) == "running"
    gate.open()
    await machine.settle()
    assert await state(instance) == "errored"


async def test_an_instance_that_is_terminated_with_rollback_is_running_until_it_is_done(running):
    """I §1.3.4"""
    gate = Gate()

    @flow
    async def shop(event, step):
        await step.do("reserve", {"rollback": lambda rb: gate()}, lambda: 1)
        await step.sleep("nap", "1 hour")

    machine = await running(shop)
    instance = await machine.create(shop)
    await instance.terminate(rollback=True)
    await machine.settle()
    assert await state(instance) == "running"
    gate.open()
    await machine.settle()
    assert await state(instance) == "terminated"


async def test_each_handler_is_a_durable_step_that_never_runs_twice(running):
    """I §1.3.4, S §2.9"""
    log, gate = [], Gate()

    @flow
    async def shop(event, step):
        async def slow(rb):
            log.append("a begins")
            await gate()
            log.append("a ends")

        await step.do("a", {"rollback": slow}, lambda: 1)
        await step.do("b", undo(log), lambda: 1)
        raise LookupError

    machine = await running(shop)
    instance = await machine.create(shop)
    await machine.advance("1 second")
    gate.open()
    await machine.crash()
    await machine.boot()
    await machine.advance("1 hour")
    assert log == ["b", "a begins", "a begins", "a ends"]
    found = await instance.status()
    assert (found.status, found.rollback.outcome) == ("errored", "complete")


async def test_a_rollback_by_termination_survives_a_crash_half_way(running):
    """S §2.9"""
    log, gate = [], Gate()

    @flow
    async def shop(event, step):
        await step.do("a", undo(log), lambda: 1)
        await step.do("b", {"rollback": lambda rb: gate()}, lambda: 1)
        await step.sleep("nap", "1 hour")
        log.append("awake")

    machine = await running(shop)
    instance = await machine.create(shop)
    await instance.terminate(rollback=True)
    await machine.advance("1 second")
    await machine.reboot()
    gate.open()
    await machine.advance("2 hours")
    assert log == ["a"]
    assert await state(instance) == "terminated"


async def test_a_replay_that_gathers_handlers_runs_no_step_and_waits_for_no_sleep(running):
    """I §1.3.4"""
    calls = []

    @flow
    async def shop(event, step):
        await step.do("a", undo([]), lambda: calls.append("a"))
        await step.sleep("nap", "1 hour")
        await step.wait_for_event("approval", "approval")
        await step.do("b", lambda: calls.append("b"))

    machine = await running(shop, options=AWAY)
    instance = await machine.create(shop)
    await instance.terminate(rollback=True)
    await machine.settle()
    assert await state(instance) == "terminated"
    assert calls == ["a"]


async def test_a_handler_that_todays_code_does_not_register_fails_the_rollback(running):
    """I §1.3.4"""
    registers = [True]

    @flow
    async def shop(event, step):
        await step.do("reserve", undo([]) if registers else None, lambda: 1)
        await step.sleep("nap", "1 hour")

    machine = await running(shop, options=AWAY)
    instance = await machine.create(shop)
    registers.clear()
    await instance.terminate(rollback=True)
    await machine.settle()
    found = await instance.status()
    assert (found.status, found.rollback.outcome, found.rollback.error.name) == (
        "terminated",
        "failed",
        "RollbackMissingError",
    )


async def test_a_wait_that_timed_out_rolls_back_like_any_error(running):
    """I §1.3.8, §1.3.4"""
    log = []

    @flow
    async def shop(event, step):
        await step.do("reserve", undo(log), lambda: 1)
        await step.wait_for_event("approval", "approval", timeout="1 hour")

    machine = await running(shop, options=AWAY)
    instance = await machine.create(shop)
    await machine.advance("1 hour")
    assert (log, await state(instance)) == (["reserve"], "errored")


async def test_terminating_with_rollback_where_there_is_no_handler_just_terminates(running):
    """I §1.3.4"""
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    await instance.terminate(rollback=True)
    found = await instance.status()
    assert (found.status, found.rollback) == ("terminated", None)


@pytest.mark.parametrize("status", ["paused", "queued", "waiting"])
async def test_an_instance_is_rolled_back_from_every_status_that_has_not_ended(running, status):
    """I §3.1"""
    machine = await status_machine(running, status)
    instance = await in_status(machine, status)
    await instance.terminate(rollback=True)
    await machine.settle()
    assert await state(instance) == "terminated"


async def test_a_paused_instance_is_rolled_back_when_it_is_terminated_so(running):
    """I §2.4, §1.3.4"""
    machine = await running(shop := standing(log := []))
    instance = await machine.create(shop)
    await instance.pause()
    await instance.terminate(rollback=True)
    await machine.settle()
    assert (log, await state(instance)) == (["reserve"], "terminated")


async def test_terminating_with_rollback_twice_rolls_back_once(running):
    """I §2.4"""
    log, gate = [], Gate()

    @flow
    async def shop(event, step):
        async def rollback(rb):
            log.append("begun")
            await gate()

        await step.do("reserve", {"rollback": rollback}, lambda: 1)
        await step.sleep("nap", "1 hour")

    machine = await running(shop)
    instance = await machine.create(shop)
    await instance.terminate(rollback=True)
    await machine.advance("1 second")
    await instance.terminate(rollback=True)
    gate.open()
    await machine.advance("1 hour")
    assert await state(instance) == "terminated"
    assert (await instance.status()).rollback.outcome == "complete"


async def test_a_restart_from_a_step_after_a_rollback_rolls_back_again_at_the_next_failure(running):
    """I §10.7.11, S §2.9"""
    log = []

    @flow
    async def shop(event, step):
        await step.do("reserve", undo(log), lambda: 1)
        await step.do("charge", undo(log), fail)

    machine = await running(shop)
    instance = await machine.create(shop)
    await instance.restart(from_step="charge")
    await machine.settle()
    assert log == ["charge", "reserve"] * 2
    assert (await instance.status()).rollback.outcome == "complete"


async def test_handlers_are_seen_as_steps_of_type_rollback(running):
    """I §1.3.4, S §1.3"""
    machine = await running(shop := failing([]))
    instance = await machine.create(shop)
    found = (await instance.status(steps=True)).steps
    assert [(step.name, step.status) for step in found if step.type == "rollback"] == [
        ("charge", "complete"),
        ("reserve", "complete"),
    ]
    assert (await steps_of(instance))[:2] == [("reserve", 1, "complete"), ("charge", 1, "complete")]


async def test_subscribers_see_the_rollback_step_by_step(running):
    """I §2.7"""
    machine = await running(shop := one_step(fail, undo([])))
    instance = await machine.create(shop)
    assert [type for type in await types_of(instance) if type.startswith("rollback")] == [
        "rollback_started",
        "rollback_step_started",
        "rollback_attempt_started",
        "rollback_attempt_completed",
        "rollback_step_completed",
        "rollback_completed",
    ]


async def test_a_handler_may_be_async_def_or_lambda(running):
    """S §1.2"""
    log = []

    async def coroutine(rb):
        log.append("async")

    def plain(rb):
        log.append("def")

    @flow
    async def shop(event, step):
        for n, handler in enumerate([coroutine, plain, lambda rb: log.append("lambda")]):
            await step.do(f"s{n}", {"rollback": handler}, lambda: 1)
        raise LookupError

    machine = await running(shop)
    await machine.create(shop)
    assert log == ["lambda", "def", "async"]


async def test_a_step_of_the_decorator_form_can_be_rolled_back(running):
    """S §1.2"""
    log = []

    @flow
    async def shop(event, step):
        @step.do("reserve", config=undo(log))
        async def reserve():
            return 1

        await reserve()
        raise LookupError

    machine = await running(shop)
    await machine.create(shop)
    assert log == ["reserve"]
