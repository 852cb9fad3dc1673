"""`Everstep` in a process: what it refuses, and when another engine is there."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from everstep import DatabaseInUseError, Everstep, WorkflowEntrypoint, WorkflowNotFoundError


@pytest.mark.parametrize("lease", ["1 second", "500 days"])
def test_a_lease_that_no_worker_could_keep_is_refused(lease: str):
    with pytest.raises(ValueError, match=f"from 2 seconds to 1 day, got '{lease}'"):
        Everstep([], database="postgresql://h/d", lease=lease)


def namesake() -> type[WorkflowEntrypoint]:
    class Order(WorkflowEntrypoint):
        async def run(self, event, step):
            return None

    return Order


async def test_a_class_that_only_shares_the_name_of_a_workflow_is_refused():
    order, other = namesake(), namesake()
    async with Everstep([order], database="sqlite:///:memory:") as es:
        assert es.workflow(order).name == es.workflow("order").name == "order"
        with pytest.raises(
            WorkflowNotFoundError, match=r"namesake.<locals>.Order is not run here: workflow 'order' is"
        ):
            es.workflow(other)


async def test_a_child_of_a_class_that_only_shares_a_name_is_not_run_as_the_other():
    order, other = namesake(), namesake()

    class Parent(WorkflowEntrypoint):
        async def run(self, event, step):
            await step.run_workflow("child", other)

    async with Everstep([order, Parent], database="sqlite:///:memory:") as es:
        parent = await es.workflow(Parent).create()
        with pytest.raises(WorkflowNotFoundError, match="is another class"):
            await parent.result("10 seconds")
        assert len(await es.workflow(order).list()) == 0


async def test_a_second_engine_of_the_same_process_is_told_so(tmp_path: Path):
    database = f"sqlite:///{tmp_path}/state.db"
    async with Everstep([], database=database):
        with pytest.raises(DatabaseInUseError, match=r"this very process \(pid \d+\).*Use one Everstep"):
            await Everstep([], database=database).__aenter__()


SECOND = """
import asyncio, sys
from everstep import Everstep

async def main():
    async with Everstep([], database=sys.argv[1]): ...

asyncio.run(main())
"""


async def test_a_second_process_is_told_of_the_workers_of_servers_and_the_cure(tmp_path: Path):
    database = f"sqlite:///{tmp_path}/state.db"
    async with Everstep([], database=database):
        command = [sys.executable, "-c", SECOND, database]
        ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert f"another everstep process (pid {os.getpid()})" in ran.stderr
    assert "uvicorn --workers" in ran.stderr
    assert "PostgreSQL" in ran.stderr


async def test_an_engine_that_defers_to_another_starts_nothing_and_answers_with_it(tmp_path: Path):
    order = namesake()
    own = Everstep([order], database=f"sqlite:///{tmp_path}/own.db", env={"KEY": "own"})
    async with Everstep([order], database="sqlite:///:memory:", env={"KEY": "deputy"}) as deputy:
        own.defer_to(deputy)
        async with own:
            await own.workflow(order).create(id="a")
            assert own.env.KEY == own.values["KEY"] == "deputy"
        assert (await (await deputy.workflow(order).get("a")).result("10 seconds")) is None
    assert list(tmp_path.iterdir()) == []
