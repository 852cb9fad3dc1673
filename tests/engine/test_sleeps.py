"""Sleeps: how long they last, through replays and crashes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from everstep.core.timestamps import utc
from everstep.engine.runtime.options import EngineOptions

from .virtual import START_MS, flow


async def test_a_sleep_lasts_as_long_as_it_says(running):
    @flow
    async def nap(event, step):
        await step.sleep("nap", "90 seconds")
        return "awake"

    machine = await running(nap)
    instance = await machine.create(nap)
    await machine.advance(89_999)
    assert (await instance.status()).status == "waiting"
    await machine.advance(1)
    assert await machine.output(instance) == "awake"


@pytest.mark.parametrize("duration", ["1.5 hours", timedelta(hours=1.5), "90 minutes"])
async def test_a_duration_is_words_or_a_timedelta(running, duration):
    @flow
    async def nap(event, step):
        await step.sleep("nap", duration)

    machine = await running(nap)
    instance = await machine.create(nap)
    assert (await instance.status()).wake_at == utc(START_MS + 90 * 60_000)


@pytest.mark.parametrize("duration", [0, "0 seconds", timedelta(0)])
async def test_a_sleep_of_0_returns_at_once(running, duration):
    @flow
    async def nap(event, step):
        await step.sleep("nap", duration)
        return "awake"

    assert await (await running(nap)).run(nap) == "awake"


@pytest.mark.parametrize(
    ("duration", "kind", "message"),
    [
        (30, TypeError, "seconds in Python's habits"),
        ("soon", ValueError, "duration of sleep 'nap' 'soon'"),
        ("366 days", ValueError, "at most 365 days"),
    ],
)
async def test_an_impossible_duration_is_an_error_that_names_the_sleep(running, duration, kind, message):
    @flow
    async def nap(event, step):
        await step.sleep("nap", duration)

    with pytest.raises(kind, match=message):
        await (await running(nap)).run(nap)


async def test_a_sleep_of_365_days_is_taken(running):
    @flow
    async def nap(event, step):
        await step.sleep("nap", "365 days")
        return "awake"

    machine = await running(nap)
    instance = await machine.create(nap)
    await machine.advance("364 days")
    assert (await instance.status()).status == "waiting"
    await machine.advance("1 day")
    assert await machine.output(instance) == "awake"


async def test_sleep_until_wakes_at_its_moment(running):
    moment = datetime.fromtimestamp(START_MS / 1000 + 3_600, timezone(timedelta(hours=2)))

    @flow
    async def nap(event, step):
        await step.sleep_until("noon", moment)
        return "awake"

    machine = await running(nap)
    instance = await machine.create(nap)
    assert (await instance.status()).wake_at == moment
    await machine.advance("59 minutes")
    assert (await instance.status()).status == "waiting"
    await machine.advance("1 minute")
    assert await machine.output(instance) == "awake"


async def test_sleep_until_a_past_moment_returns_at_once(running):
    @flow
    async def nap(event, step):
        await step.sleep_until("noon", datetime(2001, 1, 1, tzinfo=UTC))
        return "awake"

    assert await (await running(nap)).run(nap) == "awake"


async def test_sleep_until_a_naive_moment_is_an_error(running):
    @flow
    async def nap(event, step):
        await step.sleep_until("noon", datetime(2030, 1, 1))  # noqa: DTZ001

    with pytest.raises(ValueError, match="naive"):
        await (await running(nap)).run(nap)


async def test_a_wake_time_stays_where_it_was_first_set(running):
    @flow
    async def nap(event, step):
        await step.sleep("nap", "1 hour")
        return "awake"

    machine = await running(nap)
    instance = await machine.create(nap)
    for _ in range(3):
        await machine.advance("15 minutes")
        await machine.reboot()
    assert (await instance.status()).wake_at == utc(START_MS + 3_600_000)
    await machine.advance("15 minutes")
    assert await machine.output(instance) == "awake"


async def test_a_sleep_until_computed_from_now_stays_where_it_was_first_set(running):
    @flow
    async def nap(event, step):
        await asyncio.gather(
            step.sleep_until("in an hour", utc(machine.now + 3_600_000)), step.sleep("short", "10 minutes")
        )
        return machine.now

    machine = await running(nap, options=EngineOptions(max_cached=0))
    instance = await machine.create(nap)
    await machine.advance("2 hours")
    assert await machine.output(instance) == START_MS + 3_600_000


async def test_a_changed_duration_does_not_move_a_sleep_that_has_begun(running):
    durations = ["1 hour"]

    @flow
    async def nap(event, step):
        await step.sleep("nap", durations[-1])
        return "awake"

    machine = await running(nap)
    instance = await machine.create(nap)
    durations.append("1 day")
    await machine.reboot()
    await machine.advance("1 hour")
    assert await machine.output(instance) == "awake"


async def test_parallel_sleeps_last_as_long_as_the_longest(running):
    woken = []

    @flow
    async def naps(event, step):
        async def nap(hours):
            await step.sleep(f"nap {hours}", f"{hours} hours")
            await step.do(f"note {hours}", lambda: woken.append((hours, machine.now)))

        await asyncio.gather(nap(3), nap(1), nap(2))

    machine = await running(naps)
    instance = await machine.create(naps)
    await machine.advance("3 hours")
    await machine.output(instance)
    assert woken == [(hours, START_MS + hours * 3_600_000) for hours in (1, 2, 3)]


@pytest.mark.parametrize("max_cached", [0, 1, 10])
async def test_sleeps_end_on_time_whoever_stays_in_memory(running, max_cached):
    @flow
    async def naps(event, step):
        times = []
        for minutes in event.payload:
            await step.sleep("nap", timedelta(minutes=minutes))
            times.append(await step.do("now", lambda: machine.now))
        return [(time - START_MS) // 60_000 for time in times]

    machine = await running(naps, options=EngineOptions(max_cached=max_cached))
    instances = [await machine.create(naps, [n, 3, n], id=f"n{n}") for n in range(1, 6)]
    await machine.advance("1 hour")
    for n, instance in enumerate(instances, start=1):
        assert await machine.output(instance) == [n, n + 3, 2 * n + 3]


async def test_a_sleep_that_ended_while_the_machine_was_off_ends_at_once(running):
    @flow
    async def nap(event, step):
        await step.sleep("nap", "1 hour")
        return machine.now

    machine = await running(nap)
    instance = await machine.create(nap)
    await machine.crash()
    await machine.advance("1 day")
    await machine.boot()
    assert await machine.output(instance) == START_MS + 86_400_000


async def test_a_replayed_sleep_that_is_reached_after_the_instance_seemed_to_rest_ends_on_time(running):
    """On replay the slow branch arrives when the instance has been parked for the long sleep beside it."""

    @flow
    async def naps(event, step):
        async def slow():
            for _ in range(20):
                await asyncio.sleep(0)  # something that is no step
            await step.sleep("slow", "60 seconds")

        await asyncio.gather(slow(), step.sleep("short", "30 seconds"), step.sleep("long", "1 day"))

    machine = await running(naps)
    instance = await machine.create(naps)
    await machine.reboot()
    await machine.advance("1 day")
    await machine.output(instance)
    ended = {one.name: one.ended_at for one in (await instance.status(steps=True)).steps}
    assert ended == {name: utc(START_MS + s * 1_000) for name, s in {"slow": 60, "short": 30, "long": 86_400}.items()}


async def test_sleeps_of_one_name_are_counted(running):
    @flow
    async def naps(event, step):
        for _ in range(3):
            await step.sleep("nap", "1 minute")

    machine = await running(naps)
    instance = await machine.create(naps)
    await machine.advance("3 minutes")
    await machine.output(instance)
    steps = (await instance.status(steps=True)).steps
    assert [(step.name, step.count, step.type, step.status) for step in steps] == [
        ("nap", count, "sleep", "complete") for count in (1, 2, 3)
    ]
