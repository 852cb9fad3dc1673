"""Many instances over one database with other processes at work on it, too."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.programs.drive import until
from benchmarks.programs.everstep import engine
from benchmarks.programs.everstep.sleeps import create_all
from benchmarks.programs.everstep.workflows import Steps
from everstep.engine.runtime.options import EngineOptions


async def create_and_wait(given: dict[str, Any]) -> dict[str, Any]:
    """Create instances from a process that runs none, and wait until the workers have ended them."""
    instances = given["instances"]
    async with engine([Steps], given["database"], options=EngineOptions(max_running=0)) as es:

        async def all_ended() -> bool:
            counts = await es.control.counts()
            return sum(by_status.get("complete", 0) for by_status in counts.values()) >= instances

        began = time.perf_counter()
        await create_all(es.workflow(Steps), instances, "flow", {"steps": given["steps"]})
        await until(all_ended, 0.02)
        steps = instances * given["steps"]
        return {"per_s": steps / (time.perf_counter() - began), "steps": steps, "instances": instances}


async def work(given: dict[str, Any]) -> dict[str, Any]:
    async with engine([Steps], given["database"]):
        await asyncio.Event().wait()
    return {}
