"""What a status says."""

from __future__ import annotations

import json
from datetime import UTC, timedelta

import msgspec
import pytest

from everstep import InstanceStatus, WaitingFor
from everstep.core.types import STATUSES

from .factories import ONE_PLACE, START, Flaky, Gate, flow, one_step, quick, sleeper, stander, state, wake_after

FIELDS = [
    "status",
    "error",
    "output",
    "rollback",
    "current_step",
    "waiting_for",
    "wake_at",
    "step_count",
    "attempt",
    "created_at",
    "started_at",
    "ended_at",
    "elapsed_ms",
    "version",
]


async def test_a_status_has_the_originals_fields_and_those_it_lacks(running):
    """I §2.5, S §1.3"""
    machine = await running(quick)
    found = await (await machine.create(quick)).status()
    assert isinstance(found, InstanceStatus)
    assert list(type(found).__struct_fields__)[: len(FIELDS)] == FIELDS


async def test_the_names_in_json_are_the_same(running):
    """S §1.3"""
    machine = await running(sleeper)
    written = json.loads(msgspec.json.encode(await (await machine.create(sleeper)).status()))
    assert list(written)[: len(FIELDS)] == FIELDS
    assert written["waiting_for"]["kind"] == "sleep"
    assert "steps" not in written


async def test_steps_are_only_there_when_asked_for(running):
    """S §1.3"""
    machine = await running(quick)
    instance = await machine.create(quick)
    assert (await instance.status()).steps is msgspec.UNSET
    assert [step.name for step in (await instance.status(steps=True)).steps] == ["first"]


async def test_an_instance_in_a_step_is_running_with_that_step_and_attempt(running):
    """S §1.3"""
    machine = await running(stander)
    found = await (await machine.create(stander)).status()
    assert (found.status, found.current_step, found.attempt, found.step_count) == ("running", "stand", 1, 1)
    assert (found.waiting_for, found.wake_at) == (None, None)


async def test_a_sleeping_instance_is_waiting_for_a_sleep(running):
    """I §3.1, S §1.3, §2.8"""
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    found = await instance.status()
    assert (found.status, found.current_step, found.step_count) == ("waiting", "nap", 2)
    assert found.waiting_for == WaitingFor("sleep", "nap")
    assert await wake_after(instance) == timedelta(hours=1)


async def test_an_instance_that_waits_for_an_event_says_for_which(running):
    """I §3.1, S §1.3"""

    @flow
    async def shop(event, step):
        await step.wait_for_event("approval", "order.approval", timeout="1 hour")

    machine = await running(shop)
    found = await (await machine.create(shop)).status()
    assert (found.status, found.waiting_for) == ("waiting", WaitingFor("event", "approval", "order.approval"))
    assert found.wake_at == START + timedelta(hours=1)


async def test_an_instance_between_attempts_is_waiting_for_a_retry(running):
    """I §3.1, S §1.3"""
    machine = await running(shop := one_step(Flaky()))
    found = await (await machine.create(shop)).status()
    assert (found.status, found.waiting_for, found.attempt) == ("waiting", WaitingFor("retry", "charge"), 1)


async def test_an_instance_that_finds_no_room_is_queued_and_has_not_started(running):
    """I §3.1"""
    machine = await running(stander, quick, options=ONE_PLACE)
    await machine.create(stander, id="first")
    found = await (await machine.create(quick)).status()
    assert (found.status, found.started_at, found.step_count) == ("queued", None, 0)


async def test_the_times_are_aware_utc_and_elapsed_counts_from_start_to_end(running):
    """S §1.3"""
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    await machine.advance("3 hours")
    found = await instance.status()
    assert (found.created_at, found.started_at) == (START, START)
    assert found.ended_at == START + timedelta(hours=1)
    assert found.elapsed_ms == 3_600_000
    assert found.ended_at.tzinfo is UTC


async def test_an_error_has_a_name_and_a_message(running):
    """I §2.5"""
    machine = await running(shop := one_step(Flaky(), {"retries": {"limit": 0}}))
    error = (await (await machine.create(shop)).status()).error
    assert (error.name, error.message) == ("ConnectionError", "no route")


async def test_the_output_is_none_until_the_instance_is_complete(running):
    """I §2.5"""
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    assert (await instance.status()).output is None
    await machine.advance("1 hour")
    assert (await instance.status()).output == "awake"


async def test_rollback_is_none_when_nothing_was_rolled_back(running):
    """I §2.5"""
    machine = await running(quick)
    assert (await (await machine.create(quick)).status()).rollback is None


async def test_the_steps_are_in_the_order_they_started_with_attempts_and_times(running):
    """S §1.3"""
    machine = await running(shop := one_step(Flaky(failures=1)))
    instance = await machine.create(shop)
    await machine.advance("1 minute")
    [step] = (await instance.status(steps=True)).steps
    assert (step.seq, step.name, step.count, step.type, step.status, step.output) == (
        1,
        "charge",
        1,
        "do",
        "complete",
        2,
    )
    first, second = step.attempts
    assert (first.attempt, first.started_at, first.ended_at, first.status) == (1, START, START, "errored")
    assert first.retry_at == START + timedelta(seconds=10)
    assert (second.attempt, second.started_at, second.status) == (2, START + timedelta(seconds=10), "complete")


@pytest.mark.parametrize("kind", ["complete", "errored", "terminated"])
async def test_an_instance_that_has_ended_is_in_no_step(running, kind):
    """S §1.3"""
    charge = Flaky(failures=0 if kind == "complete" else 9)
    machine = await running(shop := one_step(charge, {"retries": {"limit": 0 if kind == "errored" else 5}}))
    instance = await machine.create(shop)
    if kind == "terminated":
        await instance.terminate()
    found = await instance.status()
    assert found.status == kind
    assert (found.current_step, found.waiting_for, found.wake_at, found.attempt) == (None, None, None, None)


async def test_the_status_is_the_same_from_memory_and_from_the_store(running):
    """S §2.6"""
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    before = await instance.status(steps=True)
    await machine.reboot()
    assert await instance.status(steps=True) == before


async def test_every_status_is_a_word_of_the_original(running):
    """I §2.5, S §2.8"""
    words = {
        "queued",
        "running",
        "waiting",
        "paused",
        "waitingForPause",
        "errored",
        "terminated",
        "complete",
        "unknown",
    }
    assert set(STATUSES) == words
    machine = await running(shop := one_step(gate := Gate()))
    instance = await machine.create(shop)
    seen = [await state(instance)]
    await instance.pause()
    seen.append(await state(instance))
    gate.open()
    await machine.settle()
    seen.append(await state(instance))
    assert seen == ["running", "waitingForPause", "paused"]
