"""Subscriptions: numbered events, history first, then live, the same whenever they are read."""

from __future__ import annotations

import asyncio

import pytest

from everstep import InstanceNotFoundError
from everstep.engine.runtime.options import EngineOptions

from .virtual import flow


async def read(instance, **options):
    return [event async for event in instance.subscribe(**options)]


def told(events):
    return [(event.event_id, event.type, event.step_name, event.attempt) for event in events]


def types(events):
    return [event.type for event in events]


class Follower:
    """Reads an instance's events as they come."""

    def __init__(self, instance, **options) -> None:
        self.events = []
        self.task = asyncio.ensure_future(self._follow(instance, options))

    async def _follow(self, instance, options):
        async for event in instance.subscribe(**options):
            self.events.append(event)


async def ended(*followers):
    for follower in followers:
        follower.task.cancel()
    await asyncio.wait([follower.task for follower in followers])


def shop(ran=None):
    tries = [] if ran is None else ran

    async def charge():
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("no route")
        return "paid"

    @flow
    async def order(event, step):
        await step.do("check", lambda: "fine")
        await step.sleep("nap", "1 hour")
        await step.do("charge", {"retries": {"limit": 3, "delay": "10 seconds"}}, charge)
        await step.wait_for_event("approval", "ok")
        try:
            await step.wait_for_event("never", "never", timeout="1 minute")
        except TimeoutError:
            pass
        return "done"

    return order


async def finish(machine, instance):
    await machine.advance("1 hour")
    await machine.advance("10 seconds")
    await instance.send_event(type="ok", payload=1)
    await machine.settle()
    await machine.advance("1 minute")


@pytest.fixture(params=[0, 1_000], ids=["evicted", "cached"])
def options(request):
    return EngineOptions(max_cached=request.param, drain_ms=0)


async def test_the_history_of_an_ended_instance_tells_everything_in_order(running):
    order = shop()
    machine = await running(order)
    instance = await machine.create(order, {"n": 1})
    await finish(machine, instance)
    events = await read(instance)
    assert [event.event_id for event in events] == list(range(1, len(events) + 1))
    steps = [one for one in told(events) if one[2]]
    assert [one[1:] for one in steps] == [
        ("step_started", "check-1", None),
        ("attempt_started", "check-1", 1),
        ("attempt_completed", "check-1", 1),
        ("step_completed", "check-1", None),
        ("sleep_started", "nap-1", None),
        ("sleep_completed", "nap-1", None),
        ("step_started", "charge-1", None),
        ("attempt_started", "charge-1", 1),
        ("attempt_errored", "charge-1", 1),
        ("attempt_started", "charge-1", 2),
        ("attempt_completed", "charge-1", 2),
        ("step_completed", "charge-1", None),
        ("wait_started", "approval-1", None),
        ("wait_completed", "approval-1", None),
        ("wait_started", "never-1", None),
        ("wait_timed_out", "never-1", None),
    ]
    assert types(events)[:2] == ["workflow_queued", "workflow_started"]
    assert events[1].params == {"n": 1}
    assert (events[-1].type, events[-1].output) == ("workflow_completed", "done")
    [errored] = [event for event in events if event.type == "attempt_errored"]
    assert (errored.error.name, errored.retry_delay_ms) == ("ConnectionError", 10_000)


async def test_events_come_live_and_are_the_same_when_they_are_read_later(running, options):
    order = shop()
    machine = await running(order, options=options)
    instance = await machine.create(order)
    follower = Follower(instance)
    await machine.settle()
    before = len(follower.events)
    await finish(machine, instance)
    await asyncio.wait_for(follower.task, 5)
    assert 2 < before < len(follower.events)
    assert told(follower.events) == told(await read(instance)) == told(await read(instance))


async def test_numbers_stay_the_same_over_a_reboot(running):
    order = shop()
    machine = await running(order)
    instance = await machine.create(order)
    follower = Follower(instance)
    await machine.settle()
    follower.task.cancel()
    early = told(follower.events)
    await machine.reboot()
    await finish(machine, instance)
    assert told(await read(instance))[: len(early)] == early
    ended = told(await read(instance))
    await machine.reboot()
    assert told(await read(instance)) == ended


async def test_a_cursor_skips_what_was_seen(running):
    order = shop()
    machine = await running(order)
    instance = await machine.create(order)
    await finish(machine, instance)
    events = await read(instance)
    assert told(await read(instance, cursor=7)) == told(events[7:])
    assert await read(instance, cursor=10_000) == []


async def test_a_filter_leaves_numbers_as_they_are_and_still_ends(running):
    order = shop()
    machine = await running(order)
    instance = await machine.create(order)
    await finish(machine, instance)
    wanted = {"step_completed", "sleep_started"}
    expected = [event for event in await read(instance) if event.type in wanted]
    assert told(await read(instance, filter=wanted)) == told(expected)
    assert await read(instance, filter=[]) == []


@pytest.mark.parametrize("options", [{"cursor": -1}, {"cursor": True}, {"cursor": 1.5}, {"filter": ["step_complete"]}])
async def test_options_that_mean_nothing_are_refused(running, options):
    machine = await running(shop())
    instance = await machine.create(machine.workflows[0])
    with pytest.raises(ValueError, match=r"cursor|events"):
        await read(instance, **options)


async def test_subscribing_to_an_instance_that_does_not_exist_is_an_error(running):
    machine = await running(shop())
    with pytest.raises(InstanceNotFoundError):
        await read(machine.handle(machine.workflows[0], "nobody"))


@pytest.mark.parametrize(("verb", "last"), [("terminate", "workflow_terminated"), ("delete", None)])
async def test_a_live_subscription_ends_with_its_instance(running, verb, last):
    order = shop()
    machine = await running(order)
    instance = await machine.create(order)
    follower = Follower(instance)
    await machine.settle()
    await getattr(instance, verb)()
    await asyncio.wait_for(follower.task, 5)
    if last is not None:
        assert follower.events[-1].type == last


async def test_a_failure_and_its_rollback_are_told(running, options):
    async def undo(rb):
        pass

    async def fails():
        raise ValueError("no stock")

    @flow
    async def order(event, step):
        await step.do("a", {"rollback": undo}, lambda: 1)
        await step.do("b", {"retries": {"limit": 0}}, fails)

    machine = await running(order, options=options)
    instance = await machine.create(order)
    await machine.settle()
    events = await read(instance)
    # The step's failure, then the rollback of the one before, then both ends.
    tail = [type for type in types(events) if type not in ("workflow_waiting", "workflow_running")]
    tail = tail[tail.index("attempt_errored") :]
    assert tail == [
        "attempt_errored",
        "step_errored",
        "rollback_started",
        "rollback_step_started",
        "rollback_attempt_started",
        "rollback_attempt_completed",
        "rollback_step_completed",
        "rollback_completed",
        "workflow_errored",
    ]
    assert events[-1].error.name == "ValueError"
    assert [event.step_name for event in events if event.type == "rollback_step_started"] == ["a-1"]


async def test_a_rollback_that_fails_is_told(running):
    async def undo(rb):
        raise ConnectionError("no")

    @flow
    async def order(event, step):
        await step.do("a", {"rollback": undo, "rollback_config": {"retries": {"limit": 0}}}, lambda: 1)
        raise ValueError("no stock")

    machine = await running(order)
    events = await read(await machine.create(order))
    assert types(events)[-5:] == [
        "rollback_attempt_started",
        "rollback_attempt_errored",
        "rollback_step_errored",
        "rollback_errored",
        "workflow_errored",
    ]
    [errored] = [event for event in events if event.type == "rollback_errored"]
    assert errored.error.name == "ConnectionError"


async def test_parallel_steps_have_one_order_for_every_reader(running, options):
    @flow
    async def order(event, step):
        async def branch(name, minutes):
            await step.sleep(f"{name} nap", f"{minutes} minutes")
            return await step.do(name, lambda: name)

        return await asyncio.gather(branch("a", 3), branch("b", 1), branch("c", 2))

    machine = await running(order, options=options)
    instance = await machine.create(order)
    followers = [Follower(instance)]
    for _ in range(3):
        await machine.advance("1 minute")
        followers.append(Follower(instance))
    await machine.settle()
    await asyncio.wait_for(asyncio.gather(*(one.task for one in followers)), 5)
    last = told(await read(instance))
    assert all(told(one.events) == last for one in followers)
    assert [one[0] for one in last] == list(range(1, len(last) + 1))


async def test_pausing_and_resuming_are_told(running):
    order = shop()
    machine = await running(order)
    instance = await machine.create(order)
    await instance.pause()
    await machine.settle()
    await instance.resume()
    await machine.settle()
    await finish(machine, instance)
    assert "workflow_paused" in types(await read(instance))


async def test_a_sensitive_output_stays_hidden(running):
    @flow
    async def order(event, step):
        await step.do("secret", {"sensitive": "output"}, lambda: "4242")
        return "done"

    machine = await running(order)
    events = await read(await machine.create(order))
    assert [event.output for event in events if event.type == "step_completed"] == ["[REDACTED]"]
    assert "4242" not in repr(events)


async def test_a_child_is_a_step_of_its_parents_events(running):
    @flow
    async def child(event, step):
        return 7

    @flow
    async def parent(event, step):
        return await step.run_workflow("child", child)

    machine = await running(parent, child)
    instance = await machine.create(parent)
    await machine.settle()
    events = [(event.type, event.output) for event in await read(instance) if event.step_name == "child-1"]
    assert events == [("step_started", None), ("step_completed", 7)]


@flow
async def two_steps(event, step):
    await step.do("a", lambda: 1)
    await step.do("b", lambda: 2)


async def lives(running, **restart):
    """Return an instance that was restarted, and its events before and after."""
    machine = await running(two_steps)
    instance = await machine.create(two_steps)
    await machine.settle()
    before = await read(instance)
    await instance.restart(**restart)
    await machine.settle()
    return instance, before, await read(instance)


@pytest.mark.parametrize("restart", [{}, {"from_step": "b"}, {"from_step": "a"}], ids=["whole", "from b", "from a"])
async def test_a_cursor_of_the_life_before_brings_every_event_of_this_one_once(running, restart):
    instance, before, after = await lives(running, **restart)
    assert types(after)[0] == "workflow_queued"
    assert types(after)[-1] == "workflow_completed"
    numbers = [event.event_id for event in after]
    assert numbers == list(range(numbers[0], numbers[0] + len(after)))
    assert numbers[0] > before[-1].event_id
    assert await read(instance, cursor=before[-1].event_id) == after
    assert await read(instance, cursor=after[3].event_id) == after[4:]


async def test_numbers_rise_over_many_restarts_and_a_reboot(running):
    machine = await running(two_steps)
    instance = await machine.create(two_steps)
    await machine.settle()
    last = (await read(instance))[-1].event_id
    for restart in ({}, {"from_step": "b"}, {}, {"from_step": "a"}, {"from_step": "b"}):
        await instance.restart(**restart)
        await machine.reboot()
        await machine.settle()
        instance = await machine.es.workflow(two_steps).get(instance.id)
        events = await read(instance, cursor=last)
        assert types(events)[0] == "workflow_queued"
        assert await read(instance) == events
        last = events[-1].event_id


@pytest.mark.parametrize("restart", [{}, {"from_step": "wait", "type": "waitForEvent"}], ids=["whole", "from a step"])
async def test_who_follows_a_running_instance_hears_of_its_restart(running, restart):
    @flow
    async def waits(event, step):
        await step.do("before", lambda: 1)
        await step.wait_for_event("wait", "go")

    machine = await running(waits)
    instance = await machine.create(waits)
    await machine.settle()
    follower = Follower(instance)
    await machine.settle()
    before = list(follower.events)
    await instance.restart(**restart)
    await machine.settle()
    await instance.send_event(type="go")
    await machine.settle()
    await follower.task
    assert follower.events[: len(before)] == before
    assert follower.events[len(before) :] == await read(instance)
    assert len({event.event_id for event in follower.events}) == len(follower.events)


async def test_who_follows_from_before_the_first_row_hears_of_a_restart(running):
    machine = await running(two_steps, options=EngineOptions(max_running=0, drain_ms=0))
    instance = await machine.create(two_steps)
    follower = Follower(instance)
    await machine.settle()
    await instance.restart()
    await machine.settle()
    later = Follower(instance, cursor=1)
    await machine.settle()
    assert types(follower.events) == ["workflow_queued", "workflow_queued"]
    assert follower.events[1:] == later.events
    await ended(follower, later)


async def test_an_end_that_is_taken_back_moves_no_number(running):
    names = ["first"]

    @flow
    async def changes(event, step):
        await step.do(names[0], lambda: 1)
        await step.sleep("nap", "1 hour")

    machine = await running(changes, options=EngineOptions(max_cached=0, drain_ms=0))
    instance = await machine.create(changes)
    await machine.settle()
    names[0] = "second"
    await machine.advance("1 hour")
    stopped = await read(instance)
    assert types(stopped)[-1] == "workflow_errored"
    names[0] = "first"
    await instance.resume()
    await machine.settle()
    events = await read(instance)
    assert told(events)[: len(stopped)] == told(stopped)
    assert await read(instance, cursor=stopped[-1].event_id) == events[len(stopped) :]
    assert types(events)[-1] == "workflow_completed"


async def test_a_pause_before_the_start_has_the_same_number_whenever_it_is_read(running):
    machine = await running(two_steps)
    await machine.stop()
    machine.options = EngineOptions(max_running=0, drain_ms=0)
    await machine.boot()
    instance = await machine.create(two_steps)
    follower = Follower(instance)
    await machine.settle()
    await instance.pause()
    await machine.settle()
    await instance.resume()
    await ended(follower)
    await machine.stop()
    machine.options = None
    await machine.boot()
    await machine.settle()
    events = await read(await machine.es.workflow(two_steps).get(instance.id))
    assert types(events)[:3] == ["workflow_queued", "workflow_paused", "workflow_started"]
    assert told(events)[: len(follower.events)] == told(follower.events)
