"""Events: whoever waits gets each once, in the order they came."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from everstep import InstanceStateError, WorkflowTimeoutError
from everstep.core.timestamps import utc
from everstep.engine.runtime.options import EngineOptions

from .virtual import START_MS, flow


@flow
async def approval(event, step):
    decision = await step.wait_for_event("approval", "order.approval", timeout="1 hour")
    return [decision.payload, decision.type, decision.timestamp]


async def test_an_event_ends_the_wait_for_its_type(running):
    machine = await running(approval)
    instance = await machine.create(approval)
    await machine.advance("1 minute")
    await instance.send_event(type="order.approval", payload={"ok": True})
    assert await machine.output(instance) == [{"ok": True}, "order.approval", utc(START_MS + 60_000)]


async def test_an_event_sent_before_its_wait_is_kept(running):
    @flow
    async def later(event, step):
        await step.sleep("first", "1 hour")
        return (await step.wait_for_event("approval", "approval")).payload

    machine = await running(later)
    instance = await machine.create(later)
    await instance.send_event(type="approval", payload=1)
    await machine.reboot()
    await machine.advance("1 hour")
    assert await machine.output(instance) == 1


async def test_an_event_without_a_payload_carries_none(running):
    machine = await running(approval)
    instance = await machine.create(approval)
    await instance.send_event(type="order.approval")
    assert (await machine.output(instance))[0] is None


async def test_an_event_of_another_type_ends_nothing(running):
    machine = await running(approval)
    instance = await machine.create(approval)
    await instance.send_event(type="order.refusal")
    await machine.settle()
    assert (await instance.status()).status == "waiting"


@pytest.mark.parametrize("max_cached", [0, 10])
async def test_events_of_one_type_are_received_in_the_order_they_came(running, max_cached):
    @flow
    async def receiver(event, step):
        return [(await step.wait_for_event("next", "tick")).payload for _ in range(6)]

    machine = await running(receiver, options=EngineOptions(max_cached=max_cached))
    instance = await machine.create(receiver)
    for n in (1, 2):
        await instance.send_event(type="tick", payload=n)
    await machine.settle()
    await asyncio.gather(*(instance.send_event(type="tick", payload=n) for n in (3, 4)))
    await machine.reboot()
    for n in (5, 6):
        await instance.send_event(type="tick", payload=n)
    assert await machine.output(instance) == [1, 2, 3, 4, 5, 6]


async def test_types_have_queues_of_their_own(running):
    @flow
    async def receiver(event, step):
        b = await step.wait_for_event("b", "b")
        a = await step.wait_for_event("a", "a")
        return [a.payload, b.payload]

    machine = await running(receiver)
    instance = await machine.create(receiver)
    await instance.send_event(type="a", payload=1)
    await instance.send_event(type="b", payload=2)
    assert await machine.output(instance) == [1, 2]


@pytest.mark.parametrize("max_cached", [0, 10])
async def test_two_waits_for_one_type_are_served_in_the_order_they_began(running, max_cached):
    @flow
    async def receiver(event, step):
        first, second = await asyncio.gather(
            step.wait_for_event("first", "tick"), step.wait_for_event("second", "tick")
        )
        return [first.payload, second.payload]

    machine = await running(receiver, options=EngineOptions(max_cached=max_cached))
    instance = await machine.create(receiver)
    await instance.send_event(type="tick", payload=1)
    await machine.settle()
    await instance.send_event(type="tick", payload=2)
    assert await machine.output(instance) == [1, 2]


async def test_two_waits_for_one_type_share_events_that_came_early(running):
    @flow
    async def receiver(event, step):
        await step.sleep("first", "1 minute")
        first, second = await asyncio.gather(
            step.wait_for_event("first", "tick"), step.wait_for_event("second", "tick")
        )
        return [first.payload, second.payload]

    machine = await running(receiver)
    instance = await machine.create(receiver)
    await instance.send_event(type="tick", payload=1)
    await instance.send_event(type="tick", payload=2)
    await machine.advance("1 minute")
    assert await machine.output(instance) == [1, 2]


def in_other_order_on_replay(seconds: int):
    """Make a workflow of two waits: `first` began first, and a replay reaches `second` first."""

    async def look():
        for _ in range(10):
            await asyncio.sleep(0)

    @flow
    async def receiver(event, step):
        async def after_a_step():
            await step.do("look", look)
            return (await step.wait_for_event("second", "tick")).payload

        async def soon():
            for _ in range(3):
                await asyncio.sleep(0)
            return (await step.wait_for_event("first", "tick")).payload

        found = await asyncio.gather(after_a_step(), soon(), step.sleep("nap", f"{seconds} seconds"))
        return found[:2]

    return receiver


async def test_a_replay_serves_waits_in_the_order_they_first_began(running):
    receiver = in_other_order_on_replay(0)
    machine = await running(receiver, options=EngineOptions(max_cached=0))
    instance = await machine.create(receiver)
    await instance.send_event(type="tick", payload="to the first")
    await machine.settle()
    await instance.send_event(type="tick", payload="to the second")
    assert await machine.output(instance) == ["to the second", "to the first"]


async def test_waits_that_a_replay_put_in_memory_are_served_in_the_order_they_first_began(running):
    receiver = in_other_order_on_replay(60)
    machine = await running(receiver)
    instance = await machine.create(receiver)
    await machine.reboot()
    await machine.advance("1 minute")
    assert await machine.in_memory(instance)
    await instance.send_event(type="tick", payload="to the first")
    await instance.send_event(type="tick", payload="to the second")
    assert await machine.output(instance) == ["to the second", "to the first"]


@pytest.mark.parametrize("turns", range(16))
async def test_an_event_that_comes_during_a_replay_goes_to_the_wait_that_began_first(running, turns):
    receiver = in_other_order_on_replay(1)
    machine = await running(receiver)
    instance = await machine.create(receiver)
    await machine.advance("1 second")
    await instance.pause()
    await instance.resume()
    for _ in range(turns):
        await asyncio.sleep(0)
    await instance.send_event(type="tick", payload="to the first")
    await machine.settle()
    await instance.send_event(type="tick", payload="to the second")
    assert await machine.output(instance) == ["to the second", "to the first"]


async def test_an_event_is_consumed_once_across_a_crash(running):
    @flow
    async def receiver(event, step):
        first = await step.wait_for_event("first", "tick")
        await step.sleep("a while", "1 minute")
        try:
            second = await step.wait_for_event("second", "tick", timeout="1 minute")
        except WorkflowTimeoutError:
            return [first.payload]
        return [first.payload, second.payload]

    machine = await running(receiver)
    instance = await machine.create(receiver)
    await instance.send_event(type="tick", payload=1)
    await machine.settle()
    await machine.reboot()
    await machine.advance("2 minutes")
    assert await machine.output(instance) == [1]


async def test_an_event_that_was_handed_out_but_not_recorded_is_handed_out_again_after_a_crash(running):
    machine = await running(approval)
    instance = await machine.create(approval)
    await instance.send_event(type="order.approval", payload=1)
    await machine.reboot()  # the wait has its event, and its record is not on disk
    assert (await machine.output(instance))[0] == 1


async def test_a_wait_that_times_out_ends_an_instance_that_does_not_catch_it(running):
    machine = await running(approval)
    instance = await machine.create(approval)
    await machine.advance("1 hour")
    with pytest.raises(WorkflowTimeoutError, match=r"no event 'order\.approval' came for step 'approval' in 1 h"):
        await machine.output(instance)
    assert (await instance.status()).error.name == "WorkflowTimeoutError"


async def test_a_wait_that_times_out_can_be_caught_live_and_on_replay(running):
    @flow
    async def patient(event, step):
        try:
            await step.wait_for_event("approval", "approval", timeout="1 hour")
        except TimeoutError:
            await step.sleep("a while", "1 minute")
            return "nobody came"

    machine = await running(patient)
    instance = await machine.create(patient)
    await machine.advance("1 hour")
    await machine.reboot()
    await machine.advance("1 minute")
    assert await machine.output(instance) == "nobody came"


async def test_a_wait_times_out_after_24_hours_unless_told_otherwise(running):
    @flow
    async def patient(event, step):
        await step.wait_for_event("approval", "approval")

    machine = await running(patient)
    instance = await machine.create(patient)
    assert (await instance.status()).wake_at == utc(START_MS + 24 * 3_600_000)


async def test_a_timeout_is_fixed_when_the_wait_begins(running):
    machine = await running(approval)
    instance = await machine.create(approval)
    await machine.advance("30 minutes")
    await machine.reboot()
    await machine.advance("30 minutes")
    assert (await instance.status()).status == "errored"


async def test_an_event_after_a_timeout_goes_to_the_next_wait(running):
    @flow
    async def patient(event, step):
        for attempt in range(2):
            try:
                return [attempt, (await step.wait_for_event("approval", "approval", timeout="1 hour")).payload]
            except TimeoutError:
                continue
        return "nobody came"

    machine = await running(patient)
    instance = await machine.create(patient)
    await machine.advance("90 minutes")
    await instance.send_event(type="approval", payload="late")
    assert await machine.output(instance) == [1, "late"]


@dataclasses.dataclass
class Decision:
    approved: bool
    by: str


async def test_a_declared_payload_is_restored_live_and_on_replay(running):
    seen = []

    @flow
    async def typed(event, step):
        seen.append((await step.wait_for_event("approval", "approval", payload=Decision)).payload)
        await step.sleep("a while", "1 minute")
        return seen[-1].by

    machine = await running(typed)
    instance = await machine.create(typed)
    await instance.send_event(type="approval", payload={"approved": True, "by": "ada"})
    await machine.settle()
    await machine.reboot()
    await machine.advance("1 minute")
    assert await machine.output(instance) == "ada"
    assert set(map(repr, seen)) == {repr(Decision(approved=True, by="ada"))}


@pytest.mark.parametrize("type_", ["", "a" * 101, "line\nbreak"])
async def test_an_impossible_event_type_is_an_error(running, type_):
    machine = await running(approval)
    instance = await machine.create(approval)
    with pytest.raises(ValueError, match="type"):
        await instance.send_event(type=type_)


async def test_an_event_to_an_instance_that_has_ended_is_refused(running):
    machine = await running(approval)
    instance = await machine.create(approval)
    await instance.terminate()
    with pytest.raises(InstanceStateError) as refused:
        await instance.send_event(type="order.approval")
    assert refused.value.code == "instance.cannot_receive"


async def test_an_event_sent_to_a_paused_instance_is_received_after_it_resumes(running):
    machine = await running(approval)
    instance = await machine.create(approval)
    await instance.pause()
    await instance.send_event(type="order.approval", payload=1)
    await machine.settle()
    assert (await instance.status()).status == "paused"
    await instance.resume()
    assert (await machine.output(instance))[0] == 1


async def test_events_race_a_step_that_takes_one_of_them(running):
    """Sent from within the workflow's own step: the event is there before the wait begins."""

    @flow
    async def selfish(event, step):
        async def send():
            own = await selfish_binding().get(event.instance_id)
            await own.send_event(type="self", payload=7)

        await step.do("send", send)
        return (await step.wait_for_event("own", "self")).payload

    def selfish_binding():
        return machine.es.workflow(selfish)

    machine = await running(selfish)
    assert await machine.run(selfish) == 7


@pytest.mark.parametrize("turns", range(16))
async def test_an_event_is_received_however_the_engine_makes_room_meanwhile(running, turns):
    """With room for one parked instance, another parks just when the event is on its way to the first."""
    go = asyncio.Event()

    @flow
    async def receiver(event, step):
        return (await step.wait_for_event("tick", "tick")).payload

    @flow
    async def crowder(event, step):
        await step.do("hold", go.wait)
        await step.sleep("long", "1 day")

    machine = await running(receiver, crowder, options=EngineOptions(max_cached=1, drain_ms=0))
    instance = await machine.create(receiver)
    await machine.create(crowder)
    go.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    await instance.send_event(type="tick", payload=turns)
    assert await machine.output(instance) == turns


@pytest.mark.parametrize("near", ["order.approved", "order-approval", "orderApproval", "Order.Approval"])
async def test_a_wait_that_times_out_names_an_event_of_a_near_type_that_nobody_took(running, near):
    machine = await running(approval)
    instance = await machine.create(approval)
    await instance.send_event(type="customer.paid")
    await instance.send_event(type=near)
    await machine.reboot()
    await machine.advance("1 hour")
    with pytest.raises(WorkflowTimeoutError, match=f"an event '{near}' came that nothing waited for"):
        await instance.result()


async def test_a_wait_that_times_out_names_no_event_of_another_type(running):
    machine = await running(approval)
    instance = await machine.create(approval)
    await instance.send_event(type="customer.paid")
    await machine.advance("1 hour")
    with pytest.raises(WorkflowTimeoutError, match="came for step 'approval' in 1 h\n"):
        await instance.result()
