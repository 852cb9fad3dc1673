"""Tasks that `run` made and nobody awaited are named when the instance is complete."""

from __future__ import annotations

import asyncio
import logging

import pytest

from .virtual import flow


@pytest.fixture
def warnings(caplog):
    """What the engine warned of."""
    return lambda: [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]


async def work():
    return 1


async def branch(step):
    await step.sleep("nap", "1 day")


async def failing():
    raise ValueError("no stock")


@flow
async def leaves_one(event, step):
    asyncio.create_task(branch(step))  # noqa: RUF006  # that nobody holds it is what is tested
    await step.do("x", work)


@flow
async def leaves_a_step(event, step):
    asyncio.create_task(step.sleep("nap", "1 day"))  # noqa: RUF006
    await step.do("x", work)


@flow
async def leaves_a_failure(event, step):
    asyncio.create_task(failing())  # noqa: RUF006
    await step.do("x", work)


@flow
async def leaves_none(event, step):
    task = asyncio.create_task(branch(step))
    done = asyncio.create_task(work())
    await asyncio.gather(step.do("x", work), step.do("y", work))
    task.cancel()
    await asyncio.wait([task, done])
    await asyncio.gather(asyncio.create_task(failing()), return_exceptions=True)


async def test_a_task_that_runs_still_is_named_with_its_line_and_its_step(running, warnings):
    machine = await running(leaves_one)
    await machine.run(leaves_one)
    (said,) = warnings()
    line = branch.__code__.co_firstlineno
    assert said == (
        f"leaves-one/one: task 'branch' (File \"{__file__}\", line {line}) at step 'nap' was still running and is "
        "cancelled; await it, or cancel it"
    )


async def test_a_step_that_was_made_a_task_is_named(running, warnings):
    machine = await running(leaves_a_step)
    await machine.run(leaves_a_step)
    (said,) = warnings()
    assert "at step 'nap' was still running" in said


async def test_a_task_that_failed_unseen_is_named_with_its_error(running, warnings):
    machine = await running(leaves_a_failure)
    await machine.run(leaves_a_failure)
    (said,) = warnings()
    assert said.endswith("failed with ValueError: no stock, and nobody awaited it")
    assert "task 'failing'" in said


async def test_tasks_that_were_awaited_or_cancelled_are_not_named(running, warnings):
    machine = await running(leaves_none)
    await machine.run(leaves_none)
    assert warnings() == []
