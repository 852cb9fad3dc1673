"""Steps for a second, and an empty workflow from create to result."""

from __future__ import annotations

from typing import Any

from benchmarks.programs.drive import latencies, seconds_for
from benchmarks.programs.everstep import engine
from benchmarks.programs.everstep.workflows import Branches, Empty, Ran, Results, Steps


async def sequential(given: dict[str, Any]) -> dict[str, Any]:
    return await _one_instance(given, Steps, given["steps"])


async def results(given: dict[str, Any]) -> dict[str, Any]:
    return await _one_instance(given, Results, given["steps"])


async def branches(given: dict[str, Any]) -> dict[str, Any]:
    return await _one_instance(given, Branches, given["times"] * given["branches"])


async def parallel(given: dict[str, Any]) -> dict[str, Any]:
    instances, params = given["instances"], {"steps": given["steps"]}
    async with engine([Steps], given["database"]) as es:
        binding = es.workflow(Steps)

        async def one(_: int) -> None:
            await (await binding.create(params=params)).result()

        seconds = await seconds_for(instances, given["concurrency"], one)
        steps = instances * given["steps"]
        return {"per_s": steps / seconds, "steps": steps, "instances": instances, "ran": Ran.steps}


async def create(given: dict[str, Any]) -> dict[str, Any]:
    async with engine([Empty], given["database"]) as es:
        binding = es.workflow(Empty)

        async def one(_: int) -> None:
            await (await binding.create()).result()

        return {**await latencies(given["instances"], one), "instances": given["instances"]}


async def _one_instance(given: dict[str, Any], workflow: type, steps: int) -> dict[str, Any]:
    async with engine([workflow], given["database"]) as es:
        binding = es.workflow(workflow)

        async def one(_: int) -> None:
            await (await binding.create(params=given)).result()

        seconds = await seconds_for(1, 1, one)
        return {"per_s": steps / seconds, "steps": steps, "instances": 1, "ran": Ran.steps}
