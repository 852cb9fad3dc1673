"""Many instances at once, most of them out of memory."""

from __future__ import annotations

import asyncio
import random

import pytest

from everstep.engine.runtime.options import EngineOptions

from .virtual import VirtualClock, flow

COUNT = 500


@flow
async def journey(event, step):
    number = event.payload
    doubled = await step.do("double", lambda: 2 * number)
    await step.sleep("nap", f"{1 + number % 7} minutes")
    gift, _ = await asyncio.gather(
        step.wait_for_event("gift", "gift", timeout="1 day"), step.sleep("rest", f"{number % 3} minutes")
    )
    return [doubled, gift.payload, await step.do("sum", lambda: doubled + gift.payload)]


@pytest.mark.parametrize("max_cached", [0, 1, 50, 1_000])
async def test_500_instances_with_sleeps_and_events_all_end_well(running, max_cached):
    machine = await running(journey, options=EngineOptions(max_cached=max_cached, max_running=100, drain_ms=0))
    binding = machine.es.workflow(journey)
    instances = await asyncio.gather(*(binding.create(id=f"i{n}", params=n) for n in range(COUNT)))
    order = list(range(COUNT))
    random.Random(max_cached).shuffle(order)
    for start in range(0, COUNT, 50):
        await asyncio.gather(*(instances[n].send_event(type="gift", payload=n) for n in order[start : start + 50]))
        await machine.advance("1 minute")
    await machine.advance("10 minutes")
    outputs = await asyncio.gather(*(machine.output(one) for one in instances))
    assert outputs == [[2 * n, n, 3 * n] for n in range(COUNT)]


async def test_500_instances_survive_crashes_on_the_way(running):
    machine = await running(journey, options=EngineOptions(max_cached=20, drain_ms=0))
    binding = machine.es.workflow(journey)
    await asyncio.gather(*(binding.create(id=f"i{n}", params=n) for n in range(COUNT)))
    for start in range(0, COUNT, 100):
        handles = [machine.handle(journey, f"i{n}") for n in range(start, start + 100)]
        await asyncio.gather(*(one.send_event(type="gift", payload=1) for one in handles))
        await machine.reboot()
        await machine.advance("2 minutes")
    await machine.advance("30 minutes")
    assert await machine.engine.store.counts() == {"journey": {"complete": COUNT}}


async def test_time_that_jumps_by_itself_brings_everything_to_its_end(running):
    machine = await running(journey, clock=VirtualClock(auto=True), options=EngineOptions(max_cached=10))
    binding = machine.es.workflow(journey)
    instances = await asyncio.gather(*(binding.create(id=f"i{n}", params=n) for n in range(50)))
    await asyncio.gather(*(one.send_event(type="gift", payload=0) for one in instances))
    assert await asyncio.gather(*(one.result() for one in instances)) == [[2 * n, 0, 2 * n] for n in range(50)]
