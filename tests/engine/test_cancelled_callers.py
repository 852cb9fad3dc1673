"""Whoever asks for something may go away before it is done: it is done all the same, whole."""

from __future__ import annotations

import asyncio

import pytest

from .virtual import flow


@flow
async def two_events(event, step):
    first = await step.wait_for_event("first", "go")
    second = await step.wait_for_event("second", "go")
    return [first.payload, second.payload]


@flow
async def plain(event, step):
    return await step.do("a", lambda: 1)


async def cancelled_after(turns: int, asked) -> None:
    """Ask, and go away after so many turns of the loop."""
    task = asyncio.ensure_future(asked)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("turns", range(1, 8))
async def test_an_instance_whose_creator_went_away_runs_or_never_was(running, turns):
    machine = await running(plain)
    await cancelled_after(turns, machine.create(plain, id="one"))
    await machine.settle()
    assert await machine.output(machine.handle(plain, "one")) == 1


@pytest.mark.parametrize("turns", range(1, 8))
async def test_an_event_whose_sender_went_away_comes_in_its_turn(running, turns):
    machine = await running(two_events)
    instance = await machine.create(two_events)
    await machine.settle()
    await cancelled_after(turns, instance.send_event(type="go", payload=1))
    await instance.send_event(type="go", payload=2)
    assert await machine.output(instance) == [1, 2]


@pytest.mark.parametrize("turns", range(1, 8))
async def test_a_pause_whose_asker_went_away_holds(running, turns):
    machine = await running(two_events)
    instance = await machine.create(two_events)
    await machine.settle()
    await cancelled_after(turns, instance.pause())
    await machine.settle()
    assert (await instance.status()).status == "paused"


async def test_code_that_leaves_the_process_outside_a_step_fails_its_instance_alone(running):
    @flow
    async def leaving(event, step):
        raise SystemExit(3)

    machine = await running(leaving, plain)
    instance = await machine.create(leaving)
    await machine.settle()
    status = await instance.status()
    assert (status.status, status.error.name) == ("errored", "SystemExit")
    assert await machine.output(await machine.create(plain)) == 1


async def test_an_error_has_the_same_cause_live_and_on_replay(running):
    @flow
    async def caused(event, step):
        async def fail():
            try:
                raise ConnectionError("refused")
            except ConnectionError as error:
                raise ValueError("down") from error

        causes = []
        for name in ("a", "b"):
            try:
                await step.do(name, {"retries": {"limit": 0}}, fail)
            except ValueError as error:
                causes.append(type(error.__cause__).__name__)
            await step.sleep(f"after {name}", "1 second")
        return causes

    machine = await running(caused)
    instance = await machine.create(caused)
    await machine.settle()
    await machine.reboot()
    await machine.advance("1 minute")
    assert await machine.output(instance) == ["ConnectionError", "ConnectionError"]


async def test_a_function_in_a_thread_may_raise_stop_iteration(running):
    @flow
    async def exhausted(event, step):
        def take():
            return next(iter([]))

        await step.do("take", {"retries": {"limit": 0}}, take)

    machine = await running(exhausted)
    instance = await machine.create(exhausted)
    await machine.settle()
    assert (await instance.status()).error.name == "RuntimeError"
