"""How long ended instances are kept."""

from __future__ import annotations

import pytest

from .factories import broken, limited, quick, sleeper

DAY = 86_400_000


async def left(machine, workflow) -> list[str]:
    """Do the housekeeping that is done every minute, and say who is left."""
    await machine.engine.retention.expire()
    return sorted(one.id for one in await machine.es.workflow(workflow).list())


async def made(machine, workflow, id="one", **options):
    instance = await machine.es.workflow(workflow).create(id=id, **options)
    await machine.settle()
    return instance


async def test_ended_instances_are_kept_for_30_days(running):
    """I §3.2, S §5"""
    machine = await running(quick)
    await made(machine, quick)
    await machine.advance(30 * DAY - 1)
    assert await left(machine, quick) == ["one"]
    await machine.advance(1)
    assert await left(machine, quick) == []


async def test_an_instance_may_have_a_retention_of_its_own(running):
    """I §2.9, S §1.3"""
    machine = await running(quick)
    await made(machine, quick, retention="1 hour")
    await made(machine, quick, "two")
    await machine.advance("1 hour")
    assert await left(machine, quick) == ["two"]


async def test_success_retention_covers_complete_and_terminated(running):
    """I §2.9"""
    machine = await running(quick, sleeper)
    retention = {"success_retention": "1 hour", "error_retention": "10 days"}
    await made(machine, quick, retention=retention)
    await (await made(machine, sleeper, retention=retention)).terminate()
    await machine.advance("1 hour")
    assert await left(machine, quick) + await left(machine, sleeper) == []


async def test_error_retention_covers_errored(running):
    """I §2.9"""
    machine = await running(broken)
    await made(machine, broken, retention={"success_retention": "1 hour", "error_retention": "10 days"})
    await made(machine, broken, "two", retention={"success_retention": "10 days", "error_retention": "1 hour"})
    await machine.advance("1 hour")
    assert await left(machine, broken) == ["one"]


async def test_an_instances_retention_goes_before_its_workflows_and_that_before_the_default(running):
    """I §2.9, S §5"""
    machine = await running(limited(quick, success_retention_ms=2 * DAY))
    await made(machine, quick, "own", retention="1 day")
    await made(machine, quick, "workflows")
    await machine.advance("1 day")
    assert await left(machine, quick) == ["workflows"]
    await machine.advance("1 day")
    assert await left(machine, quick) == []


async def test_one_of_the_two_retentions_leaves_the_other_as_the_workflow_has_it(running):
    """I §2.9"""
    machine = await running(broken)
    await made(machine, broken, retention={"success_retention": "1 hour"})
    await machine.advance("29 days")
    assert await left(machine, broken) == ["one"]


async def test_an_instance_that_has_not_ended_is_kept(running):
    """I §2.9"""
    machine = await running(sleeper)
    instance = await made(machine, sleeper, retention=0)
    await instance.pause()
    await machine.advance("365 days")
    assert await left(machine, sleeper) == ["one"]


async def test_a_restart_keeps_an_ended_instance_from_expiring(running):
    """I §2.4, §2.9"""
    machine = await running(sleeper)
    instance = await made(machine, sleeper, retention="1 hour")
    await machine.advance("1 hour")
    await instance.restart()
    await machine.advance(3_599_000)
    assert await left(machine, sleeper) == ["one"]


async def test_an_id_is_free_again_once_its_instance_has_expired(running):
    """I §2.1"""
    machine = await running(quick)
    await made(machine, quick, retention="1 hour")
    await machine.advance("1 hour")
    await left(machine, quick)
    assert await machine.run(quick) == 42


@pytest.mark.parametrize("wrong", ["soon", 5, {"successRetention": "1 day"}, {"error_retention": 5}], ids=str)
async def test_an_impossible_retention_is_an_error_and_nothing_is_created(running, wrong):
    """I §2.1"""
    machine = await running(quick)
    with pytest.raises((TypeError, ValueError)):
        await made(machine, quick, retention=wrong)
    assert await left(machine, quick) == []
