"""From an event sent to the next step running, with the instance in memory or replayed first."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.figures import latencies_ms
from benchmarks.programs.drive import until
from benchmarks.programs.everstep import engine
from benchmarks.programs.everstep.workflows import Approval, Ran, charge, note
from everstep import WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from everstep.engine.engine import EngineOptions


async def event(given: dict[str, Any]) -> dict[str, Any]:
    options = None if given["cached"] else EngineOptions(max_cached=0)
    async with engine([Approval], given["database"], options=options) as es:
        binding = es.workflow(Approval)
        ids = [f"approval-{number}" for number in range(given["instances"])]
        await asyncio.gather(*(binding.create(id=id, params=given) for id in ids))
        taken = [await _approved(await binding.get(id)) for id in ids]
        for id in ids:
            await (await binding.get(id)).result()
        steps = given["instances"] * (given["steps"] + 2)  # the wait and the note are steps, too
        return {**latencies_ms(taken), "steps": steps, "instances": given["instances"]}


async def _approved(instance: Any) -> float:
    """Send an instance its event once it waits; return the seconds until its next step ran."""

    async def waits() -> bool:
        return (await instance.status()).status == "waiting"

    async def noted() -> bool:
        return instance.id in Ran.at

    await until(waits)
    began = time.perf_counter()
    await instance.send_event(type="approval")
    await until(noted, 0.001)
    return Ran.at[instance.id] - began


class Long(WorkflowEntrypoint):
    """Steps that tell when they ran, an event, and the step after it."""

    async def run(self, event: WorkflowEvent[dict[str, Any]], step: WorkflowStep) -> None:
        for number in range(event.payload["steps"]):
            await step.do(f"charge {number}", charge)
            Ran.asleep_since.setdefault(str(number), time.perf_counter())
        await step.wait_for_event("approval", "approval")
        await step.do("note", note, event.instance_id)


async def long_history(given: dict[str, Any]) -> dict[str, Any]:
    """How much dearer late steps are than early ones, and what replaying all of them takes."""
    steps = given["steps"] - 2  # the wait and the note belong to the limit of 10,000
    async with engine([Long], given["database"], options=EngineOptions(max_cached=0)) as es:
        instance = await es.workflow(Long).create(params={"steps": steps})
        replay = await _approved(instance)
        await instance.result()
    at, stretch = Ran.asleep_since, min(1000, steps // 4)
    first = at[str(stretch)] - at["0"]
    last = at[str(steps - 1)] - at[str(steps - 1 - stretch)]
    return {"last_to_first": last / first, "replay_ms": replay * 1000, "steps": steps + 2, "instances": 1}
