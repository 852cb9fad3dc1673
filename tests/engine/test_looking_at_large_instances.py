"""Looking at an instance that has stored a lot, and at many of them: values are read when they are asked for."""

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from everstep import Everstep, InstanceNotFoundError, NonRetryableError, WorkflowEntrypoint
from everstep.control.views import StepWindow
from everstep.store.sqlite.reads import QUICK_STEPS

STEPS, BYTES = 40, 1_000_000
SHOWN_CHARS = 8_000


class Large(WorkflowEntrypoint[Any, Any]):
    async def run(self, event: Any, step: Any) -> Any:
        for number in range(STEPS):
            await step.do(f"large-{number}", lambda: "x" * (BYTES - 100))
        return STEPS


class Echo(WorkflowEntrypoint[Any, Any]):
    async def run(self, event: Any, step: Any) -> Any:
        return event.payload


class Long(WorkflowEntrypoint[Any, Any]):
    async def run(self, event: Any, step: Any) -> Any:
        for number in range(QUICK_STEPS + 1):
            await step.do(f"{number}", same, number)
        await step.sleep("long", "1 hour")


class Short(WorkflowEntrypoint[Any, Any]):
    async def run(self, event: Any, step: Any) -> Any:
        for number in range(7):
            step.now()  # a recorded value has a number, too, and is no step
            await step.do(f"{number}", fail if number == 3 else same, number)


async def same(number: int) -> int:
    return number


async def fail(number: int) -> None:
    raise NonRetryableError("boom")


@contextmanager
def at_most(bytes: int) -> Iterator[None]:
    """Check that no more memory than this is taken at any moment of the block."""
    tracemalloc.start()
    try:
        yield
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < bytes


async def test_a_status_reads_no_values_and_a_view_the_beginnings_of_those_it_shows(tmp_path: Path):
    async with Everstep([Large], database=f"sqlite:///{tmp_path}/state.db") as es:
        instance = await es.workflow(Large).create(id="one")
        assert await instance.result("60 seconds") == STEPS
        with at_most(BYTES):
            status = await instance.status()
            described = await es.control.look("large", "one", None)
            with pytest.raises(Exception, match="has no such step"):
                await instance.restart(from_step="none")
        with at_most(5 * BYTES):
            every = await es.control.look("large", "one", StepWindow(), chars=SHOWN_CHARS)
        assert status.step_count == described.status.step_count == STEPS
        assert described.steps == []
        assert (len(every.steps), len(every.steps[-1].output)) == (STEPS, SHOWN_CHARS)


async def test_a_page_of_steps_reads_the_values_of_its_own_steps(tmp_path: Path):
    async with Everstep([Large], database=f"sqlite:///{tmp_path}/state.db") as es:
        instance = await es.workflow(Large).create(id="one")
        assert await instance.result("60 seconds") == STEPS
        with at_most(STEPS * BYTES // 2):
            page = await instance.steps(limit=2, newest_first=True)
        assert [(step.name, len(step.output)) for step in page.steps] == [
            (f"large-{STEPS - 1}", BYTES - 100),
            (f"large-{STEPS - 2}", BYTES - 100),
        ]


async def test_a_list_of_instances_reads_no_values(tmp_path: Path):
    async with Everstep([Echo], database=f"sqlite:///{tmp_path}/state.db") as es:
        binding = es.workflow(Echo)
        for number in range(STEPS):
            instance = await binding.create(id=f"e-{number}", params="x" * (BYTES - 100))
            await instance.result("60 seconds")
        with at_most(BYTES):
            assert len(await binding.list(status="complete")) == STEPS
            [newest] = await es.control.records("echo", limit=1)
        assert (newest.id, newest.params, newest.output) == (f"e-{STEPS - 1}", None, None)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("limit", [1, 3, 4, 100])
async def test_pages_of_steps_are_the_steps_of_the_status(tmp_path: Path, limit: int, newest_first: bool):
    async with Everstep([Short], database=f"sqlite:///{tmp_path}/state.db") as es:
        instance = await es.workflow(Short).create(id="one")
        with pytest.raises(NonRetryableError, match="boom"):
            await instance.result("60 seconds")
        found: list[Any] = []
        cursor: str | None = None
        while True:
            page = await instance.steps(limit=limit, cursor=cursor, newest_first=newest_first)
            assert 0 < len(page.steps) <= limit
            found += page.steps
            cursor = page.cursor
            if cursor is None:
                break
        every = (await instance.status(steps=True)).steps
        assert [step.name for step in every] == ["0", "1", "2", "3"]
        assert found == (every[::-1] if newest_first else every)
        assert (await instance.steps(cursor="1000")).steps == []


async def test_an_instance_at_work_with_many_steps_is_shown_by_pages(running):
    machine = await running(Long)
    instance = await machine.create(Long)
    await machine.settle()
    in_memory = await instance.steps(limit=2, newest_first=True)
    assert [(step.name, step.output) for step in in_memory.steps] == [("long", None), (f"{QUICK_STEPS}", QUICK_STEPS)]
    machine.engine.evict(1)
    assert machine.engine.cache.get(1) is None
    assert await instance.steps(limit=2, newest_first=True) == in_memory
    assert (await instance.status()).current_step == "long"


async def test_pages_of_steps_refuse_what_cannot_be(tmp_path: Path):
    async with Everstep([Echo], database=f"sqlite:///{tmp_path}/state.db") as es:
        instance = await es.workflow(Echo).create(id="one", params=1)
        await instance.result("60 seconds")
        wrong: Any
        for wrong in (0, -1):
            with pytest.raises(ValueError, match="limit must be at least 1"):
                await instance.steps(limit=wrong)
        for wrong in (True, "5", None):
            with pytest.raises(TypeError, match=r"limit of steps\(\) is a whole number"):
                await instance.steps(limit=wrong)
        with pytest.raises(ValueError, match=r"cursor 'x' is not one that steps\(\) gave"):
            await instance.steps(cursor="x")
        await instance.delete()
        with pytest.raises(InstanceNotFoundError):
            await instance.steps()
