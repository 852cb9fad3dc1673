"""Limits that have no section of their own."""

from __future__ import annotations

import pytest

from everstep import ConfigError, Everstep

from .factories import AWAY, Gate, flow, limited, one_step, quick, state

MIB = 1024 * 1024


def many(count, nap_after=None):
    @flow
    async def shop(event, step):
        for n in range(count):
            await step.do(f"s{n}", lambda: 1)
            if n == nap_after:
                await step.sleep("nap", "1 hour")

    return shop


async def test_an_instance_has_as_many_steps_as_its_workflow_allows_and_no_more(running):
    """I §3.2, S §5"""
    fits, too_many = many(3), many(4)
    machine = await running(limited(fits, steps=3))
    assert await state(await machine.create(fits)) == "complete"
    machine = await running(limited(too_many, steps=3))
    found = await (await machine.create(too_many)).status()
    assert (found.status, found.error.name, found.step_count) == ("errored", "StepLimitError", 3)
    assert "3 steps" in found.error.message


async def test_the_default_is_10000_steps(running):
    """I §3.2, S §5"""
    assert limited(quick).step_limit == 10_000


async def test_steps_of_earlier_lives_count_towards_the_limit(running):
    """I §3.2, §10.4.2, S §5"""
    machine = await running(limited(shop := many(4, nap_after=1), steps=3), options=AWAY)
    instance = await machine.create(shop)
    await machine.advance("1 hour")
    assert (await instance.status()).error is not None


async def test_waits_for_events_count_towards_the_limit(running):
    """S §5: only sleeps are excepted"""

    @flow
    async def shop(event, step):
        for n in range(4):
            await step.wait_for_event(f"w{n}", "tick")

    machine = await running(limited(shop, steps=3))
    instance = await machine.create(shop)
    for _ in range(3):
        await instance.send_event(type="tick")
        await machine.settle()
    assert (await instance.status()).error.name == "StepLimitError"


async def test_an_instance_that_stores_too_much_ends_with_a_clear_error(running, monkeypatch):
    """I §3.2, S §5"""
    monkeypatch.setattr("everstep.engine.execution.starting.STORED_BYTES", MIB)  # instead of 1 GiB

    @flow
    async def shop(event, step):
        for n in range(5):
            await step.do(f"s{n}", lambda: "x" * 400_000)

    machine = await running(shop)
    found = await (await machine.create(shop)).status()
    assert (found.status, found.error.name) == ("errored", "StorageLimitError")
    assert found.step_count < 5


async def test_a_workflow_has_as_many_instances_at_work_as_its_concurrency_allows(running):
    """I §3.2, S §5"""
    gate = Gate()
    machine = await running(limited(shop := one_step(gate), concurrency=2))
    instances = [await machine.create(shop, id=f"i{n}") for n in range(5)]
    assert [await state(one) for one in instances] == ["running"] * 2 + ["queued"] * 3
    gate.open()
    await machine.settle()
    assert [await state(one) for one in instances] == ["complete"] * 5


async def test_concurrency_is_counted_per_workflow(running):
    """S §5"""
    machine = await running(limited(shop := one_step(Gate()), concurrency=1), limited(quick, concurrency=1))
    await machine.create(shop)
    assert await machine.run(quick) == 42


async def test_queued_instances_start_in_the_order_they_came(running):
    """I §3.1"""
    order, gate = [], Gate()

    @flow
    async def shop(event, step):
        await step.do("hold", gate)
        await step.do("work", lambda: order.append(event.instance_id))

    machine = await running(limited(shop, concurrency=1))
    for n in range(4):
        await machine.create(shop, id=f"i{n}")
    gate.open()
    await machine.settle()
    assert order == ["i0", "i1", "i2", "i3"]


async def test_waiting_instances_do_not_count_towards_concurrency(running):
    """I §3.1, S §5"""

    @flow
    async def shop(event, step):
        await step.sleep("nap", "1 hour")

    machine = await running(limited(shop, concurrency=1))
    instances = [await machine.create(shop, id=f"i{n}") for n in range(4)]
    assert [await state(one) for one in instances] == ["waiting"] * 4
    await machine.advance("1 hour")
    assert [await state(one) for one in instances] == ["complete"] * 4


async def test_a_paused_instance_gives_its_place_to_the_next(running):
    """I §3.1"""
    machine = await running(limited(shop := one_step(gate := Gate()), concurrency=1))
    first, second = await machine.create(shop, id="first"), await machine.create(shop, id="second")
    await first.pause()
    gate.open()
    await machine.settle()
    assert [await state(first), await state(second)] == ["paused", "complete"]


async def test_a_workflows_name_has_up_to_64_characters(running):
    """I §3.2"""
    fits, too_long = one_step(lambda: 1), one_step(lambda: 1)
    fits.__name__, too_long.__name__ = "x" * 64, "x" * 65
    Everstep([fits], database="sqlite:///never-opened.db")
    with pytest.raises(ConfigError, match=r"65 characters|64 characters"):
        Everstep([too_long], database="sqlite:///never-opened.db")
