"""The time of day, ids and chance: recorded once, the same on every replay, in every branch."""

from __future__ import annotations

import asyncio

import pytest

from everstep.core.timestamps import utc
from everstep.engine.runtime.options import EngineOptions

from .virtual import START_MS, flow


async def done(value):
    return value


async def test_a_replay_sees_the_same_time_id_and_chance(running):
    lives = []

    @flow
    async def draw(event, step):
        first = [step.now(), step.uuid(), step.random()]
        await step.sleep("nap", "1 hour")
        second = [step.now(), step.uuid(), step.random()]
        lives.append((first, second))
        await step.sleep("rest", "1 hour")
        return [first, second]

    machine = await running(draw, options=EngineOptions(max_cached=0, drain_ms=0))
    instance = await machine.create(draw)
    await machine.advance("1 hour")
    await machine.reboot()
    await machine.advance("1 hour")
    first, second = await machine.output(instance)
    assert first[0] == utc(START_MS)
    assert second[0] == utc(START_MS + 3_600_000)
    assert first[1] != second[1]
    assert all(life == (first, second) for life in lives)


async def test_a_value_is_on_disk_with_the_step_that_used_it(running):
    used = []

    @flow
    async def charge(event, step):
        key = step.uuid()
        await step.do("use", done, str(key))
        used.append(key)
        await step.do("again", {"retries": {"limit": 5, "delay": "1 second"}}, asyncio.Event().wait)

    machine = await running(charge)
    await machine.create(charge)
    await machine.reboot()
    await machine.advance("1 minute")
    assert len(used) >= 2
    assert len(set(used)) == 1


@pytest.mark.parametrize("slow_first", [True, False])
async def test_parallel_branches_keep_their_own_values_when_they_are_replayed_in_another_order(running, slow_first):
    seen: dict[str, set] = {"slow": set(), "quick": set()}
    order = ["slow", "quick"] if slow_first else ["quick", "slow"]

    @flow
    async def draw(event, step):
        async def branch(name):
            await step.sleep(f"{name} nap", "2 hours" if name == "slow" else "1 hour")
            seen[name].add(step.uuid())

        await asyncio.gather(*(branch(name) for name in order))
        await step.sleep("rest", "1 hour")

    machine = await running(draw, options=EngineOptions(max_cached=0, drain_ms=0))
    instance = await machine.create(draw)
    for _ in range(4):
        await machine.advance("1 hour")
    await machine.output(instance)
    assert [len(values) for values in seen.values()] == [1, 1]
    assert seen["slow"] != seen["quick"]


async def test_values_inside_a_loop_differ_and_stay(running):
    lives = []

    @flow
    async def draw(event, step):
        drawn = []
        for _ in range(3):
            await step.do("part", done, 1)
            drawn.append(step.random())
        lives.append(drawn)
        await step.sleep("rest", "1 hour")

    machine = await running(draw, options=EngineOptions(max_cached=0, drain_ms=0))
    await machine.create(draw)
    await machine.advance("1 hour")
    assert lives[0] == lives[-1]
    assert len(set(lives[0])) == 3


async def test_values_are_no_steps_that_people_see(running):
    @flow
    async def draw(event, step):
        step.now()
        return await step.do("part", done, 1)

    machine = await running(draw)
    instance = await machine.create(draw)
    status = await instance.status(steps=True)
    assert [one.name for one in status.steps] == ["part"]
    assert status.step_count == 1
