"""The interpreter's settings: changed only for a process that belongs to the engine, and put back."""

from __future__ import annotations

import asyncio
import gc
import sys

import pytest

from everstep import Everstep, WorkflowEntrypoint
from everstep.engine.runtime.options import EngineOptions


class Plain(WorkflowEntrypoint):
    async def run(self, event, step):
        return sys.getswitchinterval(), gc.get_threshold()[0]


@pytest.mark.parametrize("owns", [False, True])
async def test_the_interpreter_is_settled_for_an_engine_that_owns_the_process(owns):
    gc.unfreeze()  # what an earlier test may have left
    before = sys.getswitchinterval(), gc.get_threshold()
    async with Everstep([Plain], database="sqlite:///:memory:", owns_process=owns) as es:
        seen = await (await es.workflow(Plain).create()).result()
    assert (seen != [before[0], before[1][0]] and seen != (before[0], before[1][0])) is owns
    assert (sys.getswitchinterval(), gc.get_threshold(), gc.get_freeze_count()) == (*before, 0)


class Trivial(WorkflowEntrypoint):
    async def run(self, event, step):
        async def trivial():
            return {"ok": True}

        for number in range(3):
            await step.do(f"step {number}", trivial)
        if event.payload["then"] == "sleep":
            await step.sleep("nap", "1 hour")


@pytest.mark.parametrize("then", ["end", "sleep"])
async def test_an_instance_that_leaves_memory_leaves_nothing_to_the_garbage_collector(tmp_path, then):
    """Finding the cycles of a thousand instances would be a good part of what they cost, and a pause for all others."""
    database = f"sqlite:///{tmp_path}/state.db"
    async with Everstep([Trivial], database=database, options=EngineOptions(max_cached=0)) as es:
        workflow = es.workflow(Trivial)

        async def gone(number: int) -> None:
            instance = await workflow.create(params={"then": then})
            while (await instance.status()).status not in ("complete", "waiting"):
                await asyncio.sleep(0.01)

        await gone(0)
        gc.collect()
        gc.disable()
        try:
            await asyncio.gather(*map(gone, range(50)))
            await asyncio.sleep(0.1)
            assert gc.collect() < 50
        finally:
            gc.enable()
