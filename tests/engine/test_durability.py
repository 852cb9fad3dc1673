"""How sure what an instance records is, as its workflow chose; and how many may be created at a time."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import pytest

from everstep import ConfigError, Everstep, WorkflowEntrypoint
from everstep.engine.runtime.options import EngineOptions
from everstep.engine.runtime.registry import define

from .virtual import flow

RELAXED = """
import asyncio, os, signal, sys
from everstep import Everstep, WorkflowEntrypoint

class Count(WorkflowEntrypoint):
    durability = "relaxed"

    async def run(self, event, step):
        for n in range(100):
            await step.do(f"n-{n}", lambda: n)
            if n == 49 and sys.argv[2] == "die":
                os.kill(os.getpid(), signal.SIGKILL)
        return n

async def main():
    async with Everstep([Count], database=f"sqlite:///{sys.argv[1]}") as es:
        instance = await es.workflow(Count).get_or_create(id="one")
        status = await instance.status(steps=True)
        print(await instance.result(), sum(step.attempts[-1].attempt for step in status.steps[:49]))

asyncio.run(main())
"""


class Sure(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.do("a", lambda: 1)
        return await step.do("b", lambda: 2)


class Quick(Sure):
    durability = "relaxed"


async def test_a_relaxed_workflow_relaxes_what_it_records_and_nothing_that_is_asked_of_it(tmp_path):
    async with Everstep([Sure, Quick], database=f"sqlite:///{tmp_path}/state.db") as es:
        written, write = [], es._store.write

        def note(change, **more):
            written.append((es.registry["quick" if change.relaxed else "sure"].name, change.relaxed))
            return write(change, **more)

        es._store.write = note
        for workflow in (Sure, Quick):
            assert await (await es.workflow(workflow).create()).result() == 2
        assert {relaxed for name, relaxed in written if name == "sure"} == {False}
        assert [relaxed for _, relaxed in written].count(True) >= 3


@pytest.mark.crash
def test_what_a_relaxed_workflow_recorded_outlives_its_process(tmp_path):
    command = [sys.executable, "-c", RELAXED, str(tmp_path / "state.db")]
    killed = subprocess.run([*command, "die"], check=False)
    assert killed.returncode == -signal.SIGKILL
    again = subprocess.run([*command, "go on"], check=True, capture_output=True, text=True)
    assert again.stdout.split() == ["99", "49"]


def test_another_durability_than_the_two_is_refused():
    class Wrong(Sure):
        durability = "maybe"

    with pytest.raises(ConfigError, match=r"Wrong\.durability is one of"):
        define(Wrong)


async def test_a_burst_of_creations_waits_for_its_turn_and_is_seen_in_the_metrics(running):
    @flow
    async def quick(event, step):
        return 1

    machine = await running(quick, options=EngineOptions(max_creating=5, max_running=7))
    burst = [asyncio.ensure_future(machine.es.workflow(quick).create(id=f"i{n}")) for n in range(50)]
    await asyncio.sleep(0)
    load = await machine.es.control.metrics()
    assert (load.creating.now, load.creating.max, load.creating.waiting) == (5, 5, 45)
    await asyncio.gather(*burst)
    await machine.settle()
    load = await machine.es.control.metrics()
    assert (load.creating.now, load.creating.waiting, load.running.now, load.running.max) == (0, 0, 0, 7)
    assert {await machine.output(machine.handle(quick, f"i{n}")) for n in range(50)} == {1}


async def test_one_of_a_burst_that_goes_away_gives_its_turn_to_the_next(running):
    @flow
    async def quick(event, step):
        return 1

    machine = await running(quick, options=EngineOptions(max_creating=1))
    burst = [asyncio.ensure_future(machine.es.workflow(quick).create(id=f"i{n}")) for n in range(6)]
    await asyncio.sleep(0)
    burst[0].cancel()
    burst[2].cancel()
    await asyncio.gather(*burst, return_exceptions=True)
    await machine.settle()
    created = {one.id for one in (await machine.es.workflow(quick).list()).instances}
    assert created == {"i0", "i1", "i3", "i4", "i5"}
