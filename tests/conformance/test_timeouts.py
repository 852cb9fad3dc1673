"""How long an attempt may take."""

from __future__ import annotations

import asyncio

import pytest

from everstep import WorkflowTimeoutError

from .factories import Gate, attempts_of, flow, one_step, seconds, state


async def test_a_timeout_is_for_one_attempt_and_counts_as_a_failed_one(running):
    """I §1.3.1, S §1.2"""
    gate = Gate()
    config = {"timeout": "5 seconds", "retries": {"limit": 2, "delay": "1 second", "backoff": "constant"}}
    machine = await running(shop := one_step(gate, config))
    instance = await machine.create(shop)
    await machine.advance("1 minute")
    assert gate.calls == 3
    assert attempts_of(await instance.status(steps=True), "charge") == [
        (n, "errored", "WorkflowTimeoutError") for n in (1, 2, 3)
    ]


async def test_an_attempt_that_times_out_raises_workflow_timeout_error(running):
    """I §1.3.1"""

    @flow
    async def shop(event, step):
        try:
            await step.do("charge", {"timeout": "5 seconds", "retries": {"limit": 0}}, Gate())
        except WorkflowTimeoutError as error:
            return [error.code, isinstance(error, TimeoutError), "charge" in str(error)]

    machine = await running(shop)
    instance = await machine.create(shop)
    await machine.advance("5 seconds")
    assert await machine.output(instance) == ["timeout", True, True]


async def test_an_attempt_may_take_ten_minutes_by_default(running):
    """I §1.3.1, S §1.2"""
    machine = await running(shop := one_step(gate := Gate(), {"retries": {"limit": 0}}))
    instance = await machine.create(shop)
    await machine.advance("9 minutes")
    assert await state(instance) == "running"
    await machine.advance("62 seconds")
    assert await state(instance) == "errored"
    assert gate.cancelled == 1


async def test_a_timeout_cancels_an_async_attempt(running):
    """S §1.2"""
    gate = Gate()
    machine = await running(shop := one_step(gate, {"timeout": "5 seconds", "retries": {"limit": 0}}))
    await machine.create(shop)
    await machine.advance("5 seconds")
    assert (gate.calls, gate.cancelled) == (1, 1)


async def test_a_thread_that_ends_after_its_timeout_changes_nothing(running, held):
    """S §1.2"""
    ended = []

    def stand():
        held.wait()
        ended.append(1)
        return "late"

    machine = await running(shop := one_step(stand, {"timeout": "5 seconds", "retries": {"limit": 0}}))
    instance = await machine.create(shop)
    await machine.advance("5 seconds")
    assert await state(instance) == "errored"
    held.release()
    await machine.settle()
    assert ended == [1]
    assert (await instance.status()).error.name == "WorkflowTimeoutError"
    assert await state(instance) == "errored"


async def test_a_retry_has_its_whole_timeout_again(running):
    """I §1.3.1"""
    ended = []

    async def charge(ctx):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(seconds(machine))

    config = {"timeout": "5 seconds", "retries": {"limit": 1, "delay": "10 seconds"}}
    machine = await running(shop := one_step(charge, config))
    await machine.create(shop)
    await machine.advance("1 hour")
    assert ended == [5, 20]


@pytest.mark.parametrize("answer", ["done", 3])
async def test_an_attempt_within_its_time_is_left_alone(running, answer):
    """I §1.3.1"""
    machine = await running(shop := one_step(gate := Gate(answer), {"timeout": "5 seconds"}))
    instance = await machine.create(shop)
    await machine.advance("4 seconds")
    gate.open()
    assert await machine.output(instance) == answer
