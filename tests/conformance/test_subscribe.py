"""Following an instance."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from everstep import InstanceNotFoundError

from .factories import START, Flaky, Gate, chunks, flow, follow, one_step, quick, sleeper, swept, types_of


@flow
async def rich(event, step):
    await step.do("charge", {"retries": {"limit": 1, "delay": "10 seconds"}}, CHARGE[0])
    await step.sleep("nap", "1 hour")
    await step.wait_for_event("approval", "order.approval")
    return "done"


CHARGE = [Flaky()]


@pytest.fixture
async def ended(running):
    """An instance that has done a bit of everything."""
    CHARGE[0] = Flaky(failures=1)
    machine = await running(rich)
    instance = await machine.create(rich, {"order": 1})
    await machine.advance("2 hours")
    await instance.send_event(type="order.approval")
    await machine.settle()
    return instance


async def test_a_subscription_tells_everything_in_the_order_it_happened(ended):
    """I §2.7"""
    lifecycle = {"workflow_running", "workflow_waiting"}
    assert [type for type in await types_of(ended) if type not in lifecycle] == [
        "workflow_queued",
        "workflow_started",
        "step_started",
        "attempt_started",
        "attempt_errored",
        "attempt_started",
        "attempt_completed",
        "step_completed",
        "sleep_started",
        "sleep_completed",
        "wait_started",
        "wait_completed",
        "workflow_completed",
    ]


@pytest.mark.residency
async def test_every_event_has_a_number_a_time_a_type_and_the_instance(ended):
    """I §2.7, S §1.3"""
    events = await follow(ended)
    assert [event.event_id for event in events] == list(range(1, len(events) + 1))
    assert {event.instance_id for event in events} == {"one"}
    assert all(event.timestamp >= START for event in events)
    assert [event.timestamp for event in events] == sorted(event.timestamp for event in events)


async def test_the_events_carry_the_originals_facts(ended):
    """I §2.7, S §1.3"""
    by_type = {event.type: event for event in await follow(ended)}
    assert by_type["workflow_started"].params == {"order": 1}
    assert by_type["workflow_completed"].output == "done"
    assert by_type["step_started"].step_name == "charge-1"
    assert by_type["step_started"].config["retries"]["limit"] == 1
    assert by_type["step_completed"].output == 2
    assert (by_type["attempt_errored"].attempt, by_type["attempt_errored"].retry_delay_ms) == (1, 10_000)
    assert by_type["attempt_errored"].error.name == "ConnectionError"
    assert by_type["attempt_completed"].attempt == 2
    assert (by_type["sleep_started"].step_name, by_type["sleep_started"].duration_ms) == ("nap-1", 3_600_000)
    assert by_type["wait_started"].event_type == "order.approval"


async def test_a_failure_tells_its_error(running):
    """I §2.7"""
    machine = await running(shop := one_step(Flaky(), {"retries": {"limit": 0}}))
    by_type = {event.type: event for event in await follow(await machine.create(shop))}
    assert "step_errored" in by_type
    assert by_type["workflow_errored"].error.message == "no route"


@pytest.mark.residency
async def test_a_long_wait_is_told_as_waiting_and_running_again(running):
    """I §2.7"""
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    await machine.advance("1 hour")
    types = await types_of(instance)
    assert types.index("sleep_started") < types.index("workflow_waiting") < types.index("workflow_running")
    assert types.index("workflow_running") < types.index("workflow_completed")


async def test_a_termination_is_told(running):
    """I §2.7"""
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    await instance.terminate()
    assert (await types_of(instance))[-1] == "workflow_terminated"


async def test_a_pause_that_comes_about_is_told(running):
    """I §2.7"""
    machine = await running(shop := one_step(gate := Gate()))
    instance = await machine.create(shop)
    await instance.pause()
    gate.open()
    await machine.settle()
    await instance.terminate()
    assert "workflow_paused" in await types_of(instance)


async def test_a_pause_of_a_sleeping_instance_is_told(running):
    """I §2.7"""
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    await instance.pause()
    await instance.terminate()
    assert "workflow_paused" in await types_of(instance)


async def test_a_pause_that_waits_for_an_attempt_is_told_at_once(running):
    """I §2.7"""
    machine = await running(shop := one_step(Gate()))
    instance = await machine.create(shop)
    await instance.pause()
    await instance.terminate()
    assert "workflow_waiting_for_pause" in await types_of(instance)


async def test_a_cursor_skips_what_is_not_above_it(ended):
    """I §2.7, S §1.3"""
    events = await follow(ended)
    assert await follow(ended, cursor=5) == events[5:]


async def test_a_filter_leaves_the_numbers_as_they_are(ended):
    """I §2.7"""
    events = await follow(ended)
    wanted = {"step_started", "workflow_completed"}
    assert await follow(ended, filter=wanted) == [event for event in events if event.type in wanted]


async def test_a_subscription_ends_after_the_terminal_event_even_if_the_filter_hides_it(ended):
    """I §2.7"""
    assert await types_of(ended, filter=["sleep_started"]) == ["sleep_started"]


async def test_history_comes_first_and_then_what_happens(running):
    """I §2.7, S §1.3"""
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    seen = []

    async def listen():
        async for event in instance.subscribe(filter=["step_completed", "sleep_completed", "workflow_completed"]):
            seen.append(event.type)  # noqa: PERF401  # looked at while it grows

    with swept():
        listening = asyncio.ensure_future(listen())
        await machine.settle()
        assert seen == ["step_completed"]
        await machine.advance("1 hour")
        await asyncio.wait_for(listening, 5)
    assert seen == ["step_completed", "sleep_completed", "workflow_completed"]


async def test_history_survives_a_crash(running):
    """I §2.7, S §2.1"""
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    await machine.reboot()
    await machine.advance("1 hour")
    types = await types_of(instance)
    assert types.count("step_completed") == types.count("sleep_started") == types.count("sleep_completed") == 1


async def test_many_may_subscribe_and_all_see_the_same(ended):
    """I §2.7"""
    first, second = await asyncio.gather(follow(ended), follow(ended))
    assert first == second


@pytest.mark.parametrize("wrong", [{"cursor": -1}, {"cursor": 1.5}, {"filter": ["step_done"]}], ids=str)
async def test_bad_options_are_an_error(ended, wrong):
    """I §2.7"""
    with pytest.raises(ValueError, match=r"cursor|step_done"):
        await follow(ended, **wrong)


async def test_an_unknown_instance_cannot_be_followed(running):
    """I §2.3"""
    machine = await running(quick)
    with pytest.raises(InstanceNotFoundError):
        await follow(machine.handle(quick, "nobody"))


async def test_a_stream_is_told_without_its_bytes(running):
    """I §1.3.5, §2.7"""

    @flow
    async def shop(event, step):
        await step.do("export", lambda: chunks(b"\x00\xff123"))

    machine = await running(shop)
    by_type = {event.type: event for event in await follow(await machine.create(shop))}
    assert "5 bytes" in by_type["step_completed"].output


async def test_an_ended_instance_can_be_followed_as_long_as_it_is_kept(ended):
    """I §2.7"""
    assert await follow(ended) == await follow(ended)


async def test_times_of_events_are_those_of_what_happened(ended):
    """I §2.7"""
    by_type = {event.type: event.timestamp - START for event in await follow(ended)}
    assert by_type["sleep_started"] == timedelta(seconds=10)
    assert by_type["sleep_completed"] == timedelta(hours=1, seconds=10)
    assert by_type["workflow_completed"] == timedelta(hours=2)


async def test_a_subscription_that_ended_leaves_nothing_behind(ended):
    """I §2.7 (disposable)"""
    before = asyncio.all_tasks()
    with swept():
        async for _ in ended.subscribe():
            pass
        await asyncio.sleep(0)
        assert asyncio.all_tasks() - before == set()
