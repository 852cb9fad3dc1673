"""Waiting for events."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import pytest

from everstep import WorkflowTimeoutError

from .factories import AWAY, START, flow, state, types_of, wake_after


def waiting(type="approval", **options):
    """Make a workflow that waits for one event."""

    @flow
    async def shop(event, step):
        got = await step.wait_for_event("wait", type, **options)
        return [got.payload, got.timestamp, got.type]

    return shop


@pytest.mark.parametrize("options", [None, AWAY], ids=["in memory", "away"])
async def test_a_wait_returns_the_payload_the_moment_it_was_sent_and_the_type(running, options):
    """I §1.3.8, S §1.2"""
    machine = await running(shop := waiting(), options=options)
    instance = await machine.create(shop)
    await machine.advance("1 minute")
    await instance.send_event(type="approval", payload={"ok": True})
    assert await machine.output(instance) == [{"ok": True}, START + timedelta(minutes=1), "approval"]


@pytest.mark.parametrize("type", ["order.approval", "a", "A-b_c.1", "9", "_x", "x" * 100])
async def test_an_event_type_is_up_to_100_letters_digits_dots_hyphens_and_underscores(running, type):
    """I §1.3.8, S §1.2, §5 (no dots in the original)"""
    machine = await running(shop := waiting(type))
    instance = await machine.create(shop)
    await instance.send_event(type=type)
    assert (await machine.output(instance))[2] == type


@pytest.mark.parametrize("type", ["", "-a", ".a", "a b", "a/b", "ä", "x" * 101, "a\n"])
async def test_an_impossible_event_type_is_refused_by_the_wait_and_by_the_sender(running, type):
    """I §1.3.8, S §5"""
    machine = await running(shop := waiting(type))
    instance = await machine.create(shop)
    assert (await instance.status()).error.name == "InvalidNameError"
    with pytest.raises(ValueError, match="event type"):
        await instance.send_event(type=type)


async def test_types_match_exactly(running):
    """I §1.3.8"""
    machine = await running(shop := waiting("order.approval"))
    instance = await machine.create(shop)
    for type in ("order", "order.approval.x", "Order.approval", "order-approval"):
        await instance.send_event(type=type)
    await machine.settle()
    assert await state(instance) == "waiting"


async def test_a_wait_times_out_after_24_hours_unless_told_otherwise(running):
    """I §1.3.8, S §1.2"""
    machine = await running(shop := waiting())
    assert await wake_after(await machine.create(shop)) == timedelta(hours=24)


async def test_a_wait_that_nobody_answers_raises_workflow_timeout_error(running):
    """I §1.3.8"""
    machine = await running(shop := waiting(timeout="1 hour"))
    instance = await machine.create(shop)
    await machine.advance("1 hour")
    found = await instance.status()
    assert (found.status, found.error.name) == ("errored", "WorkflowTimeoutError")
    with pytest.raises(WorkflowTimeoutError, match=r"'approval'.*'wait'"):
        await instance.result()


async def test_a_timeout_can_be_caught_and_is_raised_again_on_replay(running):
    """I §1.3.8"""
    seen = []

    @flow
    async def shop(event, step):
        try:
            await step.wait_for_event("wait", "approval", timeout="1 hour")
        except WorkflowTimeoutError as error:
            seen.append(str(error))
        await step.sleep("nap", "1 hour")
        return "went on"

    machine = await running(shop, options=AWAY)
    instance = await machine.create(shop)
    await machine.advance("1 hour")
    await instance.send_event(type="approval")
    await machine.advance("1 hour")
    assert await machine.output(instance) == "went on"
    assert len(seen) >= 2
    assert len(set(seen)) == 1


@pytest.mark.parametrize("zero", [0, "0 seconds", timedelta(0)])
async def test_a_timeout_of_0_is_refused(running, zero):
    """I §1.3.8 (24 hours in the original's local engine)"""
    machine = await running(shop := waiting(timeout=zero))
    assert (await (await machine.create(shop)).status()).error.name == "ValueError"


async def test_a_timeout_is_at_most_365_days(running):
    """I §1.3.8, S §5"""
    longest, longer = waiting(timeout="365 days"), waiting(timeout="366 days")
    assert await state(await (await running(longest)).create(longest)) == "waiting"
    found = await (await (await running(longer)).create(longer)).status()
    assert (found.error.name, "365 days" in found.error.message) == ("ValueError", True)


@pytest.mark.parametrize("number", [10, 60_000])
async def test_a_timeout_of_a_bare_number_is_refused(running, number):
    """S §1.2"""
    machine = await running(shop := waiting(timeout=number))
    assert (await (await machine.create(shop)).status()).error.name == "TypeError"


async def test_a_timeout_is_fixed_when_the_wait_first_begins(running):
    """I §2.6, S §1.2"""
    machine = await running(shop := waiting(timeout="1 hour"))
    instance = await machine.create(shop)
    await machine.advance("40 minutes")
    await machine.reboot()
    assert await wake_after(instance) == timedelta(hours=1)


@dataclass
class Approval:
    approved: bool
    by: str = "nobody"


async def test_a_declared_payload_is_restored_live_and_on_replay(running):
    """S §1.2"""
    seen = []

    @flow
    async def shop(event, step):
        seen.append((await step.wait_for_event("wait", "approval", payload=Approval)).payload)
        await step.sleep("nap", "1 hour")

    machine = await running(shop, options=AWAY)
    instance = await machine.create(shop)
    await instance.send_event(type="approval", payload={"approved": True})
    await machine.advance("1 hour")
    assert seen[-1] == Approval(True)
    assert all(one == Approval(True) for one in seen)


async def test_an_event_without_payload_carries_none(running):
    """S §1.3"""
    machine = await running(shop := waiting())
    instance = await machine.create(shop)
    await instance.send_event(type="approval")
    assert (await machine.output(instance))[0] is None


@pytest.mark.parametrize("options", [None, AWAY], ids=["in memory", "away"])
async def test_several_waits_for_one_type_are_served_first_come_first_served(running, options):
    """I §1.3.8, §2.6, S §2.5"""

    @flow
    async def shop(event, step):
        got = await asyncio.gather(*(step.wait_for_event(f"w{n}", "tick") for n in range(3)))
        return [one.payload for one in got]

    machine = await running(shop, options=options)
    instance = await machine.create(shop)
    for n in range(3):
        await instance.send_event(type="tick", payload=n)
        await machine.settle()
    assert await machine.output(instance) == [0, 1, 2]


async def test_waits_can_be_raced(running):
    """I §1.3.8"""

    @flow
    async def shop(event, step):
        waits = [asyncio.ensure_future(step.wait_for_event(type, type)) for type in ("yes", "no")]
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        [first] = done
        return first.result().type

    machine = await running(shop)
    instance = await machine.create(shop)
    await instance.send_event(type="no")
    assert await machine.output(instance) == "no"


async def test_a_wait_that_timed_out_does_not_swallow_a_later_event(running):
    """I §2.6"""

    @flow
    async def shop(event, step):
        try:
            await step.wait_for_event("first", "tick", timeout="1 minute")
        except TimeoutError:
            return (await step.wait_for_event("second", "tick")).payload

    machine = await running(shop)
    instance = await machine.create(shop)
    await machine.advance("1 minute")
    await instance.send_event(type="tick", payload="late")
    assert await machine.output(instance) == "late"


async def test_subscribers_are_told_of_a_timeout(running):
    """I §2.7"""
    machine = await running(shop := waiting(timeout="1 minute"))
    instance = await machine.create(shop)
    await machine.advance("1 minute")
    assert "wait_timed_out" in await types_of(instance)
