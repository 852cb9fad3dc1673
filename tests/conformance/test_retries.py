"""Retries and their delays."""

from __future__ import annotations

import asyncio

import pytest

from everstep import NonRetryableError

from .factories import AWAY, Flaky, attempts_of, flow, one_step, state


async def charged(running, config, charge, **options):
    """Boot a machine with an instance of one step."""
    machine = await running(shop := one_step(charge, config), **options)
    charge.machine = machine
    return machine, await machine.create(shop)


@pytest.mark.parametrize("limit", [0, 1, 3])
async def test_a_limit_counts_retries_so_attempts_are_one_more(running, limit):
    """I §1.3.1, S §1.2"""
    machine, instance = await charged(running, {"retries": {"limit": limit, "delay": "1 second"}}, charge := Flaky())
    await machine.advance("1 hour")
    assert len(charge.times) == limit + 1
    assert await state(instance) == "errored"


async def test_without_a_config_six_attempts_are_made_over_310_seconds(running):
    """I §1.3.1, S §1.2"""
    machine, _ = await charged(running, None, charge := Flaky())
    await machine.advance("1 hour")
    assert charge.times == [0, 10, 30, 70, 150, 310]


@pytest.mark.parametrize(
    ("backoff", "gaps"),
    [("constant", [10, 10, 10, 10]), ("linear", [10, 20, 30, 40]), ("exponential", [10, 20, 40, 80])],
)
async def test_the_delay_stays_grows_by_itself_or_doubles_as_the_backoff_says(running, backoff, gaps):
    """I §1.3.1"""
    retries = {"limit": 4, "delay": "10 seconds", "backoff": backoff}
    machine, _ = await charged(running, {"retries": retries}, charge := Flaky())
    await machine.advance("1 hour")
    assert charge.gaps == gaps


async def test_max_delay_is_the_longest_delay(running):
    """S §1.2"""
    retries = {"limit": 3, "delay": "10 seconds", "max_delay": "15 seconds"}
    machine, _ = await charged(running, {"retries": retries}, charge := Flaky())
    await machine.advance("1 hour")
    assert charge.gaps == [10, 15, 15]


async def test_jitter_adds_up_to_its_fraction_of_the_delay(running):
    """S §1.2"""
    retries = {"limit": 20, "delay": "10 seconds", "backoff": "constant", "jitter": 0.5}
    machine, _ = await charged(running, {"retries": retries}, charge := Flaky())
    await machine.advance("1 hour")
    assert all(10 <= gap <= 15 for gap in charge.gaps)
    assert len(set(charge.gaps)) > 1


async def test_an_error_that_retries_name_as_non_retryable_ends_the_step_at_once(running):
    """S §1.2"""
    retries = {"limit": 5, "non_retryable": (LookupError,)}
    machine, instance = await charged(running, {"retries": retries}, charge := Flaky(error=KeyError("sku")))
    assert len(charge.times) == 1
    with pytest.raises(KeyError):
        await machine.output(instance)


async def test_non_retryable_error_ends_the_retries_at_once(running):
    """I §1.6, S §1.4"""
    _, instance = await charged(running, None, charge := Flaky(error=NonRetryableError("declined")))
    found = await instance.status()
    assert (found.status, found.error.name, found.error.message) == ("errored", "NonRetryableError", "declined")
    assert len(charge.times) == 1


async def test_a_step_that_succeeds_late_gives_its_value(running):
    """I §1.3.1"""
    machine, instance = await charged(running, None, Flaky(failures=2))
    await machine.advance("1 minute")
    assert await machine.output(instance) == 3


async def test_every_failed_attempt_is_recorded_with_its_error(running):
    """I §2.7, S §1.3"""
    machine, instance = await charged(running, None, Flaky(failures=1))
    await machine.advance("1 minute")
    assert attempts_of(await instance.status(steps=True), "charge") == [
        (1, "errored", "ConnectionError"),
        (2, "complete", None),
    ]


async def test_a_long_retry_delay_is_waited_out_without_being_in_memory(running):
    """I §3.1, S §2.6"""
    retries = {"limit": 1, "delay": "30 days"}
    machine, instance = await charged(running, {"retries": retries}, charge := Flaky(), options=AWAY)
    assert await state(instance) == "waiting"
    await machine.advance("30 days")
    assert charge.gaps == [30 * 86_400]


async def test_a_delay_goes_on_across_a_crash(running):
    """S §2.3"""
    machine, _ = await charged(running, {"retries": {"limit": 1, "delay": "1 hour"}}, charge := Flaky())
    await machine.advance("40 minutes")
    await machine.reboot()
    await machine.advance("1 hour")
    assert charge.times == [0, 3600]


async def test_other_steps_are_not_retried_with_it(running):
    """S §2.2"""
    calls, charge = [], Flaky(failures=3)

    @flow
    async def shop(event, step):
        await step.do("first", lambda: calls.append(1))
        await step.do("charge", charge)

    machine = await running(shop, options=AWAY)
    instance = await machine.create(shop)
    await machine.advance("1 hour")
    assert await state(instance) == "complete"
    assert calls == [1]


async def test_an_attempt_cut_off_by_a_crash_is_recorded_counts_and_is_retried_under_the_same_policy(running):
    """S §2.2"""
    calls = []

    async def crash_twice():
        calls.append(machine.now)
        if len(calls) <= 2:
            await hang.wait()
        return "done"

    hang = asyncio.Event()
    retries = {"limit": 2, "delay": "10 seconds", "backoff": "constant"}
    machine = await running(shop := one_step(crash_twice, {"retries": retries}))
    instance = await machine.create(shop)
    for _ in range(2):
        await machine.advance("1 second")
        await machine.reboot()
        await machine.advance("10 seconds")
    assert await machine.output(instance) == "done"
    assert attempts_of(await instance.status(steps=True), "charge") == [
        (1, "errored", "AttemptInterruptedError"),
        (2, "errored", "AttemptInterruptedError"),
        (3, "complete", None),
    ]
