"""Durations, as sleeps take them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from .factories import flow, state, wake_after


async def slept(running, duration):
    """Make an instance that sleeps."""

    @flow
    async def naps(event, step):
        await step.sleep("nap", duration)

    machine = await running(naps)
    return machine, await machine.create(naps)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10 seconds", timedelta(seconds=10)),
        ("10 second", timedelta(seconds=10)),
        ("1 minute", timedelta(minutes=1)),
        ("2 hours", timedelta(hours=2)),
        ("3 days", timedelta(days=3)),
        ("1 week", timedelta(weeks=1)),
        ("1 month", timedelta(days=30)),
        ("1 year", timedelta(days=365)),
        ("1.5 hours", timedelta(minutes=90)),
    ],
)
async def test_a_duration_is_a_positive_number_and_a_unit_from_second_to_year_singular_or_plural(
    running, text, expected
):
    """I §1.3, S §1.2"""
    _, instance = await slept(running, text)
    assert await wake_after(instance) == expected


async def test_a_duration_may_be_a_timedelta(running):
    """S §1.2"""
    _, instance = await slept(running, timedelta(minutes=3, milliseconds=5))
    assert await wake_after(instance) == timedelta(minutes=3, milliseconds=5)


@pytest.mark.parametrize("zero", [0, "0 seconds", timedelta(0)])
async def test_a_duration_may_be_zero(running, zero):
    """S §1.2"""
    _, instance = await slept(running, zero)
    assert await state(instance) == "complete"


@pytest.mark.parametrize("number", [10, 1_000, 0.5])
async def test_a_bare_number_is_a_type_error_that_says_why(running, number):
    """S §1.2 (milliseconds in the original)"""
    _, instance = await slept(running, number)
    found = await instance.status()
    assert (found.status, found.error.name) == ("errored", "TypeError")
    assert "milliseconds" in found.error.message
    assert "seconds" in found.error.message


@pytest.mark.parametrize("text", ["", "soon", "10", "seconds", "10 fortnights", "-1 second", "1 hour 5 minutes"])
async def test_what_is_no_duration_is_an_error_that_names_it(running, text):
    """I §1.3.1, S §1.2"""
    _, instance = await slept(running, text)
    found = await instance.status()
    assert (found.status, found.error.name) == ("errored", "ValueError")
    assert repr(text) in found.error.message


async def test_a_negative_duration_is_an_error(running):
    """I §1.3.1, S §1.2"""
    _, instance = await slept(running, timedelta(seconds=-1))
    assert (await instance.status()).error.name == "ValueError"
