"""How a step is configured, and what is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest

from everstep import Retries, StepConfig

from .factories import Flaky, attempts_of, flow, one_step, wake_after


async def context_of(running, config):
    """Return the configuration a step sees with this config."""

    def look(ctx):
        return ctx.config

    machine = await running(shop := one_step(look, config))
    return await machine.run(shop)


async def refused(running, config):
    """Return the error an instance ends with whose step has this config."""
    machine = await running(shop := one_step(lambda: 1, config))
    found = await (await machine.create(shop)).status()
    assert found.status == "errored"
    assert found.step_count == 0
    return found.error


async def test_the_defaults_are_5_retries_10_seconds_exponential_and_10_minutes(running):
    """I §1.3.1, S §1.2"""
    assert await context_of(running, None) == {
        "retries": {"limit": 5, "delay": "10 seconds", "backoff": "exponential"},
        "timeout": "10 minutes",
    }


async def test_a_config_is_merged_over_the_defaults_field_by_field(running):
    """I §1.3.1"""
    config = await context_of(running, {"retries": {"limit": 2}})
    assert config == {
        "retries": {"limit": 2, "delay": "10 seconds", "backoff": "exponential"},
        "timeout": "10 minutes",
    }


async def test_a_config_may_be_a_mapping_or_a_step_config(running):
    """S §1.2"""
    mapping = {"retries": {"limit": 1, "delay": "1 minute", "backoff": "linear"}, "timeout": "5 seconds"}
    typed = StepConfig(retries=Retries(limit=1, delay=timedelta(minutes=1), backoff="linear"), timeout="5 seconds")
    assert await context_of(running, mapping) == await context_of(running, typed)


@pytest.mark.parametrize(
    ("config", "key"),
    [({"retrys": {}}, "retrys"), ({"retries": {"limits": 1}}, "limits"), ({"timeout": "1 hour", "x": 1}, "x")],
)
async def test_an_unknown_key_at_either_level_is_an_error_that_names_the_step_and_the_key(running, config, key):
    """I §1.3.1, S §1.2"""
    error = await refused(running, config)
    assert "'charge'" in error.message
    assert repr(key) in error.message


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"retries": {"limit": -1}}, "retries.limit"),
        ({"retries": {"delay": "-1 second"}}, "retries.delay"),
        ({"retries": {"delay": timedelta(seconds=-1)}}, "retries.delay"),
        ({"timeout": timedelta(seconds=-1)}, "timeout"),
        ({"retries": {"jitter": -0.1}}, "retries.jitter"),
        ({"retries": {"max_delay": timedelta(seconds=-1)}}, "retries.max_delay"),
    ],
)
async def test_a_negative_number_is_an_error_that_names_the_step_and_the_key(running, config, key):
    """I §1.3.1, S §1.2"""
    error = await refused(running, config)
    assert "'charge'" in error.message
    assert key in error.message


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"retries": {"delay": "soon"}}, "retries.delay"),
        ({"retries": {"delay": 10}}, "retries.delay"),
        ({"timeout": "10 lightyears"}, "timeout"),
        ({"timeout": 10_000}, "timeout"),
    ],
)
async def test_an_unparsable_duration_is_an_error_that_names_the_step_and_the_key(running, config, key):
    """I §1.3.1, S §1.2"""
    error = await refused(running, config)
    assert "'charge'" in error.message
    assert key in error.message


@pytest.mark.parametrize("zero", [0, "0 seconds"])
async def test_a_timeout_of_0_is_refused(running, zero):
    """I §1.3.1"""
    assert "timeout" in (await refused(running, {"timeout": zero})).message


@pytest.mark.parametrize("wrong", ["input", True, "all"])
async def test_sensitive_can_only_be_output(running, wrong):
    """I §1.3.1"""
    assert "sensitive" in (await refused(running, {"sensitive": wrong})).message


async def test_an_unknown_backoff_is_refused(running):
    """I §1.3.1"""
    assert "backoff" in (await refused(running, {"retries": {"backoff": "fibonacci"}})).message


@pytest.mark.parametrize("limit", [1.5, "5", True, None, float("inf")])
async def test_a_limit_is_a_whole_number(running, limit):
    """I §1.3.1, S §1.2"""
    assert "retries.limit" in (await refused(running, {"retries": {"limit": limit}})).message


async def test_a_step_may_have_10000_retries_and_no_more(running):
    """I §1.3.1, §3.2, S §5"""
    assert (await context_of(running, {"retries": {"limit": 10_000}}))["retries"]["limit"] == 10_000
    assert "retries.limit" in (await refused(running, {"retries": {"limit": 10_001}})).message


async def test_the_config_a_step_began_with_wins_over_what_the_code_says_later(running):
    """I §1.3.1"""
    charge, config = Flaky(), {"retries": {"limit": 2, "delay": "1 hour", "backoff": "constant"}}

    @flow
    async def shop(event, step):
        await step.do("charge", dict(config), charge)

    machine = await running(shop)
    instance = await machine.create(shop)
    config["retries"] = {"limit": 9, "delay": "1 second", "backoff": "constant"}
    await machine.reboot()
    assert await wake_after(instance) == timedelta(hours=1)
    await machine.advance("10 hours")
    assert len(attempts_of(await instance.status(steps=True), "charge")) == 3


async def test_a_config_may_be_computed_when_the_step_first_runs(running):
    """I §1.3.1"""
    charge = Flaky()

    @flow
    async def shop(event, step):
        limit = await step.do("ask", lambda: event.payload["limit"])
        await step.do("charge", {"retries": {"limit": limit, "delay": 0}}, charge)

    machine = await running(shop)
    await machine.create(shop, {"limit": 3})
    await machine.advance("1 second")
    assert len(charge.times) == 4
