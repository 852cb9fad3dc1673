"""Delays between attempts: chosen by a function, bounded, jittered, and kept from first sight."""

from __future__ import annotations

import asyncio

import pytest

from everstep.engine.runtime.options import EngineOptions

from .virtual import attempts_of, flow


def failing(calls, times=99):
    async def fails():
        calls.append(1)
        if len(calls) <= times:
            raise ConnectionError(f"no {len(calls)}")
        return len(calls)

    return fails


@pytest.fixture(params=[0, 1_000], ids=["evicted", "cached"])
def options(request):
    return EngineOptions(max_cached=request.param, drain_ms=0)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_function_chooses_the_delay_from_the_context_and_the_error(running, options, kind):
    calls, asked = [], []

    def choose(retry):
        asked.append((retry.ctx.step.name, retry.ctx.attempt, str(retry.error)))
        return f"{10 * retry.ctx.attempt} seconds"

    async def choose_later(retry):
        await asyncio.sleep(0)
        return choose(retry)

    delay = choose if kind == "sync" else choose_later

    @flow
    async def shop(event, step):
        config = {"retries": {"limit": 5, "delay": delay, "backoff": "constant"}}
        return await step.do("a", config, failing(calls, 2))

    machine = await running(shop, options=options)
    instance = await machine.create(shop)
    await machine.advance("10 seconds")
    assert len(calls) == 2
    await machine.advance("19 seconds")
    assert len(calls) == 2
    await machine.advance("1 second")
    assert await machine.output(instance) == 3
    assert asked == [("a", 1, "no 1"), ("a", 2, "no 2")]


async def test_backoff_multiplies_what_the_function_chose(running):
    calls = []

    @flow
    async def shop(event, step):
        await step.do("a", {"retries": {"limit": 3, "delay": lambda _: "10 seconds"}}, failing(calls))

    machine = await running(shop)
    await machine.create(shop)
    await machine.advance("10 seconds")
    assert len(calls) == 2
    await machine.advance("19 seconds")
    assert len(calls) == 2
    await machine.advance("1 second")
    assert len(calls) == 3


async def test_the_function_is_not_asked_after_the_last_attempt(running):
    asked = []

    @flow
    async def shop(event, step):
        await step.do("a", {"retries": {"limit": 0, "delay": lambda r: asked.append(r) or 0}}, failing([]))

    machine = await running(shop)
    instance = await machine.create(shop)
    assert (await instance.status()).error.name == "ConnectionError"
    assert asked == []


def broken(_):
    raise KeyError("x")


@pytest.mark.parametrize("delay", [broken, lambda _: "soon", lambda _: None, lambda _: "-1 seconds"])
async def test_a_function_that_fails_or_gives_no_duration_fails_the_step_at_once(running, delay):
    calls = []

    @flow
    async def shop(event, step):
        await step.do("a", {"retries": {"limit": 5, "delay": delay}}, failing(calls))

    machine = await running(shop)
    instance = await machine.create(shop)
    status = await instance.status()
    assert (status.status, status.error.name, len(calls)) == ("errored", "RetryDelayError", 1)
    assert "'a'" in status.error.message


async def test_the_chosen_moment_survives_a_crash(running):
    calls = []

    @flow
    async def shop(event, step):
        config = {"retries": {"limit": 5, "delay": lambda _: "1 hour", "backoff": "constant"}}
        return await step.do("a", config, failing(calls, 1))

    machine = await running(shop)
    instance = await machine.create(shop)
    await machine.reboot()
    await machine.advance("59 minutes")
    assert len(calls) == 1
    await machine.advance("1 minute")
    assert await machine.output(instance) == 2


async def test_an_instance_is_neither_put_away_nor_paused_while_the_function_thinks(running):
    calls, think, begun = [], asyncio.Event(), asyncio.Event()

    async def choose(_):
        begun.set()
        await think.wait()
        return "1 minute"

    @flow
    async def shop(event, step):
        config = {"retries": {"limit": 5, "delay": choose, "backoff": "constant"}}
        return await asyncio.gather(step.do("a", config, failing(calls, 1)), step.sleep("nap", "1 day"))

    machine = await running(shop, options=EngineOptions(max_cached=0, drain_ms=0))
    instance = await machine.create(shop)
    await begun.wait()
    await instance.pause()
    assert (await instance.status()).status == "waitingForPause"
    think.set()
    await machine.settle()
    status = await instance.status(steps=True)
    assert status.status == "paused"
    assert attempts_of(status, "a") == [(1, "errored", "ConnectionError")]
    await instance.resume()
    await machine.settle()
    await machine.advance("1 minute")
    assert len(calls) == 2


async def test_max_delay_bounds_what_backoff_makes(running):
    calls = []

    @flow
    async def shop(event, step):
        config = {"retries": {"limit": 9, "delay": "1 minute", "max_delay": "2 minutes"}}
        await step.do("a", config, failing(calls))

    machine = await running(shop)
    await machine.create(shop)
    for count in (2, 3, 4, 5):
        await machine.advance("1 minute" if count == 2 else "2 minutes")
        assert len(calls) == count


async def test_jitter_adds_at_most_its_fraction(running):
    @flow
    async def shop(event, step):
        config = {"retries": {"limit": 9, "delay": "100 seconds", "backoff": "constant", "jitter": 0.5}}
        await step.do("a", config, failing([]))

    machine = await running(shop)
    due = set()
    for number in range(20):
        instance = await machine.create(shop, id=f"i{number}")
        due.add(((await instance.status()).wake_at.timestamp() * 1000 - machine.now) / 1000)
    assert 100 <= min(due) <= max(due) <= 150
    assert len(due) > 3


async def test_a_step_keeps_the_config_it_was_first_seen_with(running):
    calls, config = [], {"retries": {"limit": 2, "delay": "1 minute", "backoff": "constant"}}

    @flow
    async def shop(event, step):
        await step.do("a", config, failing(calls))

    machine = await running(shop)
    instance = await machine.create(shop)
    config["retries"] = {"limit": 9, "delay": "1 hour"}
    await machine.reboot()
    await machine.advance("2 minutes")
    assert len(calls) == 3
    assert (await instance.status()).status == "errored"


async def test_a_step_first_seen_with_no_delay_at_all_goes_on_after_a_crash(running):
    calls = []

    @flow
    async def shop(event, step):
        config = {"retries": {"limit": 2, "delay": 0}, "timeout": "1.5 seconds"}

        async def hang():
            calls.append(1)
            await asyncio.Event().wait()

        await step.do("a", config, hang)

    machine = await running(shop)
    instance = await machine.create(shop)
    await machine.advance(10)
    await machine.reboot()
    await machine.advance("1 minute")
    status = await instance.status()
    assert (status.status, status.error.name) == ("errored", "WorkflowTimeoutError")
    assert len(calls) == 3


async def test_exception_types_named_non_retryable_end_the_step_at_once(running):
    calls = []

    @flow
    async def shop(event, step):
        await step.do("a", {"retries": {"limit": 5, "non_retryable": (OSError,)}}, failing(calls))

    machine = await running(shop)
    instance = await machine.create(shop)
    assert ((await instance.status()).status, len(calls)) == ("errored", 1)
