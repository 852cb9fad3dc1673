"""Deletion, restart from a step, batches, lists, tags and retention."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import pytest

from everstep import InstanceNotFoundError, InstanceStateError
from everstep.engine.runtime.options import EngineOptions
from everstep.engine.scheduling.retention import Retention

from .virtual import flow

MINUTE, DAY = 60_000, 86_400_000


@flow
async def sleeper(event, step):
    await step.do("before", lambda: 1)
    await step.sleep("nap", "1 hour")
    return "awake"


@flow
async def quick(event, step):
    return await step.do("answer", lambda: 42)


@flow
async def failing(event, step):
    raise ValueError("no")


def rows(machine):
    """Count what is stored of any instance."""
    tables = ("instance", "step", "attempt", "event", "tag", "status_event", "chunk")
    return {
        table: count for table in tables for ((count,),) in [machine.rows(f"select count(*) from {table}")] if count
    }


# Deletion


@pytest.mark.parametrize("max_cached", [0, 1_000])
async def test_a_deleted_instance_leaves_nothing_and_does_not_go_on(running, max_cached):
    machine = await running(sleeper, options=EngineOptions(max_cached=max_cached, drain_ms=0))
    instance = await machine.es.workflow(sleeper).create(id="one", tags=["t"])
    await machine.settle()
    await instance.send_event(type="x")
    await instance.delete()
    assert rows(machine) == {}
    with pytest.raises(InstanceNotFoundError):
        await instance.status()
    await machine.advance("2 hours")
    assert rows(machine) == {}


async def test_deletion_ends_the_attempt_in_flight(running):
    ended = []

    async def slow():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    @flow
    async def job(event, step):
        await step.do("slow", slow)

    machine = await running(job)
    instance = await machine.create(job)
    await machine.advance(10)
    await instance.delete()
    await machine.settle()
    assert ended == [1]
    await machine.advance("1 hour")
    assert rows(machine) == {}


async def test_a_thread_that_ends_after_its_instance_was_deleted_changes_nothing(running, held):
    def slow():
        held.wait()

    @flow
    async def job(event, step):
        await step.do("slow", slow)

    machine = await running(job)
    instance = await machine.create(job)
    await instance.delete()
    held.release()
    await machine.advance("1 hour")
    assert rows(machine) == {}


async def test_whoever_waits_for_the_result_of_a_deleted_instance_is_told(running):
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    result = asyncio.ensure_future(instance.result())
    await machine.settle()
    await instance.delete()
    with pytest.raises(InstanceNotFoundError):
        await result


async def test_the_id_of_a_deleted_instance_can_be_used_again(running):
    machine = await running(sleeper)
    instance = await machine.create(sleeper)
    await instance.delete()
    again = await machine.create(sleeper)
    await machine.advance("59 minutes")
    assert (await again.status()).status == "waiting"
    await machine.advance("1 minute")
    assert await machine.output(again) == "awake"


@pytest.mark.parametrize("turns", range(12))
async def test_deletion_while_the_instance_is_being_claimed_leaves_nothing(running, turns):
    machine = await running(sleeper, options=EngineOptions(max_cached=0, drain_ms=0))
    instance = await machine.create(sleeper)
    moving = asyncio.ensure_future(machine.advance("1 hour", until=lambda: bool(machine.engine.cache.all())))
    for _ in range(turns):
        await asyncio.sleep(0)
    await asyncio.gather(instance.delete(), instance.delete(), return_exceptions=True)
    await moving
    await machine.advance("2 hours")
    assert rows(machine) == {}
    assert not machine.engine.cache.all()


@pytest.mark.parametrize("where", ["code", "step", "branch"])
@pytest.mark.parametrize("verb", ["delete", "terminate", "restart"])
async def test_an_instance_can_end_itself_and_its_code_stops_there(running, verb, where):
    lives, beyond = [], []

    @flow
    async def job(event, step):
        lives.append(1)
        me = await machine.es.workflow(job).get(event.instance_id)

        async def end():
            if len(lives) < 3:
                await getattr(me, verb)()
                beyond.append(1)

        if where == "code":
            await end()
        elif where == "step":
            await step.do("end", end)
        else:
            await asyncio.gather(step.do("end", end), step.sleep("nap", "1 minute"))
        return "ended"

    machine = await running(job)
    instance = await machine.create(job)
    for _ in range(4):
        await machine.advance("1 minute")
    assert beyond == []
    if verb == "delete":
        assert rows(machine) == {}
    elif verb == "terminate":
        assert ((await instance.status()).status, lives) == ("terminated", [1])
    else:
        assert await machine.output(instance) == "ended"
        assert len(lives) >= 3


async def test_whoever_waits_for_an_instance_that_deletes_itself_in_a_step_is_told(running):
    @flow
    async def job(event, step):
        me = await machine.es.workflow(job).get(event.instance_id)
        await step.sleep("nap", "1 minute")
        await step.do("end", me.delete)

    machine = await running(job)
    instance = await machine.create(job)
    result = asyncio.ensure_future(instance.result())
    await machine.advance("1 minute")
    with pytest.raises(InstanceNotFoundError):
        await result


# Restart from a step


def counted(ran):
    async def part(name):
        ran.append(name)
        return name

    @flow
    async def job(event, step):
        done = [await step.do(name, part, name) for name in ("a", "b", "a", "c")]
        await step.sleep("nap", "1 hour")
        done.append((await step.wait_for_event("go", "go", timeout="1 day")).payload)
        done.append(await step.do("d", part, "d"))
        return done

    return job


async def test_restarting_from_a_step_keeps_what_started_before_it(running):
    ran = []
    job = counted(ran)
    machine = await running(job, options=EngineOptions(max_cached=0, drain_ms=0))
    instance = await machine.create(job)
    await instance.send_event(type="go", payload=1)
    await machine.advance("1 hour")
    await machine.output(instance)
    assert ran == ["a", "b", "a", "c", "d"]
    ran.clear()
    await instance.restart(from_step="a", count=2)
    await machine.settle()
    assert ran == ["a", "c"]
    await machine.reboot()
    await machine.advance("59 minutes")
    assert ran == ["a", "c"]
    await machine.advance("1 minute")
    assert (await instance.status()).waiting_for.kind == "event"
    await instance.send_event(type="go", payload=2)
    assert await machine.output(instance) == ["a", "b", "a", "c", 2, "d"]


@pytest.mark.parametrize(("name", "type"), [("nap", "sleep"), ("go", "waitForEvent")])
async def test_restarting_from_a_sleep_or_a_wait_begins_it_anew(running, name, type):
    ran = []
    job = counted(ran)
    machine = await running(job)
    instance = await machine.create(job)
    await machine.advance("2 hours")
    await instance.send_event(type="go", payload=1)
    await machine.output(instance)
    ran.clear()
    await instance.restart(from_step=name, type=type)
    await machine.settle()
    assert (await instance.status()).current_step == name
    assert ran == []
    await machine.advance("1 hour")
    await instance.send_event(type="go", payload=2)
    assert (await machine.output(instance))[-2:] == [2, "d"]


async def test_restarting_forgets_events_nobody_took(running):
    job = counted([])
    machine = await running(job)
    instance = await machine.create(job)
    await instance.send_event(type="go", payload="old")
    await instance.restart(from_step="c")
    await machine.advance("2 hours")
    assert (await instance.status()).waiting_for.kind == "event"


@pytest.mark.parametrize(
    "key", [{"from_step": "z"}, {"from_step": "a", "count": 3}, {"from_step": "a", "type": "sleep"}]
)
async def test_restarting_from_a_step_that_never_was_is_refused_and_changes_nothing(running, key):
    ran = []
    job = counted(ran)
    machine = await running(job)
    instance = await machine.create(job)
    with pytest.raises(InstanceStateError) as caught:
        await instance.restart(**key)
    assert caught.value.code == "instance.cannot_restart"
    await machine.settle()
    await instance.send_event(type="go", payload=1)
    await machine.advance("1 hour")
    assert (await machine.output(instance))[-1] == "d"
    assert ran == ["a", "b", "a", "c", "d"]


async def test_restarting_from_a_step_keeps_parallel_steps_that_began_before_it(running):
    ran = []

    async def part(name):
        ran.append(name)
        return name

    @flow
    async def job(event, step):
        return await asyncio.gather(*(step.do(name, part, name) for name in "abc"))

    machine = await running(job)
    instance = await machine.create(job)
    ran.clear()
    await instance.restart(from_step="b")
    assert await machine.output(instance) == ["a", "b", "c"]
    assert ran == ["b", "c"]


async def test_restarting_while_a_step_runs_cuts_it_off(running):
    ran, go = [], asyncio.Event()

    async def slow():
        ran.append("slow")
        await go.wait()

    @flow
    async def job(event, step):
        await step.do("a", lambda: 1)
        await step.do("slow", slow)
        return "done"

    machine = await running(job)
    instance = await machine.create(job)
    await machine.advance(10)
    await instance.restart(from_step="slow")
    await machine.settle()
    go.set()
    assert await machine.output(instance) == "done"
    assert ran == ["slow", "slow"]
    status = await instance.status(steps=True)
    assert [len(one.attempts) for one in status.steps] == [1, 1]


# Batches, lists and tags


async def test_a_batch_creates_what_it_can_and_reports_the_rest(running):
    machine = await running(quick)
    binding = machine.es.workflow(quick)
    await machine.create(quick, id="old")
    result = await binding.create_batch([{"id": "a"}, {"id": "old"}, {"id": "b"}, {"id": "a"}, {}])
    assert [one.id for one in result.created][:2] == ["a", "b"]
    assert len(result.created) == 3
    assert [(one.index, one.id, one.code) for one in result.errors] == [
        (1, "old", "instance.already_exists"),
        (3, "a", "instance.duplicate_in_batch"),
    ]
    await machine.settle()
    assert [(await one.status()).status for one in result.created] == ["complete"] * 3


@pytest.mark.parametrize("batch", [[], [{}] * 101, [{"id": "a"}, {"idd": "b"}]])
async def test_a_malformed_batch_creates_nothing(running, batch):
    machine = await running(quick)
    with pytest.raises(ValueError, match=r"batch"):
        await machine.es.workflow(quick).create_batch(batch)
    assert rows(machine) == {}


async def test_a_batch_deletes_what_it_can_and_reports_the_rest(running):
    machine = await running(quick)
    binding = machine.es.workflow(quick)
    await binding.create_batch([{"id": id} for id in "abc"])
    await machine.settle()
    result = await binding.delete_batch(["a", "missing", "c", "a"])
    assert list(result.deleted) == ["a", "c", "a"]
    assert [(one.index, one.id, one.code) for one in result.errors] == [
        (1, "missing", "instance.not_found"),
    ]
    assert [one.id for one in await binding.list()] == ["b"]


async def test_instances_are_listed_newest_first_page_by_page(running):
    machine = await running(quick)
    binding = machine.es.workflow(quick)
    for number in range(7):
        await machine.create(quick, id=f"i{number}")
    seen, cursor = [], None
    while True:
        page = await binding.list(limit=3, cursor=cursor)
        seen.append([one.id for one in page])
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == [["i6", "i5", "i4"], ["i3", "i2", "i1"], ["i0"]]


async def test_instances_are_found_by_status_and_by_tag(running):
    machine = await running(quick, sleeper)
    binding = machine.es.workflow(sleeper)
    await binding.create(id="a", tags=["red", "big", "red"])
    await binding.create(id="b", tags=["red"])
    await binding.create(id="c")
    await machine.settle()
    await (await binding.get("b")).terminate()
    assert [one.id for one in await binding.list(tag="red")] == ["b", "a"]
    assert [one.id for one in await binding.list(tag="red", status="waiting")] == ["a"]
    assert [one.id for one in await binding.list(status="waiting")] == ["c", "a"]
    assert (await (await binding.get("a")).status()).tags == ["red", "big"]
    assert [one.id for one in await machine.es.workflow(quick).list(tag="red")] == []


# Retention


@pytest.mark.parametrize("retention", ["1001 years", timedelta.max, {"error_retention": "99999999999 years"}])
async def test_to_be_kept_longer_than_dates_can_say_is_refused(running, retention):
    machine = await running(quick)
    with pytest.raises(ValueError, match=r"retention(.error_retention)? must be at most 365,000 days, got"):
        await machine.es.workflow(quick).create(retention=retention)


@pytest.mark.parametrize(
    ("workflow", "retention", "kept"),
    [
        (quick, "1 day", DAY),
        (quick, timedelta(hours=2), 2 * 60 * MINUTE),
        (quick, {"success_retention": "1 hour", "error_retention": "3 days"}, 60 * MINUTE),
        (failing, {"success_retention": "1 hour", "error_retention": "3 days"}, 3 * DAY),
        (failing, {"success_retention": "1 hour"}, 30 * DAY),
        (quick, None, 30 * DAY),
    ],
)
async def test_an_ended_instance_is_kept_for_its_time_and_deleted_then(running, workflow, retention, kept):
    machine = await running(workflow)
    instance = await machine.es.workflow(workflow).create(id="one", retention=retention, tags=["t"])
    await machine.settle()
    await machine.advance(kept - 1)
    assert await machine.engine.retention.expire() == 0
    await machine.advance(1)
    assert await machine.engine.retention.expire() == 1
    with pytest.raises(InstanceNotFoundError):
        await instance.status()
    assert rows(machine) == {}


async def test_terminated_instances_are_kept_like_successful_ones_from_their_end_on(running):
    machine = await running(sleeper)
    retention = {"success_retention": "1 hour", "error_retention": "3 days"}
    instance = await machine.es.workflow(sleeper).create(id="one", retention=retention)
    await machine.settle()
    await machine.advance("30 minutes")
    await instance.terminate()
    await machine.advance("59 minutes")
    assert await machine.engine.retention.expire() == 0
    await machine.advance("1 minute")
    assert await machine.engine.retention.expire() == 1


@pytest.mark.parametrize("verb", ["restart", "resume"])
async def test_an_instance_that_goes_on_after_its_end_is_not_deleted(running, verb):
    code = ["a"]

    @flow
    async def job(event, step):
        await step.do(code[0], lambda: 1)
        await step.sleep("nap", "10 days")

    machine = await running(job, options=EngineOptions(max_cached=0, drain_ms=0))
    instance = await machine.es.workflow(job).create(id="one", retention="1 day")
    await machine.settle()
    if verb == "resume":
        code[0] = "b"
        await machine.advance("10 days")
        assert (await instance.status()).error.name == "NonDeterminismError"
        code[0] = "a"
    else:
        await instance.terminate()
    await getattr(instance, verb)()
    await machine.settle()
    if verb == "restart":
        await machine.advance("5 days")
        assert await machine.engine.retention.expire() == 0
        await machine.advance("5 days")
    assert await machine.output(instance) is None
    await machine.advance("1 day")
    assert await machine.engine.retention.expire() == 1


async def test_more_than_a_piece_is_deleted_in_one_go(running):
    machine = await running(quick)
    binding = machine.es.workflow(quick)
    await asyncio.gather(*(binding.create(retention="1 hour") for _ in range(250)))
    await machine.settle()
    await machine.advance("1 hour")
    assert await machine.engine.retention.expire() == 250
    assert rows(machine) == {}


async def test_retention_is_kept_over_a_reboot(running):
    machine = await running(quick)
    await machine.es.workflow(quick).create(id="one", retention="1 hour")
    await machine.settle()
    await machine.reboot()
    await machine.advance("1 hour")
    assert await machine.engine.retention.expire() == 1


async def test_what_expired_while_nothing_ran_goes_at_the_start(running):
    machine = await running(quick)
    binding = machine.es.workflow(quick)
    await asyncio.gather(*(binding.create(retention="1 hour") for _ in range(150)))
    await binding.create(id="kept", retention="3 hours")
    await machine.settle()
    await machine.stop()
    await machine.advance("2 hours")
    await machine.boot()
    await machine.settle()
    assert [one.id for one in await machine.es.workflow(quick).list()] == ["kept"]


async def test_a_process_that_stops_at_once_has_deleted_some(running, monkeypatch):
    machine = await running(quick)
    await machine.es.workflow(quick).create(id="one", retention="1 hour")
    await machine.settle()
    await machine.stop()
    await machine.advance("2 hours")
    await machine.boot()
    await machine.stop()
    monkeypatch.setattr(Retention, "start", lambda _: None)  # what is there now is what that process left
    await machine.boot()
    assert rows(machine) == {}


async def test_live_instances_never_expire(running):
    machine = await running(sleeper)
    instance = await machine.es.workflow(sleeper).create(id="one", retention="1 minute")
    await machine.settle()
    await instance.pause()
    await machine.advance("60 days")
    assert await machine.engine.retention.expire() == 0
    with contextlib.suppress(InstanceStateError):
        await instance.terminate()
