"""Delays that a function chooses."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

import everstep
from everstep import NonRetryableError

from .factories import AWAY, Flaky, Gate, one_step, seconds, wake_after


async def delayed(running, delay, *, limit=2, backoff="constant", charge=None, **options):
    """Boot a machine with an instance of one step whose delay is a function."""
    charge = charge or Flaky()
    retries = {"limit": limit, "delay": delay, "backoff": backoff}
    machine = await running(shop := one_step(charge, {"retries": retries}), **options)
    charge.machine = machine
    return machine, await machine.create(shop), charge


async def test_a_delay_function_is_told_the_context_and_the_error(running):
    """I §1.3.2, S §1.2"""
    seen = []

    def delay(retry):
        seen.append((retry.ctx.step.name, retry.ctx.attempt, type(retry.error), str(retry.error)))
        return "1 second"

    machine, *_ = await delayed(running, delay)
    await machine.advance("1 hour")
    assert seen == [("charge", n, ConnectionError, "no route") for n in (1, 2)]


async def test_a_delay_function_is_called_once_for_each_failure_that_is_retried(running):
    """I §1.3.2"""
    calls = []
    machine, *_ = await delayed(running, lambda retry: calls.append(retry.ctx.attempt) or "1 second", limit=3)
    await machine.advance("1 hour")
    assert calls == [1, 2, 3]


async def test_a_delay_function_is_not_called_for_an_error_that_is_not_retried(running):
    """I §1.3.2"""
    calls = []
    charge = Flaky(error=NonRetryableError("declined"))
    await delayed(running, lambda retry: calls.append(retry) or "1 second", charge=charge)
    assert calls == []


async def test_a_delay_function_that_cannot_judge_a_non_retryable_error_does_not_replace_it(running):
    """I §1.3.2, §1.6"""
    charge = Flaky(error=NonRetryableError("declined"))
    _, instance, _ = await delayed(running, lambda retry: retry.error.retry_after, charge=charge)
    assert (await instance.status()).error.name == "NonRetryableError"


async def test_what_the_function_returns_is_the_delay_with_constant_backoff(running):
    """I §1.3.2"""
    machine, _, charge = await delayed(running, lambda retry: f"{retry.ctx.attempt * 7} seconds")
    await machine.advance("1 hour")
    assert charge.gaps == [7, 14]


@pytest.mark.parametrize(("backoff", "gaps"), [("linear", [10, 20, 30]), ("exponential", [10, 20, 40])])
async def test_what_the_function_returns_is_the_base_that_the_backoff_multiplies(running, backoff, gaps):
    """I §1.3.2"""
    machine, _, charge = await delayed(running, lambda retry: "10 seconds", limit=3, backoff=backoff)
    await machine.advance("1 hour")
    assert charge.gaps == gaps


async def test_a_delay_function_may_be_async(running):
    """I §1.3.2, S §1.2"""

    async def delay(retry):
        await asyncio.sleep(0)
        return timedelta(seconds=3)

    machine, _, charge = await delayed(running, delay)
    await machine.advance("1 hour")
    assert charge.gaps == [3, 3]


async def test_a_delay_may_depend_on_the_class_of_the_error(running):
    """I §1.3.2"""

    class TooManyError(Exception):
        retry_after = "1 hour"

    def delay(retry):
        return retry.error.retry_after if isinstance(retry.error, TooManyError) else "1 second"

    machine, _, charge = await delayed(running, delay, charge=Flaky(error=TooManyError()), limit=1)
    await machine.advance("2 hours")
    assert charge.gaps == [3600]


def _raises(retry):
    raise RuntimeError("broken")


@pytest.mark.parametrize(
    "delay",
    [_raises, lambda _: "soon", lambda _: -1, lambda _: timedelta(seconds=-1), lambda _: None, lambda _: 10],
    ids=["raises", "unparsable", "negative", "negative timedelta", "none", "bare number"],
)
async def test_a_delay_function_that_fails_or_returns_no_duration_ends_the_step_at_once(running, delay):
    """I §1.3.2"""
    _, instance, charge = await delayed(running, delay)
    found = await instance.status()
    assert (found.status, found.error.name) == ("errored", "RetryDelayError")
    assert "'charge'" in found.error.message
    assert len(charge.times) == 1


async def test_a_delay_function_has_five_seconds(running, monkeypatch):
    """I §1.3.2"""
    # It takes real time; nobody wants to wait for five.
    monkeypatch.setattr("everstep.engine.steps.dynamic_delay.SECONDS", 0.02)

    async def delay(retry):
        await asyncio.sleep(0.05)
        return "1 second"

    machine, instance, charge = await delayed(running, delay)
    await machine.settle()
    assert (await instance.status()).error.name == "RetryDelayError"
    assert len(charge.times) == 1


async def test_a_delay_function_leaves_no_delay_in_the_context(running):
    """I §1.3.2, §1.3.3"""
    seen = []

    async def look(ctx):
        seen.append(ctx.config["retries"])
        raise ConnectionError

    machine = await running(shop := one_step(look, {"retries": {"limit": 0, "delay": lambda _: "1 second"}}))
    await machine.create(shop)
    assert seen == [{"limit": 0, "backoff": "exponential"}]


async def test_the_computed_delay_is_kept_across_a_crash(running):
    """I §10.7.5"""
    machine, instance, charge = await delayed(running, lambda _: "1 hour")
    await machine.advance("20 minutes")
    await machine.reboot()
    assert await wake_after(instance) == timedelta(hours=1)
    await machine.advance("1 hour")
    assert charge.times == [0, 3600]


async def test_a_delay_function_is_read_from_the_code_of_each_life(running):
    """I §1.3.2"""
    machine, _, charge = await delayed(running, lambda retry: f"{retry.ctx.attempt} minutes", options=AWAY)
    await machine.advance("1 hour")
    assert charge.gaps == [60, 120]


async def test_does_not_forget_the_delay_function_when_a_crash_cut_the_attempt_off(running):
    """I §10.7.5, S §2.2"""
    gate, times = Gate(), []

    async def charge():
        times.append(seconds(machine))
        await gate()

    retries = {"limit": 2, "delay": lambda _: "1 hour", "backoff": "constant"}
    machine = await running(shop := one_step(charge, {"retries": retries}))
    await machine.create(shop)
    await machine.advance("1 second")
    await machine.reboot()
    await machine.advance("1 hour")
    assert times == [0, 3601]


async def test_the_context_of_a_retry_is_a_public_name():
    """S §1.2"""
    assert everstep.RetryContext.__struct_fields__ == ("ctx", "error")
