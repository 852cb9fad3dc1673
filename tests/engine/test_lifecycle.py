"""Lifecycle: what an instance's status says, and pausing, resuming, terminating and restarting it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from everstep import (
    InstanceExistsError,
    InstanceNotFoundError,
    InstanceStateError,
    InstanceTerminatedError,
    InvalidParamsError,
    WorkflowEntrypoint,
    WorkflowTimeoutError,
)
from everstep.core.timestamps import utc
from everstep.core.types import WaitingFor
from everstep.engine.runtime.options import EngineOptions

from .virtual import START_MS, VirtualClock, attempts_of, flow

HOUR = 3_600_000


class Held:
    """A step function that stands until the test lets it go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.calls = 0
        self.cancelled = 0

    async def __call__(self):
        self.calls += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.calls


def holding(hold: Held, retries: int = 5):
    """Make a workflow of one held step, and one after it."""

    @flow
    async def shop(event, step):
        got = await step.do("hold", {"retries": {"limit": retries, "delay": "10 seconds"}}, hold)
        return [got, await step.do("after", lambda: "after")]

    return shop


@flow
async def sleeper(event, step):
    await step.do("before", lambda: 1)
    await step.sleep("nap", "1 hour")
    return "awake"


@flow
async def waiter(event, step):
    return (await step.wait_for_event("approval", "order.approval", timeout="1 hour")).payload


async def fail():
    raise ConnectionError("no route")


@flow
async def retrier(event, step):
    await step.do("charge", {"retries": {"limit": 5, "delay": "1 hour", "backoff": "constant"}}, fail)


@flow
async def quick(event, step):
    return await step.do("answer", lambda: 42)


@flow
async def broken(event, step):
    await step.do("charge", {"retries": {"limit": 0}}, fail)


async def status(instance) -> str:
    return (await instance.status()).status


# Status


async def test_the_status_of_an_instance_in_a_step(running):
    machine = await running(shop := holding(Held()))
    instance = await machine.create(shop)
    await machine.advance("1 second")
    found = await instance.status()
    assert (found.status, found.current_step, found.attempt, found.step_count) == ("running", "hold", 1, 1)
    assert (found.waiting_for, found.wake_at, found.ended_at) == (None, None, None)
    assert (found.error, found.output, found.rollback) == (None, None, None)
    assert (found.created_at, found.started_at) == (utc(START_MS), utc(START_MS))
    assert found.elapsed_ms == 1_000


async def test_the_status_of_an_instance_that_sleeps(running):
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    found = await instance.status()
    assert (found.status, found.current_step, found.attempt, found.step_count) == ("waiting", "nap", None, 2)
    assert found.waiting_for == WaitingFor("sleep", "nap")
    assert found.wake_at == utc(START_MS + HOUR)


async def test_the_status_of_an_instance_that_waits_for_an_event(running):
    machine = await running(waiter)
    instance = await machine.create(waiter)
    found = await instance.status()
    assert (found.status, found.current_step) == ("waiting", "approval")
    assert found.waiting_for == WaitingFor("event", "approval", "order.approval")
    assert found.wake_at == utc(START_MS + HOUR)


async def test_the_status_of_an_instance_between_attempts(running):
    machine = await running(retrier)
    instance = await machine.create(retrier)
    await machine.advance("1 hour")
    found = await instance.status()
    assert (found.status, found.current_step, found.attempt) == ("waiting", "charge", 2)
    assert found.waiting_for == WaitingFor("retry", "charge")
    assert found.wake_at == utc(START_MS + 2 * HOUR)


async def test_the_status_of_an_instance_that_is_complete(running):
    machine = await running(quick)
    instance = await machine.create(quick)
    await machine.advance("1 hour")
    found = await instance.status()
    assert (found.status, found.output, found.error, found.step_count) == ("complete", 42, None, 1)
    assert (found.current_step, found.waiting_for, found.wake_at, found.attempt) == (None, None, None, None)
    assert (found.ended_at, found.elapsed_ms) == (utc(START_MS), 0)


async def test_the_status_of_an_instance_that_failed(running):
    machine = await running(broken)
    instance = await machine.create(broken)
    found = await instance.status()
    assert (found.status, found.output, found.ended_at) == ("errored", None, utc(START_MS))
    assert (found.error.name, found.error.message) == ("ConnectionError", "no route")
    assert (found.current_step, found.waiting_for, found.wake_at, found.attempt) == (None, None, None, None)


async def test_the_status_of_an_instance_that_was_terminated(running):
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    await machine.advance("1 minute")
    await instance.terminate()
    found = await instance.status(steps=True)
    assert (found.status, found.output, found.error) == ("terminated", None, None)
    assert (found.ended_at, found.elapsed_ms) == (utc(START_MS + 60_000), 60_000)
    assert [step.status for step in found.steps] == ["complete", "cancelled"]


async def test_the_status_is_the_same_whether_the_instance_is_in_memory_or_not(running):
    seen = []
    for max_cached in (0, 10):
        machine = await running(sleeper, options=EngineOptions(max_cached=max_cached))
        instance = await machine.create(sleeper)
        await machine.advance("1 minute")
        seen.append(await instance.status(steps=True))
    assert seen[0] == seen[1]


async def test_a_parallel_instance_shows_the_branch_that_runs(running):
    hold = Held()

    @flow
    async def both(event, step):
        await asyncio.gather(step.sleep("nap", "1 hour"), step.do("hold", hold))

    machine = await running(both)
    instance = await machine.create(both)
    found = await instance.status()
    assert (found.status, found.current_step, found.waiting_for) == ("running", "hold", None)
    hold.go.set()
    await machine.settle()
    found = await instance.status()
    assert (found.status, found.current_step, found.waiting_for.kind) == ("waiting", "nap", "sleep")


async def test_an_instance_that_finds_no_room_is_queued(running):
    hold = Held()
    shop = holding(hold)
    machine = await running(shop, options=EngineOptions(max_running=1, drain_ms=0))
    await machine.create(shop, id="first")
    second = await machine.create(shop, id="second")
    assert await status(second) == "queued"
    assert (await second.status()).started_at is None
    hold.go.set()
    assert await machine.output(second) == [2, "after"]


@pytest.mark.parametrize("way", ["pause", "terminate"])
async def test_an_instance_that_is_stopped_makes_room_for_the_next(running, way):
    hold = Held()
    shop = holding(hold)
    machine = await running(shop, quick, options=EngineOptions(max_running=1, drain_ms=0))
    first = await machine.create(shop, id="first")
    second = await machine.create(quick, id="second")
    await getattr(first, way)()
    if way == "pause":
        hold.go.set()
    assert await machine.output(second) == 42


# Creating and finding


async def test_of_instances_created_at_once_under_one_id_one_is_made(running):
    calls = []

    @flow
    async def counted(event, step):
        await step.do("call", lambda: calls.append(event.payload))

    machine = await running(counted)
    binding = machine.es.workflow(counted)
    made = await asyncio.gather(*(binding.create(id="one", params=n) for n in range(20)), return_exceptions=True)
    await machine.settle()
    refused = [one for one in made if isinstance(one, InstanceExistsError)]
    assert len(refused) == 19
    assert refused[0].code == "instance.already_exists"
    assert len(calls) == 1


async def test_an_id_that_exists_is_taken_even_when_its_instance_has_ended(running):
    machine = await running(quick)
    await machine.run(quick)
    with pytest.raises(InstanceExistsError, match="'one'"):
        await machine.create(quick)


async def test_get_or_create_returns_what_is_there(running):
    machine = await running(quick)
    await machine.run(quick)
    again = await machine.es.workflow(quick).get_or_create(id="one")
    assert await again.result() == 42


async def test_an_id_is_given_out_when_none_is_asked_for(running):
    machine = await running(quick)
    first = await machine.es.workflow(quick).create()
    await machine.advance(1)
    second = await machine.es.workflow(quick).create()
    assert first.id < second.id


@pytest.mark.parametrize("id_", ["", "-a", "a b", "a" * 101, "ä"])
async def test_an_impossible_id_is_refused(running, id_):
    machine = await running(quick)
    with pytest.raises(ValueError, match="id"):
        await machine.create(quick, id=id_)


async def test_an_unknown_id_is_an_error_that_names_it(running):
    machine = await running(quick)
    with pytest.raises(InstanceNotFoundError, match="'nobody'") as error:
        await machine.es.workflow(quick).get("nobody")
    assert error.value.code == "instance.not_found"


@pytest.mark.parametrize("verb", ["status", "result", "pause", "resume", "terminate", "restart"])
async def test_every_verb_refuses_an_unknown_id(running, verb):
    machine = await running(quick)
    with pytest.raises(InstanceNotFoundError):
        await getattr(machine.handle(quick, "nobody"), verb)()


class Typed(WorkflowEntrypoint[dict, dict[str, int]]):  # type: ignore[type-var]
    async def run(self, event, step):
        return event.payload


async def test_params_that_do_not_fit_their_type_are_refused(running):
    machine = await running(Typed)
    with pytest.raises(InvalidParamsError):
        await machine.create(Typed, {"a": "not a number"})
    assert await machine.run(Typed, {"a": 1}) == {"a": 1}


async def test_the_event_carries_what_the_instance_was_created_with(running):
    @flow
    async def look(event, step):
        return [event.payload, event.timestamp, event.instance_id, event.workflow_name, event.schedule]

    machine = await running(look)
    assert await machine.run(look, {"a": 1}) == [{"a": 1}, utc(START_MS), "one", "look", None]


async def test_workflows_reach_each_other_and_their_vars_through_env(running):
    class Parent(WorkflowEntrypoint):
        async def run(self, event, step):
            async def start_child():
                child = await self.env.QUICK.create(id="child")
                return child.id

            return [await step.do("start", start_child), self.env.REGION]

    machine = await running(Parent, quick, env={"REGION": "eu"})
    assert await machine.run(Parent) == ["child", "eu"]
    assert await machine.output(machine.handle(quick, "child")) == 42


# Results


async def test_a_result_waits_for_the_end(running):
    machine = await running(sleeper, clock=VirtualClock(auto=True))
    instance = await machine.es.workflow(sleeper).create(id="one")
    assert await instance.result() == "awake"


async def test_a_result_that_takes_too_long_is_a_timeout_that_says_where_the_instance_is(running):
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    result = asyncio.ensure_future(instance.result(timeout="30 minutes"))
    await machine.advance("29 minutes")
    assert not result.done()
    await machine.advance("1 minute")
    with pytest.raises(WorkflowTimeoutError, match=r"'one'.*30 min.*waiting"):
        await result
    assert await status(instance) == "waiting"


async def test_a_result_in_time_is_no_timeout(running):
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    result = asyncio.ensure_future(instance.result(timeout="61 minutes"))
    await machine.advance("1 hour")
    assert await result == "awake"


async def test_the_result_of_a_terminated_instance_is_an_error(running):
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    waiting = asyncio.ensure_future(instance.result())
    await machine.settle()
    await instance.terminate()
    with pytest.raises(InstanceTerminatedError):
        await waiting


async def test_many_can_wait_for_one_result(running):
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    results = [asyncio.ensure_future(instance.result()) for _ in range(5)]
    await machine.advance("1 hour")
    assert await asyncio.gather(*results) == ["awake"] * 5


# Pausing


async def test_a_pause_lets_the_attempt_in_flight_finish_and_keeps_its_result(running):
    hold = Held()
    machine = await running(shop := holding(hold))
    instance = await machine.create(shop)
    await instance.pause()
    await machine.settle()
    assert await status(instance) == "waitingForPause"
    hold.go.set()
    await machine.settle()
    found = await instance.status(steps=True)
    assert found.status == "paused"
    assert [(step.name, step.status, step.output) for step in found.steps] == [("hold", "complete", 1)]
    await machine.advance("1 day")
    assert await status(instance) == "paused"
    await instance.resume()
    assert await machine.output(instance) == [1, "after"]
    assert hold.calls == 1


async def test_a_pause_lets_every_branch_finish_its_attempt(running):
    holds = [Held(), Held()]

    @flow
    async def shop(event, step):
        return await asyncio.gather(*(step.do(f"hold {n}", hold) for n, hold in enumerate(holds)))

    machine = await running(shop)
    instance = await machine.create(shop)
    await instance.pause()
    holds[0].go.set()
    await machine.settle()
    assert await status(instance) == "waitingForPause"
    holds[1].go.set()
    await machine.settle()
    assert await status(instance) == "paused"
    await instance.resume()
    assert await machine.output(instance) == [1, 1]


async def test_a_pause_in_the_last_attempt_of_a_failing_step_keeps_its_error(running):
    go = asyncio.Event()
    calls = []

    async def charge():
        calls.append(1)
        await go.wait()
        raise ConnectionError("no route")

    @flow
    async def shop(event, step):
        await step.do("charge", {"retries": {"limit": 0}}, charge)

    machine = await running(shop)
    instance = await machine.create(shop)
    await instance.pause()
    go.set()
    await machine.settle()
    assert await status(instance) == "paused"
    await instance.resume()
    with pytest.raises(ConnectionError):
        await machine.output(instance)
    assert calls == [1]


async def test_a_pause_that_comes_about_leaves_no_branch_behind(running):
    hold, left = Held(), []

    @flow
    async def shop(event, step):
        async def branch():
            try:
                await step.do("hold", hold)
            finally:
                left.append("branch")

        tasks = [asyncio.create_task(branch())]
        await asyncio.wait(tasks)
        await step.do("after", lambda: 1)

    machine = await running(shop)
    instance = await machine.create(shop)
    await instance.pause()
    hold.go.set()
    await machine.settle()
    assert await status(instance) == "paused"
    assert left == ["branch"]


@pytest.mark.parametrize("workflow", [sleeper, waiter, retrier], ids=["sleep", "wait", "retry"])
async def test_a_pause_of_a_waiting_instance_is_immediate_and_its_timer_moves(running, workflow):
    machine = await running(workflow)
    instance = await machine.create(workflow)
    await machine.advance("20 minutes")
    await instance.pause()
    assert await status(instance) == "paused"
    await machine.advance("5 hours")
    assert await status(instance) == "paused"
    await instance.resume()
    await machine.settle()
    found = await instance.status()
    assert (found.status, found.wake_at) == ("waiting", utc(START_MS + 6 * HOUR))
    await machine.advance(40 * 60_000 - 1)
    assert (await instance.status()).wake_at == utc(START_MS + 6 * HOUR)
    await machine.advance(1)
    assert (await instance.status()).wake_at != utc(START_MS + 6 * HOUR)


async def test_a_pause_does_not_move_sleep_until(running):
    @flow
    async def until(event, step):
        await step.sleep_until("noon", utc(START_MS + HOUR))
        return machine.now

    machine = await running(until)
    instance = await machine.create(until)
    await machine.advance("20 minutes")
    await instance.pause()
    await machine.advance("20 minutes")
    await instance.resume()
    await machine.advance("20 minutes")
    assert await machine.output(instance) == START_MS + HOUR


async def test_a_sleep_until_that_passed_during_a_pause_ends_on_resuming(running):
    @flow
    async def until(event, step):
        await step.sleep_until("noon", utc(START_MS + HOUR))
        return "noon"

    machine = await running(until)
    instance = await machine.create(until)
    await instance.pause()
    await machine.advance("2 hours")
    await instance.resume()
    assert await machine.output(instance) == "noon"


async def test_a_queued_instance_can_be_paused(running):
    hold = Held()
    shop = holding(hold)
    machine = await running(shop, quick, options=EngineOptions(max_running=1, drain_ms=0))
    await machine.create(shop, id="first")
    second = await machine.create(quick, id="second")
    await second.pause()
    hold.go.set()
    await machine.settle()
    assert await status(second) == "paused"
    await second.resume()
    assert await machine.output(second) == 42


async def test_a_pause_that_has_not_come_about_can_be_taken_back(running):
    hold = Held()
    machine = await running(shop := holding(hold))
    instance = await machine.create(shop)
    await instance.pause()
    await instance.resume()
    assert await status(instance) == "running"
    hold.go.set()
    assert await machine.output(instance) == [1, "after"]


async def test_a_pause_taken_back_moves_sleeps_beside_it_by_its_length(running):
    hold = Held()

    @flow
    async def both(event, step):
        await asyncio.gather(step.do("hold", hold), step.sleep("nap", "1 hour"))
        return machine.now

    machine = await running(both)
    instance = await machine.create(both)
    await instance.pause()
    await machine.advance("2 minutes")
    await instance.resume()
    hold.go.set()
    await machine.advance("59 minutes")
    assert await status(instance) == "waiting"
    await machine.advance("1 minute")
    assert await machine.output(instance) == START_MS + 62 * 60_000


async def test_a_retry_delay_that_begins_under_a_pending_pause_is_not_lengthened_by_it(running):
    """Asked to pause at 0, the attempt fails at 5 minutes, resumed at 65: the whole delay is still to come."""
    go, times = asyncio.Event(), []

    async def charge():
        times.append((machine.now - START_MS) // 60_000)
        await go.wait()
        raise ConnectionError

    @flow
    async def shop(event, step):
        await step.do("charge", {"retries": {"limit": 1, "delay": "10 minutes"}}, charge)

    machine = await running(shop)
    instance = await machine.create(shop)
    await instance.pause()
    await machine.advance("5 minutes")
    go.set()
    await machine.settle()
    assert await status(instance) == "paused"
    await machine.advance("1 hour")
    await instance.resume()
    await machine.advance("10 minutes")
    assert times == [0, 75]


@pytest.mark.parametrize("kind", ["sleep", "wait"])
async def test_a_timer_does_not_begin_under_a_pending_pause(running, kind):
    """Asked to pause at 0, the branch gets to its wait at 5 minutes, resumed at 65: all of it is still to come."""
    hold, go = Held(), asyncio.Event()

    @flow
    async def both(event, step):
        async def late():
            await go.wait()
            if kind == "sleep":
                await step.sleep("nap", "10 minutes")
            else:
                with contextlib.suppress(TimeoutError):
                    await step.wait_for_event("tick", "tick", timeout="10 minutes")

        await asyncio.gather(step.do("hold", hold), late())
        return (machine.now - START_MS) // 60_000

    machine = await running(both)
    instance = await machine.create(both)
    await instance.pause()
    await machine.advance("5 minutes")
    go.set()
    await machine.settle()
    hold.go.set()
    await machine.settle()
    assert await status(instance) == "paused"
    await machine.advance("1 hour")
    await instance.resume()
    await machine.advance("10 minutes")
    assert await machine.output(instance) == 75


async def test_pausing_twice_and_resuming_twice_change_nothing(running):
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    await instance.pause()
    await machine.advance("10 minutes")
    await instance.pause()
    await machine.advance("10 minutes")
    await instance.resume()
    await machine.settle()
    await machine.advance("10 minutes")
    await instance.resume()
    await machine.settle()
    assert (await instance.status()).wake_at == utc(START_MS + HOUR + 20 * 60_000)


async def test_a_paused_instance_stays_paused_across_a_crash(running):
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    await instance.pause()
    await machine.reboot()
    await machine.advance("2 hours")
    assert await status(instance) == "paused"
    await instance.resume()
    await machine.advance("1 hour")
    assert await machine.output(instance) == "awake"


async def test_a_promised_pause_holds_across_a_crash(running):
    hold = Held()
    machine = await running(shop := holding(hold))
    instance = await machine.create(shop)
    await machine.advance("1 second")
    await instance.pause()
    await machine.reboot()
    assert await status(instance) == "paused"
    hold.go.set()
    await instance.resume()
    await machine.advance("10 seconds")
    assert await machine.output(instance) == [2, "after"]
    assert attempts_of(await instance.status(steps=True), "hold") == [
        (1, "errored", "AttemptInterruptedError"),
        (2, "complete", None),
    ]


# Every state, every verb


@flow
async def holder(event, step):
    await step.do("hold", asyncio.Event().wait)


async def in_state(machine, state: str):
    """Make an instance that is in `state`."""
    if state == "queued":
        await machine.create(holder, id="first")
        instance = await machine.create(sleeper)
    elif state in ("running", "waitingForPause"):
        instance = await machine.create(holder)
        if state == "waitingForPause":
            await instance.pause()
    elif state in ("waiting", "paused", "terminated"):
        instance = await machine.create(sleeper)
        if state == "paused":
            await instance.pause()
        elif state == "terminated":
            await instance.terminate()
    else:
        instance = await machine.create({"complete": quick, "errored": broken}[state])
    assert await status(instance) == state
    return instance


LIVE = ["queued", "running", "waiting", "paused", "waitingForPause"]
ENDED = ["complete", "errored", "terminated"]


EVERY = (holder, sleeper, quick, broken)


async def crowded(running, state: str):
    """Boot a machine with room for one instance if the state is `queued`."""
    room = 1 if state == "queued" else 100
    return await running(*EVERY, options=EngineOptions(max_running=room, drain_ms=0))


@pytest.mark.parametrize("state", LIVE)
async def test_a_live_instance_is_terminated_at_once(running, state):
    machine = await crowded(running, state)
    instance = await in_state(machine, state)
    await instance.terminate()
    assert await status(instance) == "terminated"
    await machine.advance("1 day")
    assert await status(instance) == "terminated"
    with pytest.raises(InstanceTerminatedError):
        await machine.output(instance)


async def test_terminating_cancels_the_attempt_in_flight(running):
    hold = Held()
    machine = await running(shop := holding(hold))
    instance = await machine.create(shop)
    await instance.terminate()
    await machine.settle()
    assert hold.cancelled == 1


async def test_nothing_is_recorded_after_a_termination(running, held):
    def stand():
        held.wait()
        return "late"

    @flow
    async def shop(event, step):
        await step.do("stand", stand)

    machine = await running(shop)
    instance = await machine.create(shop)
    await machine.advance("1 second")
    await instance.terminate()
    held.release()
    await machine.settle()
    assert [step.status for step in (await instance.status(steps=True)).steps] == ["cancelled"]


@pytest.mark.parametrize("state", [*LIVE, *ENDED])
async def test_an_instance_can_be_restarted_from_every_state(running, state):
    machine = await crowded(running, state)
    instance = await in_state(machine, state)
    await machine.advance("1 minute")
    await instance.restart()
    await machine.settle()
    found = await instance.status()
    expected = {"queued": "queued", "running": "running", "waitingForPause": "running", "complete": "complete"}
    assert found.status == expected.get(state, "errored" if state == "errored" else "waiting")
    assert found.created_at == utc(START_MS)
    assert found.started_at == (None if state == "queued" else utc(START_MS + 60_000))


async def test_a_restart_forgets_steps_timers_and_events_and_keeps_params(running):
    calls = []

    @flow
    async def shop(event, step):
        seen = await step.do("call", lambda: calls.append("call") or len(calls))
        await step.sleep("nap", "1 hour")
        try:
            await step.wait_for_event("tick", "tick", timeout="1 minute")
        except TimeoutError:
            return [event.payload, seen]

    machine = await running(shop)
    instance = await machine.create(shop, {"order": 1})
    await instance.send_event(type="tick")
    await machine.advance("30 minutes")
    await instance.restart()
    await machine.settle()
    assert (await instance.status()).wake_at == utc(START_MS + 90 * 60_000)
    await machine.advance("61 minutes")
    assert await machine.output(instance) == [{"order": 1}, 2]


async def test_a_restart_cancels_the_attempt_in_flight(running):
    hold = Held()
    machine = await running(shop := holding(hold))
    instance = await machine.create(shop)
    await instance.restart()
    await machine.settle()
    assert (hold.cancelled, hold.calls) == (1, 2)
    hold.go.set()
    assert await machine.output(instance) == [2, "after"]


async def test_whoever_waits_for_the_result_waits_on_through_a_restart(running):
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    result = asyncio.ensure_future(instance.result())
    await machine.advance("30 minutes")
    await instance.restart()
    await machine.advance("59 minutes")
    assert not result.done()
    await machine.advance("1 minute")
    assert await result == "awake"


CODES = {
    "pause": "instance.cannot_pause",
    "resume": "instance.cannot_resume",
    "terminate": "instance.cannot_terminate",
}


@pytest.mark.parametrize("state", ENDED)
@pytest.mark.parametrize("verb", CODES)
async def test_an_ended_instance_refuses_with_a_code(running, state, verb):
    machine = await running(*EVERY)
    instance = await in_state(machine, state)
    with pytest.raises(InstanceStateError, match=f"'one'.*{state}") as refused:
        await getattr(instance, verb)()
    assert refused.value.code == CODES[verb]
    assert await status(instance) == state


@pytest.mark.parametrize("state", [*LIVE, *ENDED])
async def test_a_state_survives_a_crash(running, state):
    machine = await crowded(running, state)
    instance = await in_state(machine, state)
    await machine.reboot()
    expected = {"waitingForPause": "paused", "queued": "waiting"}.get(state, state)
    if state == "queued":  # after the first instance has left the only place
        await machine.handle(holder, "first").terminate()
        await machine.settle()
    assert await status(instance) == expected


async def test_the_verbs_race_without_harm(running):
    """Whatever comes out, it is a status that says so, and the instance can still be ended."""
    hold = Held()
    machine = await running(shop := holding(hold))
    for n in range(30):
        instance = await machine.create(shop, id=f"i{n}")
        verbs = [instance.pause(), instance.resume(), instance.restart(), instance.pause(), instance.resume()]
        asked = [verbs[(n + k) % 5] for k in range(n % 6)]
        await asyncio.gather(*asked)
        for verb in verbs:
            verb.close()
        await machine.settle()
        assert await status(instance) in {"running", "paused", "waitingForPause"}
        await instance.resume()
        await machine.settle()
        assert await status(instance) == "running"
    hold.go.set()
    await machine.settle()
    for n in range(30):
        assert await status(machine.handle(shop, f"i{n}")) == "complete"
