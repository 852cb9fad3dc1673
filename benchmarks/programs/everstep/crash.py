"""kill -9 with many instances in flight, and how soon the next process goes on with them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.programs.drive import EndInFlight, until
from benchmarks.programs.everstep import engine
from benchmarks.programs.everstep.sleeps import create_all
from benchmarks.programs.everstep.workflows import Ran
from benchmarks.works import STEP_RESULT
from everstep import WorkflowEntrypoint, WorkflowEvent, WorkflowStep


class _Flight:
    ends: EndInFlight | None = None


class InFlight(WorkflowEntrypoint):
    """Trivial steps; every instance is at work when the first half of all steps is done."""

    async def run(self, event: WorkflowEvent[dict[str, Any]], step: WorkflowStep) -> None:
        for number in range(event.payload["steps"]):
            if number * 2 == event.payload["steps"]:
                await _half_way()
            await step.do(f"charge {number}", _charge)


async def _half_way() -> None:
    if _Flight.ends is not None:
        await _Flight.ends.half_way()


async def _charge() -> dict[str, Any]:
    Ran.steps += 1
    if _Flight.ends is not None:
        _Flight.ends.stepped()
    Ran.at["first"] = Ran.at.get("first") or time.perf_counter()
    Ran.at["last"] = time.perf_counter()
    return STEP_RESULT


async def until_killed(given: dict[str, Any]) -> dict[str, Any]:
    _Flight.ends = EndInFlight(given["instances"])
    async with engine([InFlight], given["database"]) as es:
        await create_all(es.workflow(InFlight), given["instances"], "flight", {"steps": given["steps"]})
        await asyncio.Event().wait()
    return {}


async def after_kill(given: dict[str, Any]) -> dict[str, Any]:
    began = time.perf_counter()
    async with engine([InFlight], given["database"]) as es:

        async def all_ended() -> bool:
            counts = await es.control.counts()
            return sum(by_status.get("complete", 0) for by_status in counts.values()) >= given["instances"]

        await until(all_ended, 0.1)
    return {
        "first_s": Ran.at["first"] - began,
        "last_s": Ran.at["last"] - began,
        "steps": given["instances"] * given["steps"],
        "instances": given["instances"],
    }
