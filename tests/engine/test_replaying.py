"""The suite's own tools: replay after every step, and time that stands still."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from everstep.engine.engine import Engine
from everstep.engine.runtime.clock import Alarm

from .replaying import interrupted
from .virtual import START_MS, VirtualClock, flow


@pytest.mark.residency
async def test_with_replay_after_every_step_the_code_runs_once_more_for_each(running, monkeypatch):
    monkeypatch.setattr("everstep.engine.engine.Engine", partial(Engine, interrupt=interrupted))
    lives, calls = [], []

    @flow
    async def shop(event, step):
        lives.append(1)
        await step.do("a", lambda: calls.append("a"))
        await step.sleep("b", "1 minute")
        await step.wait_for_event("c", "c")
        await asyncio.gather(step.do("d", lambda: calls.append("d")), step.sleep("e", "1 minute"))

    machine = await running(shop)
    instance = await machine.create(shop)
    await instance.send_event(type="c")
    await machine.advance("2 minutes")
    await machine.output(instance)
    assert (len(lives), calls) == (6, ["a", "d"])


async def test_virtual_time_stands_still_until_it_is_moved():
    clock, rung = VirtualClock(), []
    for ms in (20, 10, 30):
        clock.call_at(START_MS + ms, lambda: rung.append(clock.now() - START_MS))
    clock.call_at(START_MS + 15, lambda: rung.append("never")).cancel()
    await clock.settle()
    assert rung == []
    await clock.advance(25)
    assert (rung, clock.now() - START_MS) == ([10, 20], 25)


async def test_virtual_time_can_stop_at_the_first_moment_of_something():
    clock, rung = VirtualClock(), []
    alarm = Alarm(clock, lambda: rung.append(1))
    alarm.set(START_MS + 10)
    await clock.advance("1 hour", until=lambda: bool(rung))
    assert clock.now() == START_MS + 10
