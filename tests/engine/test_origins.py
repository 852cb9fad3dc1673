"""Where an error came from is seen wherever the error is."""

from __future__ import annotations

import asyncio

import pytest

from everstep.telemetry.log_format import describe

from .virtual import flow

ORIGIN = f'File "{__file__}", line '


async def charge():
    raise ValueError("declined")


def once(step):
    return step.do("charge", {"retries": {"limit": 0}}, charge)


@flow
async def one_step(event, step):
    await once(step)


@flow
async def a_group(event, step):
    async with asyncio.TaskGroup() as group:
        group.create_task(once(step))


async def test_the_result_of_an_instance_shows_where_its_step_failed_also_after_a_crash(running):
    machine = await running(one_step)
    instance = await machine.create(one_step)
    for _ in range(2):
        with pytest.raises(ValueError, match="declined") as caught:
            await instance.result()
        (note,) = caught.value.__notes__
        assert note.startswith(ORIGIN)
        assert note.endswith(', in charge: raise ValueError("declined")')
        await machine.reboot()


async def test_the_result_of_a_task_group_names_what_failed_inside(running):
    machine = await running(a_group)
    instance = await machine.create(a_group)
    with pytest.raises(ExceptionGroup) as caught:
        await instance.result()
    (note,) = caught.value.__notes__
    assert note.startswith(f"failed inside: ValueError: declined ({ORIGIN}")


async def test_the_lines_of_an_attempt_and_of_an_instance_show_where_it_failed(running):
    machine = await running(one_step, a_group)
    lines = []
    machine.es.telemetry.subscribe(lambda event: lines.append(describe(event)))
    await machine.create(one_step)
    await machine.create(a_group)
    failed = [line for line in lines if line and "ValueError: declined" in line]
    assert len(failed) == 4
    assert all(f"({ORIGIN}" in line and "\n" not in line for line in failed)
    assert all('in charge: raise ValueError("declined"))' in line for line in failed)
