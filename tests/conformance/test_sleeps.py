"""Sleeping."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from .factories import AWAY, ONE_PLACE, START, flow, limited, quick, seconds, sleeper, state, steps_of, wake_after


def until(when):
    @flow
    async def waits(event, step):
        await step.sleep_until("moment", when() if callable(when) else when)
        return "awake"

    return waits


async def test_a_sleep_lasts_its_duration_to_the_millisecond(running):
    """I §1.3.7"""
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    await machine.advance(3_599_999)
    assert await state(instance) == "waiting"
    await machine.advance(1)
    assert await machine.output(instance) == "awake"


async def test_a_sleep_until_ends_at_its_moment(running):
    """I §1.3.7, S §1.2"""
    machine = await running(waits := until(START + timedelta(hours=1)))
    instance = await machine.create(waits)
    assert await wake_after(instance) == timedelta(hours=1)
    await machine.advance("1 hour")
    assert await machine.output(instance) == "awake"


async def test_a_sleep_until_a_moment_that_has_passed_returns_at_once(running):
    """S §1.2 (an error in the original)"""
    machine = await running(waits := until(START - timedelta(days=1)))
    assert await machine.run(waits) == "awake"


async def test_a_sleep_until_is_safe_on_replay_after_its_moment(running):
    """I §10.7.1"""

    @flow
    async def waits(event, step):
        await step.sleep_until("moment", START + timedelta(hours=1))
        await step.sleep("nap", "1 hour")
        return "awake"

    machine = await running(waits, options=AWAY)
    instance = await machine.create(waits)
    await machine.advance("1 hour")
    await machine.reboot()
    await machine.advance("1 hour")
    assert await machine.output(instance) == "awake"


async def test_sleep_until_takes_a_datetime_of_any_time_zone(running):
    """S §1.2"""
    when = (START + timedelta(hours=1)).astimezone(timezone(timedelta(hours=5, minutes=30)))
    machine = await running(waits := until(when))
    assert await wake_after(await machine.create(waits)) == timedelta(hours=1)


async def test_a_naive_datetime_is_an_error_that_says_what_to_write(running):
    """S §1.2"""
    machine = await running(waits := until(datetime(2026, 1, 1)))  # noqa: DTZ001  # what is refused
    found = await (await machine.create(waits)).status()
    assert (found.status, found.error.name) == ("errored", "ValueError")
    assert "time zone" in found.error.message


@pytest.mark.parametrize("when", [1_700_000_000_000, "tomorrow", None, timedelta(hours=1)], ids=str)
async def test_sleep_until_takes_nothing_but_a_datetime(running, when):
    """S §1.2 (milliseconds in the original)"""
    machine = await running(waits := until(when))
    assert (await (await machine.create(waits)).status()).error.name == "TypeError"


async def test_a_sleep_is_at_most_365_days(running):
    """I §1.3.7, §3.2, S §5"""

    @flow
    async def naps(event, step):
        await step.sleep("nap", f"{event.payload} days")

    machine = await running(naps)
    assert await state(await machine.create(naps, 365, id="a")) == "waiting"
    found = await (await machine.create(naps, 366, id="b")).status()
    assert (found.error.name, "365 days" in found.error.message) == ("ValueError", True)


async def test_a_sleep_until_is_at_most_365_days_ahead(running):
    """I §1.3.7, S §5"""
    late, far = until(START + timedelta(days=365)), until(START + timedelta(days=365, seconds=1))
    assert await state(await (await running(late)).create(late)) == "waiting"
    found = await (await (await running(far)).create(far)).status()
    assert (found.error.name, "365 days" in found.error.message) == ("ValueError", True)


async def test_sleeps_do_not_count_towards_the_step_limit(running):
    """I §1.3.7, S §5"""

    @flow
    async def naps(event, step):
        for n in range(5):
            await step.sleep(f"nap {n}", "1 second")
        return await step.do("last", lambda: "done")

    machine = await running(limited(naps, steps=1))
    instance = await machine.create(naps)
    await machine.advance("5 seconds")
    assert await machine.output(instance) == "done"


async def test_a_sleep_is_known_by_its_name_alone(running):
    """S §1.2, I §10.7.1"""
    duration = ["1 hour"]

    @flow
    async def naps(event, step):
        await step.sleep("nap", duration[0])
        return "awake"

    machine = await running(naps)
    instance = await machine.create(naps)
    duration[0] = "5 hours"
    await machine.reboot()
    assert await wake_after(instance) == timedelta(hours=1)
    assert await steps_of(instance) == [("nap", 1, "waiting")]


async def test_the_wake_time_is_fixed_on_first_sight_so_a_replay_never_moves_it(running):
    """S §1.2"""
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    for _ in range(3):
        await machine.advance("10 minutes")
        await machine.reboot()
    assert await wake_after(instance) == timedelta(hours=1)


async def test_a_moment_computed_anew_by_each_replay_does_not_move_a_sleep_until(running):
    """S §1.2, I §10.7.1"""
    machine = await running(waits := until(lambda: START + timedelta(hours=1, seconds=seconds(machine))))
    instance = await machine.create(waits)
    await machine.advance("10 minutes")
    await machine.reboot()
    assert await wake_after(instance) == timedelta(hours=1)


async def test_a_sleeper_that_was_due_while_the_machine_was_off_wakes_by_itself(running):
    """S §2.3, I §10.7.9"""
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    await machine.crash()
    await machine.clock.advance("5 hours")
    await machine.boot()
    assert await machine.output(instance) == "awake"


@pytest.mark.residency
async def test_resumed_sleepers_are_favoured_over_newly_queued_instances(running):
    """I §1.3.7, §3.1, S §5"""
    order = []

    @flow
    async def shop(event, step):
        if event.instance_id == "sleeper":
            await step.sleep("nap", "1 minute")
        if event.instance_id == "holder":
            await step.do("hold", gate.wait)
        await step.do("work", lambda: order.append(event.instance_id))

    gate = asyncio.Event()
    machine = await running(limited(shop, concurrency=1))
    await machine.create(shop, id="sleeper")
    await machine.create(shop, id="holder")
    await machine.create(shop, id="new")
    await machine.advance("5 minutes")
    gate.set()
    await machine.settle()
    assert order == ["holder", "sleeper", "new"]


async def test_a_sleeping_instance_takes_no_place(running):
    """I §3.1, S §5"""
    machine = await running(sleeper, quick, options=ONE_PLACE)
    await machine.create(sleeper, id="asleep")
    assert await machine.run(quick, id="other") == 42


async def test_sleep_returns_nothing(running):
    """I §1.3"""

    @flow
    async def naps(event, step):
        return [await step.sleep("nap", 0), await step.sleep_until("moment", datetime(2020, 1, 1, tzinfo=UTC))]

    assert await (await running(naps)).run(naps) == [None, None]
