"""Rollback: which handlers run, in which order, with what they are told, and across crashes, pauses and evictions."""

from __future__ import annotations

import asyncio
import dataclasses
from contextvars import Context
from typing import Any

import pytest

from everstep import InstanceStateError, NonRetryableError
from everstep.engine.runtime.options import EngineOptions

from .virtual import flow, limited

ONCE = {"retries": {"limit": 0}}


class Journal(list):
    """What happened, in order; handlers and steps are made by it."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: dict[str, int] = {}

    def undo(self, name: str, *, fails: int = 0, **config: Any) -> dict[str, Any]:
        """Make the config of a step whose handler notes itself, after failing some times."""
        self.failures.setdefault(name, fails)

        async def handler(rb):
            self.append(f"undo {name}")
            if self.failures[name]:
                self.failures[name] -= 1
                raise ConnectionError("not yet")

        return {"retries": {"limit": 0}, "rollback": handler, **config}

    async def did(self, name: str, result: Any = None):
        self.append(name)
        return result

    async def fails(self, name: str):
        self.append(name)
        raise ValueError("no stock")


class Hold:
    """A handler or step that stands until the test lets it go."""

    def __init__(self, notes: list[str], name: str) -> None:
        self.notes, self.name, self.go = notes, name, asyncio.Event()

    async def __call__(self, *_):
        self.notes.append(self.name)
        await self.go.wait()


@pytest.fixture(params=[0, 1_000], ids=["evicted", "cached"])
def options(request):
    return EngineOptions(max_cached=request.param, drain_ms=0)


def undone(notes: list[str]) -> list[str]:
    return [note for note in notes if note.startswith("undo")]


async def test_handlers_are_called_in_reverse_order_of_start_after_an_uncaught_error(running):
    notes = Journal()

    @flow
    async def order(event, step):
        await step.do("a", notes.undo("a"), notes.did, "a")
        await step.do("plain", notes.did, "plain")
        await step.do("b", notes.undo("b"), notes.did, "b")
        await step.do("c", notes.undo("c"), notes.fails, "c")

    machine = await running(order)
    instance = await machine.create(order)
    with pytest.raises(ValueError, match="no stock"):
        await machine.output(instance)
    assert notes == ["a", "plain", "b", "c", "undo c", "undo b", "undo a"]
    status = await instance.status()
    assert (status.status, status.rollback.outcome, status.rollback.error) == ("errored", "complete", None)
    assert status.error.name == "ValueError"


async def test_an_error_without_handlers_leaves_rollback_empty(running):
    @flow
    async def order(event, step):
        await step.do("a", ONCE, Journal().fails, "a")

    machine = await running(order)
    instance = await machine.create(order)
    assert (await instance.status()).rollback is None


async def test_success_calls_no_handler(running):
    notes = Journal()

    @flow
    async def order(event, step):
        await step.do("a", notes.undo("a"), notes.did, "a")

    machine = await running(order)
    instance = await machine.create(order)
    await machine.output(instance)
    assert notes == ["a"]
    assert (await instance.status()).rollback is None


async def test_a_step_whose_error_was_caught_is_rolled_back_too(running):
    notes = Journal()

    @flow
    async def order(event, step):
        try:
            await step.do("a", notes.undo("a"), notes.fails, "a")
        except ValueError:
            pass
        raise NonRetryableError("enough")

    machine = await running(order)
    await machine.create(order)
    assert notes == ["a", "undo a"]


@dataclasses.dataclass
class Receipt:
    number: int


async def charge() -> Receipt:
    return Receipt(7)


async def test_a_handler_is_told_the_output_the_error_and_the_step(running):
    told = []

    @flow
    async def order(event, step):
        await step.do("charge", {"retries": {"limit": 2, "delay": "1 second"}, "rollback": told.append}, charge)
        await step.do("ship", {**ONCE, "rollback": told.append}, Journal().fails, "x")

    machine = await running(order)
    await machine.create(order)
    ship, charged = told
    assert (ship.ctx.step.name, ship.ctx.step.count, ship.output) == ("ship", 1, None)
    assert isinstance(ship.error, ValueError)
    assert str(ship.error) == "no stock"
    assert charged.output == Receipt(7)
    assert charged.ctx.config["retries"]["limit"] == 2
    assert charged.ctx.attempt == 1
    assert charged.ctx.instance_id == "one"


async def test_after_a_crash_a_handler_is_told_the_same(running):
    told = []
    hold = Hold([], "x")

    @flow
    async def order(event, step):
        await step.do("charge", {"rollback": told.append}, charge)
        await step.do("ship", {**ONCE, "rollback": hold}, Journal().fails, "x")

    machine = await running(order)
    await machine.create(order)
    await machine.advance(10)
    hold.go.set()
    await machine.reboot()
    await machine.advance("1 minute")
    [charged] = told
    assert charged.output == Receipt(7)
    assert isinstance(charged.error, ValueError)


async def test_what_a_handler_returns_does_not_matter(running):
    @flow
    async def order(event, step):
        await step.do("a", {"rollback": lambda rb: object()}, charge)
        raise ValueError("no")

    machine = await running(order)
    instance = await machine.create(order)
    status = await instance.status()
    assert (status.status, status.error.name, status.rollback.outcome) == ("errored", "ValueError", "complete")


async def test_a_plain_function_may_be_a_handler(running):
    notes = []

    def undo(rb):
        notes.append(rb.output.number)

    @flow
    async def order(event, step):
        await step.do("a", {"rollback": undo}, charge)
        raise ValueError("no")

    machine = await running(order)
    await machine.create(order)
    await machine.settle()
    assert notes == [7]


async def test_a_failing_handler_is_retried_by_its_own_policy(running, options):
    notes = Journal()
    config = {"retries": {"limit": 3, "delay": "10 seconds", "backoff": "constant"}}

    @flow
    async def order(event, step):
        await step.do("a", notes.undo("a"), notes.did, "a")
        await step.do("b", notes.undo("b", fails=2, rollback_config=config), notes.did, "b")
        raise ValueError("no")

    machine = await running(order, options=options)
    instance = await machine.create(order)
    assert undone(notes) == ["undo b"]
    await machine.advance("10 seconds")
    assert undone(notes) == ["undo b"] * 2
    assert (await instance.status()).status == "waiting"
    await machine.advance("10 seconds")
    assert undone(notes) == ["undo b"] * 3 + ["undo a"]
    status = await instance.status(steps=True)
    assert status.rollback.outcome == "complete"
    [b] = [one for one in status.steps if (one.name, one.type) == ("b", "rollback")]
    assert [(one.attempt, one.status) for one in b.attempts] == [(1, "errored"), (2, "errored"), (3, "complete")]


async def test_a_handler_that_fails_for_good_ends_the_chain(running):
    notes = Journal()

    @flow
    async def order(event, step):
        await step.do("a", notes.undo("a"), notes.did, "a")
        await step.do("b", notes.undo("b", fails=9, rollback_config=ONCE), notes.did, "b")
        await step.do("c", notes.undo("c"), notes.did, "c")
        raise ValueError("no")

    machine = await running(order)
    instance = await machine.create(order)
    assert undone(notes) == ["undo c", "undo b"]
    status = await instance.status()
    assert (status.status, status.error.name) == ("errored", "ValueError")
    assert (status.rollback.outcome, status.rollback.error.name) == ("failed", "ConnectionError")


async def test_a_non_retryable_error_ends_a_handler_at_once(running):
    calls = []

    async def undo(rb):
        calls.append(1)
        raise NonRetryableError("never")

    @flow
    async def order(event, step):
        await step.do("a", {"rollback": undo}, charge)
        raise ValueError("no")

    machine = await running(order)
    instance = await machine.create(order)
    assert calls == [1]
    assert (await instance.status()).rollback.error.name == "NonRetryableError"


async def test_handlers_of_parallel_steps_run_one_after_the_other_in_reverse_start_order(running):
    notes = Journal()
    at_once = [0, 0]

    async def undo(rb):
        at_once[0] += 1
        at_once[1] = max(at_once)
        await asyncio.sleep(0)
        notes.append(f"undo {rb.ctx.step.name}-{rb.ctx.step.count}")
        at_once[0] -= 1

    @flow
    async def order(event, step):
        await asyncio.gather(*(step.do("part", {"rollback": undo}, notes.did, "part") for _ in range(3)))
        raise ValueError("no")

    machine = await running(order)
    await machine.create(order)
    assert undone(notes) == ["undo part-3", "undo part-2", "undo part-1"]
    assert at_once[1] == 1


async def test_branches_in_flight_have_ended_before_the_first_handler_runs(running):
    notes = Journal()

    async def slow():
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(20):
                await asyncio.sleep(0)
            notes.append("slow ended")

    @flow
    async def order(event, step):
        await asyncio.gather(
            step.do("slow", notes.undo("slow"), slow), step.do("bad", notes.undo("bad"), notes.fails, "bad")
        )

    machine = await running(order)
    instance = await machine.create(order)
    assert notes == ["bad", "slow ended", "undo bad", "undo slow"]
    assert (await instance.status()).rollback.outcome == "complete"


async def test_a_step_cut_short_by_the_error_of_another_is_rolled_back_after_a_crash_as_well(running):
    notes = Journal()
    hold = Hold(notes, "undo bad")

    async def slow():
        notes.append("slow")
        await asyncio.Event().wait()

    @flow
    async def order(event, step):
        await asyncio.gather(
            step.do("slow", notes.undo("slow"), slow),
            step.do("bad", {**ONCE, "rollback": hold}, notes.fails, "bad"),
        )

    machine = await running(order)
    instance = await machine.create(order)
    await machine.advance(10)
    hold.go.set()
    await machine.reboot()
    await machine.advance("1 minute")
    assert notes == ["slow", "bad", "undo bad", "undo bad", "undo slow"]
    assert (await instance.status()).rollback.outcome == "complete"


async def test_a_branch_that_waits_to_be_retried_does_not_run_again_during_the_rollback(running):
    notes = Journal()
    retried = {"retries": {"limit": 5, "delay": "1 second", "backoff": "constant"}}
    slowly = {"rollback_config": {"retries": {"limit": 5, "delay": "1 minute", "backoff": "constant"}}}

    @flow
    async def order(event, step):
        await asyncio.gather(
            step.do("flaky", retried, notes.fails, "flaky"),
            step.do("bad", notes.undo("bad", fails=1, **slowly), notes.fails, "bad"),
        )

    machine = await running(order)
    instance = await machine.create(order)
    await machine.advance("2 minutes")
    assert notes == ["flaky", "bad", "undo bad", "undo bad"]
    assert (await instance.status()).status == "errored"


async def test_a_step_inside_a_handler_is_refused(running):
    refused = []

    @flow
    async def order(event, step):
        async def undo(rb):
            try:
                await step.do("more", Journal().did, "more")
            except Exception as error:
                refused.append(type(error).__name__)
                raise

        await step.do("a", {"rollback": undo, "rollback_config": ONCE}, charge)
        raise ValueError("no")

    machine = await running(order)
    instance = await machine.create(order)
    assert refused == ["RollbackInProgressError"]
    assert (await instance.status()).rollback.error.name == "RollbackInProgressError"


async def test_a_crash_half_way_goes_on_with_the_handlers_that_are_left(running):
    notes = Journal()
    hold = Hold(notes, "undo b")

    @flow
    async def order(event, step):
        await step.do("a", notes.undo("a"), notes.did, "a")
        await step.do("b", {"rollback": hold}, notes.did, "b")
        await step.do("c", notes.undo("c"), notes.did, "c")
        notes.append("top")
        raise ValueError("no")

    machine = await running(order)
    instance = await machine.create(order)
    await machine.advance(10)
    assert (await instance.status()).status == "running"
    hold.go.set()
    assert await machine.reboot() == 1
    await machine.advance("1 minute")
    assert undone(notes) == ["undo c", "undo b", "undo b", "undo a"]
    status = await instance.status(steps=True)
    assert (status.status, status.error.name, status.rollback.outcome) == ("errored", "ValueError", "complete")


async def test_every_crash_during_a_rollback_is_survived(running):
    notes = Journal()
    holds = {name: Hold(notes, f"undo {name}") for name in "abc"}

    @flow
    async def order(event, step):
        for name, hold in holds.items():
            await step.do(name, {"rollback": hold}, notes.did, name)
        raise ValueError("no")

    machine = await running(order)
    instance = await machine.create(order)
    for name in "cba":
        await machine.advance("1 minute")
        holds[name].go.set()
        await machine.reboot()
    await machine.advance("5 minutes")
    status = await instance.status()
    assert (status.status, status.rollback.outcome) == ("errored", "complete")
    assert [note for note in notes if note in "abc"] == ["a", "b", "c"]
    assert list(dict.fromkeys(undone(notes))) == ["undo c", "undo b", "undo a"]


async def test_a_handler_gone_from_the_code_is_told_after_a_crash(running):
    notes = Journal()
    hold = Hold(notes, "undo b")
    registered = [True]

    @flow
    async def order(event, step):
        await step.do("a", notes.undo("a") if registered[0] else {}, notes.did, "a")
        await step.do("b", {"rollback": hold}, notes.did, "b")
        raise ValueError("no")

    machine = await running(order)
    instance = await machine.create(order)
    await machine.advance(10)
    registered[0] = False
    hold.go.set()
    await machine.reboot()
    await machine.advance("1 minute")
    status = await instance.status()
    assert (status.status, status.rollback.outcome) == ("errored", "failed")
    assert status.rollback.error.name == "RollbackMissingError"
    assert "'a'" in status.rollback.error.message


async def test_the_replay_that_gathers_handlers_runs_nothing_new(running, options):
    notes = Journal()

    @flow
    async def order(event, step):
        await step.do("a", notes.undo("a"), notes.did, "a")
        await step.sleep("nap", "1 day")
        await step.do("b", notes.undo("b"), notes.did, "b")

    machine = await running(order, options=options)
    instance = await machine.create(order)
    await instance.terminate(rollback=True)
    await machine.settle()
    await machine.advance("2 days")
    assert notes == ["a", "undo a"]
    status = await instance.status()
    assert (status.status, status.error, status.rollback.outcome) == ("terminated", None, "complete")


async def test_terminate_tells_handlers_that_the_instance_was_terminated(running):
    told = []

    @flow
    async def order(event, step):
        await step.do("a", {"rollback": told.append}, charge)
        await step.wait_for_event("go", "go")

    machine = await running(order)
    instance = await machine.create(order)
    await instance.terminate(rollback=True)
    await machine.settle()
    assert (told[0].error.name, told[0].error.message) == ("Terminated", "Instance terminated during rollback")


async def test_terminate_with_rollback_ends_the_step_in_flight_and_rolls_it_back(running):
    notes = Journal()

    async def slow():
        notes.append("slow")
        await asyncio.Event().wait()

    @flow
    async def order(event, step):
        await step.do("a", notes.undo("a"), notes.did, "a")
        await step.do("slow", notes.undo("slow"), slow)

    machine = await running(order)
    instance = await machine.create(order)
    await machine.advance("1 second")
    await instance.terminate(rollback=True)
    await machine.settle()
    assert notes == ["a", "slow", "undo slow", "undo a"]
    assert (await instance.status()).status == "terminated"


async def test_terminate_with_rollback_knows_a_step_that_began_a_moment_ago(running):
    notes = Journal()

    async def slow():
        notes.append("slow")
        await asyncio.Event().wait()

    @flow
    async def order(event, step):
        await step.do("slow", notes.undo("slow"), slow)

    machine = await running(order)
    instance = await machine.create(order)
    await instance.terminate(rollback=True)
    await machine.settle()
    assert notes == ["slow", "undo slow"]
    assert (await instance.status()).rollback.outcome == "complete"


async def test_terminate_with_rollback_in_a_task_group_rolls_every_branch_back(running):
    notes = Journal()

    async def slow(name):
        notes.append(name)
        await asyncio.Event().wait()

    @flow
    async def order(event, step):
        async def branch(name):
            await step.do(name, notes.undo(name), notes.did, name)
            await asyncio.sleep(0)
            await step.do(f"{name}2", notes.undo(f"{name}2"), slow, f"{name}2")

        async with asyncio.TaskGroup() as group:
            for name in "ab":
                group.create_task(branch(name))

    machine = await running(order)
    instance = await machine.create(order)
    await machine.advance("1 second")
    await instance.terminate(rollback=True)
    await machine.settle()
    assert sorted(undone(notes)) == ["undo a", "undo a2", "undo b", "undo b2"]
    status = await instance.status()
    assert (status.status, status.rollback.outcome, status.rollback.error) == ("terminated", "complete", None)


async def test_terminate_with_rollback_and_no_handlers_is_a_plain_one(running):
    @flow
    async def order(event, step):
        await step.sleep("nap", "1 day")

    machine = await running(order)
    instance = await machine.create(order)
    await instance.terminate(rollback=True)
    status = await instance.status()
    assert (status.status, status.rollback) == ("terminated", None)


async def test_a_plain_terminate_calls_no_handler(running):
    notes = Journal()

    @flow
    async def order(event, step):
        await step.do("a", notes.undo("a"), notes.did, "a")
        await step.sleep("nap", "1 day")

    machine = await running(order)
    instance = await machine.create(order)
    await instance.terminate()
    await machine.settle()
    assert notes == ["a"]


async def test_terminate_with_rollback_survives_a_crash_right_after_it_returned(running):
    notes = Journal()

    @flow
    async def order(event, step):
        await step.do("a", notes.undo("a"), notes.did, "a")
        await step.sleep("nap", "1 day")

    machine = await running(order)
    instance = await machine.create(order)
    await instance.terminate(rollback=True)
    await machine.reboot()
    await machine.advance("1 minute")
    assert notes.count("undo a") >= 1
    assert (await instance.status()).status == "terminated"


async def test_terminating_twice_with_rollback_rolls_back_once(running):
    notes = Journal()
    hold = Hold(notes, "undo b")

    @flow
    async def order(event, step):
        await step.do("a", notes.undo("a"), notes.did, "a")
        await step.do("b", {"rollback": hold}, notes.did, "b")
        await step.sleep("nap", "1 day")

    machine = await running(order)
    instance = await machine.create(order)
    await instance.terminate(rollback=True)
    await machine.settle()
    await machine.advance(10)
    await instance.terminate(rollback=True)
    await machine.settle()
    hold.go.set()
    await machine.settle()
    assert undone(notes) == ["undo b", "undo a"]
    assert (await instance.status()).status == "terminated"


async def test_terminating_twice_at_the_same_moment_rolls_back_once(running):
    notes = Journal()

    @flow
    async def order(event, step):
        await step.do("a", notes.undo("a"), notes.did, "a")
        await step.sleep("nap", "1 day")

    machine = await running(order)
    instance = await machine.create(order)
    await asyncio.gather(instance.terminate(rollback=True), instance.terminate(rollback=True))
    await machine.settle()
    await machine.advance("1 minute")
    assert notes == ["a", "undo a"]
    assert (await instance.status()).rollback.outcome == "complete"


async def test_terminate_with_rollback_during_the_rollback_of_an_error_changes_nothing(running):
    notes = Journal()
    hold = Hold(notes, "undo a")

    @flow
    async def order(event, step):
        await step.do("a", {"rollback": hold}, notes.did, "a")
        raise ValueError("no")

    machine = await running(order)
    instance = await machine.create(order)
    await machine.advance(10)
    await instance.terminate(rollback=True)
    hold.go.set()
    await machine.settle()
    status = await instance.status()
    assert (status.status, status.error.name, status.rollback.outcome) == ("errored", "ValueError", "complete")
    assert notes == ["a", "undo a"]


async def test_a_plain_terminate_ends_a_rollback(running):
    notes = Journal()
    hold = Hold(notes, "undo b")

    @flow
    async def order(event, step):
        await step.do("a", notes.undo("a"), notes.did, "a")
        await step.do("b", {"rollback": hold}, notes.did, "b")
        raise ValueError("no")

    machine = await running(order)
    instance = await machine.create(order)
    await instance.terminate()
    hold.go.set()
    await machine.advance("1 minute")
    assert undone(notes) == ["undo b"]
    assert (await instance.status()).status == "terminated"
    with pytest.raises(InstanceStateError):
        await instance.terminate(rollback=True)


async def test_a_workflow_that_terminates_itself_with_rollback_is_rolled_back_once(running):
    notes = Journal()

    @flow
    async def order(event, step):
        notes.append("life")
        await step.do("a", notes.undo("a"), notes.did, "a")
        me = await machine.es.workflow(order).get(event.instance_id)
        await me.terminate(rollback=True)
        notes.append("beyond")

    machine = await running(order)
    instance = await machine.create(order)
    await machine.advance("1 minute")
    assert undone(notes) == ["undo a"]
    assert "beyond" not in notes
    assert (await instance.status()).status == "terminated"


async def test_terminating_a_paused_instance_with_rollback_rolls_it_back(running):
    notes = Journal()

    @flow
    async def order(event, step):
        await step.do("a", notes.undo("a"), notes.did, "a")
        await step.sleep("nap", "1 day")

    machine = await running(order)
    instance = await machine.create(order)
    await instance.pause()
    await machine.settle()
    await instance.terminate(rollback=True)
    await machine.settle()
    assert notes == ["a", "undo a"]
    assert (await instance.status()).status == "terminated"


async def test_a_pause_during_a_rollback_lets_the_handler_finish_and_resuming_goes_on(running):
    notes = Journal()
    hold = Hold(notes, "undo b")

    @flow
    async def order(event, step):
        await step.do("a", notes.undo("a"), notes.did, "a")
        await step.do("b", {"rollback": hold}, notes.did, "b")
        raise ValueError("no")

    machine = await running(order)
    instance = await machine.create(order)
    await instance.pause()
    assert (await instance.status()).status == "waitingForPause"
    hold.go.set()
    await machine.settle()
    assert (await instance.status()).status == "paused"
    assert undone(notes) == ["undo b"]
    await machine.reboot()
    assert undone(notes) == ["undo b"]
    await instance.resume()
    await machine.settle()
    assert undone(notes) == ["undo b", "undo a"]
    status = await instance.status()
    assert (status.status, status.rollback.outcome) == ("errored", "complete")


async def test_a_pause_while_a_handler_waits_to_be_retried_moves_its_next_attempt(running):
    notes = Journal()
    config = {"retries": {"limit": 3, "delay": "1 minute", "backoff": "constant"}}

    @flow
    async def order(event, step):
        await step.do("a", notes.undo("a", fails=1, rollback_config=config), notes.did, "a")
        raise ValueError("no")

    machine = await running(order)
    instance = await machine.create(order)
    await machine.advance("30 seconds")
    await instance.pause()
    await machine.settle()
    await machine.advance("1 hour")
    await instance.resume()
    await machine.settle()
    await machine.advance("29 seconds")
    assert undone(notes) == ["undo a"]
    await machine.advance("1 second")
    assert undone(notes) == ["undo a"] * 2


async def broken_stream():
    yield b"first"
    yield object()


@pytest.mark.parametrize("how", ["result", "limit", "output", "stream"])
@pytest.mark.parametrize("restarts", [False, True], ids=["", "and the process dies half-way"])
async def test_every_failure_of_the_instance_rolls_back(running, how, restarts):
    notes = Journal()
    hold = Hold(notes, "undo a")

    @flow
    async def order(event, step):
        await step.do("a", {"rollback": hold, "retries": {"limit": 0}}, notes.did, "a")
        if how == "result":
            await step.do("b", ONCE, notes.did, "b", object())
        if how == "stream":
            await step.do("b", ONCE, broken_stream)
        if how == "limit":
            await step.do("b", notes.did, "b")
            await asyncio.gather(step.do("c", notes.did, "c"), step.do("d", notes.did, "d"), return_exceptions=True)
        return object()

    machine = await running(limited(order, step_limit=2) if how == "limit" else order)
    instance = await machine.create(order)
    assert (await instance.status()).status == "running"
    hold.go.set()
    if restarts:
        await machine.crash()
        await machine.boot()
        await machine.advance("1 minute")
    await machine.settle()
    status = await instance.status()
    error = "StepLimitError" if how == "limit" else "NotSerializableError"
    assert (status.status, status.error.name, status.rollback.outcome) == ("errored", error, "complete")
    assert undone(notes)
    assert "c" not in notes


async def test_a_step_with_a_handler_gone_from_the_code_is_a_failed_rollback(running):
    notes = Journal()
    registered = [True]

    @flow
    async def order(event, step):
        await step.do("a", notes.undo("a") if registered[0] else {}, notes.did, "a")
        await step.wait_for_event("go", "go")
        raise ValueError("no")

    machine = await running(order)
    instance = await machine.create(order)
    registered[0] = False
    await machine.reboot()
    await instance.send_event(type="go")
    await machine.settle()
    status = await instance.status()
    assert (status.status, status.rollback.outcome, undone(notes)) == ("errored", "failed", [])
    assert status.rollback.error.name == "RollbackMissingError"


async def test_the_start_of_a_step_with_a_handler_is_on_disk_before_its_function_runs(running):
    rows = []

    @flow
    async def order(event, step):
        await step.do("charge", {"rollback": lambda _: None}, look)

    async def look():
        rows.extend(await machine.engine.store.steps(1))

    machine = await running(order)
    await (await machine.create(order)).result()
    assert [(row.name, row.state, row.attempt, row.compensable) for row in rows] == [("charge", "running", 1, True)]


async def test_a_stream_is_handed_to_its_rollback_handler(running):
    told = []

    async def export():
        yield b"abc"

    async def undo(rb):
        told.append(b"".join([piece async for piece in rb.output]))

    @flow
    async def order(event, step):
        await step.do("export", {"rollback": undo}, export)
        raise ValueError("no")

    machine = await running(order)
    instance = await machine.create(order)
    await machine.settle()
    assert (await instance.status()).rollback.error is None
    assert told == [b"abc"]


async def test_a_restart_forgets_the_rollback_and_a_later_failure_rolls_back_again(running):
    notes = Journal()

    @flow
    async def order(event, step):
        await step.do("a", notes.undo("a"), notes.did, "a")
        await step.do("b", notes.undo("b"), notes.fails, "b")

    machine = await running(order)
    instance = await machine.create(order)
    assert notes == ["a", "b", "undo b", "undo a"]
    await instance.restart(from_step="b")
    await machine.settle()
    assert notes == ["a", "b", "undo b", "undo a", "b", "undo b", "undo a"]
    assert (await instance.status()).rollback.outcome == "complete"


async def test_a_restart_during_a_rollback_starts_anew(running):
    notes = Journal()
    hold = Hold(notes, "undo a")
    fails = [True]

    @flow
    async def order(event, step):
        await step.do("a", {"rollback": hold}, notes.did, "a")
        if fails[0]:
            raise ValueError("no")
        return "fine"

    machine = await running(order)
    instance = await machine.create(order)
    fails[0] = False
    await instance.restart()
    assert await machine.output(instance) == "fine"
    assert (await instance.status()).rollback is None


@pytest.mark.parametrize("verb", ["terminate", "restart", "delete"])
async def test_what_comes_while_the_last_handler_is_being_recorded_wins(running, verb):
    notes = Journal()
    hold = Hold(notes, "undo a")
    fails = [True]

    @flow
    async def order(event, step):
        await step.do("a", {"rollback": hold}, notes.did, "a")
        if fails[0]:
            raise ValueError("no")
        return "fine"

    machine = await running(order)
    instance = await machine.create(order)
    fails[0] = False
    written = machine.engine.store.write
    asked = []

    def write(change, **more):
        if hold.go.is_set() and not asked:
            future = written(change, **more)
            asked.append(asyncio.get_running_loop().create_task(getattr(instance, verb)(), context=Context()))
            return future
        return written(change, **more)

    machine.engine.store.write = write
    hold.go.set()
    await machine.settle()
    await asyncio.gather(*asked, return_exceptions=verb == "terminate")
    await machine.settle()
    machine.engine.store.write = written
    if verb == "restart":
        assert await machine.output(instance) == "fine"
    elif verb == "terminate":
        assert (await instance.status()).status in ("terminated", "errored")
    else:
        rows = machine.rows("select count(*) from step")
        assert rows == [(0,)]
