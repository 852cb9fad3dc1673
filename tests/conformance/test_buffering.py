"""Events on their way to their waits."""

from __future__ import annotations

import pytest

from everstep import InstanceNotFoundError, InstanceStateError, NotSerializableError, ValueTooLargeError

from .factories import AWAY, ONE_PLACE, flow, in_status, quick, stander, state, status_machine

MIB = 1024 * 1024


def collecting(count, *types, nap="1 hour"):
    """Make a workflow that sleeps, then takes `count` events of each type."""

    @flow
    async def shop(event, step):
        if nap:
            await step.sleep("nap", nap)
        seen = []
        for type in types or ("tick",):
            seen += [(await step.wait_for_event(f"{type} {n}", type)).payload for n in range(count)]
        return seen

    return shop


@pytest.mark.parametrize("options", [None, AWAY], ids=["in memory", "away"])
async def test_events_sent_before_their_wait_are_kept(running, options):
    """I §2.6, S §2.5"""
    machine = await running(shop := collecting(1), options=options)
    instance = await machine.create(shop)
    await instance.send_event(type="tick", payload="early")
    await machine.advance("1 hour")
    assert await machine.output(instance) == ["early"]


async def test_events_are_queued_first_in_first_out_per_type(running):
    """I §2.6, S §2.5"""
    machine = await running(shop := collecting(3, "a", "b"))
    instance = await machine.create(shop)
    for n in range(3):
        await instance.send_event(type="b", payload=f"b{n}")
        await instance.send_event(type="a", payload=f"a{n}")
    await machine.advance("1 hour")
    assert await machine.output(instance) == ["a0", "a1", "a2", "b0", "b1", "b2"]


async def test_one_event_satisfies_one_wait(running):
    """I §2.6, S §2.5"""
    machine = await running(shop := collecting(2))
    instance = await machine.create(shop)
    await instance.send_event(type="tick", payload=1)
    await machine.advance("1 hour")
    assert await state(instance) == "waiting"
    await instance.send_event(type="tick", payload=2)
    assert await machine.output(instance) == [1, 2]


async def test_events_belong_to_one_instance(running):
    """I §2.6"""
    machine = await running(shop := collecting(1))
    first, second = await machine.create(shop, id="first"), await machine.create(shop, id="second")
    await first.send_event(type="tick", payload="mine")
    await machine.advance("1 hour")
    assert await machine.output(first) == ["mine"]
    assert await state(second) == "waiting"


async def test_buffered_events_survive_a_crash(running):
    """I §2.6, S §2.1"""
    machine = await running(shop := collecting(1))
    instance = await machine.create(shop)
    await instance.send_event(type="tick", payload="kept")
    await machine.reboot()
    await machine.advance("1 hour")
    assert await machine.output(instance) == ["kept"]


async def test_an_event_wakes_an_instance_that_is_away(running):
    """I §2.6"""
    machine = await running(shop := collecting(1, nap=None), options=AWAY)
    instance = await machine.create(shop)
    await instance.send_event(type="tick", payload="wake")
    assert await machine.output(instance) == ["wake"]


async def test_a_paused_instance_accepts_and_keeps_events(running):
    """I §3.1"""
    machine = await running(shop := collecting(1, nap=None))
    instance = await machine.create(shop)
    await instance.pause()
    await instance.send_event(type="tick", payload="kept")
    await machine.settle()
    assert await state(instance) == "paused"
    await instance.resume()
    assert await machine.output(instance) == ["kept"]


async def test_a_queued_instance_accepts_and_keeps_events(running):
    """I §2.6"""
    machine = await running(stander, shop := collecting(1, nap=None), options=ONE_PLACE)
    first = await machine.create(stander, id="first")
    instance = await machine.create(shop)
    await instance.send_event(type="tick", payload="kept")
    await first.terminate()
    assert await machine.output(instance) == ["kept"]


@pytest.mark.parametrize("status", ["complete", "errored", "terminated"])
async def test_an_instance_that_has_ended_takes_no_events(running, status):
    """I §2.6, §3.1"""
    machine = await status_machine(running, status)
    instance = await in_status(machine, status)
    with pytest.raises(InstanceStateError, match=status) as refused:
        await instance.send_event(type="tick")
    assert refused.value.code == "instance.cannot_receive"


async def test_an_event_to_nobody_is_an_error(running):
    """I §2.3"""
    machine = await running(quick)
    with pytest.raises(InstanceNotFoundError):
        await machine.handle(quick, "nobody").send_event(type="tick")


async def test_a_payload_has_at_most_1_mib(running):
    """I §2.6, S §5"""
    machine = await running(shop := collecting(1, nap=None))
    instance = await machine.create(shop)
    with pytest.raises(ValueTooLargeError, match="'tick'"):
        await instance.send_event(type="tick", payload="x" * MIB)


async def test_a_payload_of_just_1_mib_arrives(running):
    """I §2.6, S §5"""

    @flow
    async def shop(event, step):
        return len((await step.wait_for_event("wait", "tick")).payload)

    machine = await running(shop, options=AWAY)
    instance = await machine.create(shop)
    await instance.send_event(type="tick", payload="x" * (MIB - 2))
    assert await machine.output(instance) == MIB - 2


async def test_a_payload_that_cannot_be_stored_is_refused_and_names_the_place(running):
    """S §1.2"""
    machine = await running(shop := collecting(1))
    instance = await machine.create(shop)
    with pytest.raises(NotSerializableError, match=r"'tick'.*items\[1\]"):
        await instance.send_event(type="tick", payload={"items": [1, object()]})


async def test_a_consumed_event_is_not_delivered_again_after_a_crash(running):
    """I §2.6, §10.7.6, S §2.5"""

    @flow
    async def shop(event, step):
        first = (await step.wait_for_event("wait", "tick")).payload
        await step.sleep("nap", "1 hour")
        try:
            again = (await step.wait_for_event("again", "tick", timeout="1 minute")).payload
        except TimeoutError:
            again = "nothing"
        return [first, again]

    machine = await running(shop)
    instance = await machine.create(shop)
    await instance.send_event(type="tick", payload="once")
    await machine.settle()
    await machine.reboot()
    await machine.advance("2 hours")
    assert await machine.output(instance) == ["once", "nothing"]


async def test_a_restart_forgets_buffered_events(running):
    """I §2.4, S §2.9"""
    machine = await running(shop := collecting(1))
    instance = await machine.create(shop)
    await instance.send_event(type="tick", payload="old")
    await instance.restart()
    await machine.advance("1 hour")
    assert await state(instance) == "waiting"


async def test_buffered_events_have_no_time_to_live(running):
    """I §2.6"""
    machine = await running(shop := collecting(1, nap="365 days"))
    instance = await machine.create(shop)
    await instance.send_event(type="tick", payload="old")
    await machine.advance("365 days")
    assert await machine.output(instance) == ["old"]
