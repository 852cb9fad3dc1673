"""`python -m benchmarks.programs.dbos SETTINGS`: one work done by DBOS in this process."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from dbos import DBOS, SetWorkflowID

from benchmarks.figures import latencies_ms, percentile
from benchmarks.programs.drive import EndInFlight, latencies, seconds_for, settings, tell, until
from benchmarks.works import STEP_RESULT

AT: dict[str, float] = {}


class Ran:
    """Steps that ran in this process, and what ends it half-way."""

    steps = 0
    ends: EndInFlight | None = None


@DBOS.step()
async def charge() -> dict[str, Any]:
    Ran.steps += 1
    if Ran.ends is not None:
        Ran.ends.stepped()
    AT.setdefault("first", time.perf_counter())
    AT["last"] = time.perf_counter()
    return STEP_RESULT


@DBOS.step()
async def note(id: str) -> None:
    AT[id] = time.perf_counter()


@DBOS.workflow()
async def empty() -> None:
    return None


@DBOS.workflow()
async def steps(count: int) -> int:
    for number in range(count):
        if Ran.ends is not None and number * 2 == count:
            await Ran.ends.half_way()
        await charge()
    return count


@DBOS.step()
async def load(kilobytes: int) -> str:
    Ran.steps += 1
    return "x" * 1024 * kilobytes


@DBOS.workflow()
async def loads(count: int, kilobytes: int) -> None:
    for _ in range(count):
        await load(kilobytes)


@DBOS.workflow()
async def beside(times: int, count: int) -> None:
    for _ in range(times):
        await asyncio.gather(*(charge() for _ in range(count)))


@DBOS.workflow()
async def approval(count: int, id: str) -> None:
    for _ in range(count):
        await charge()
    AT[f"{id} waits"] = time.perf_counter()
    await DBOS.recv_async("approval", timeout_seconds=3600)
    await note(id)


@DBOS.workflow()
async def nap(seconds: float, id: str) -> None:
    AT[f"{id} asleep"] = time.perf_counter()
    await DBOS.sleep_async(seconds)
    AT[id] = time.perf_counter()


async def sequential(given: dict[str, Any]) -> dict[str, Any]:
    async def one(_: int) -> None:
        await (await DBOS.start_workflow_async(steps, given["steps"])).get_result()

    return {"per_s": given["steps"] / await seconds_for(1, 1, one)}


async def results(given: dict[str, Any]) -> dict[str, Any]:
    async def one(_: int) -> None:
        await (await DBOS.start_workflow_async(loads, given["steps"], given["kilobytes"])).get_result()

    return {"per_s": given["steps"] / await seconds_for(1, 1, one)}


async def branches(given: dict[str, Any]) -> dict[str, Any]:
    async def one(_: int) -> None:
        await (await DBOS.start_workflow_async(beside, given["times"], given["branches"])).get_result()

    return {"per_s": given["times"] * given["branches"] / await seconds_for(1, 1, one)}


async def parallel(given: dict[str, Any]) -> dict[str, Any]:
    async def one(_: int) -> None:
        await (await DBOS.start_workflow_async(steps, given["steps"])).get_result()

    seconds = await seconds_for(given["instances"], given["concurrency"], one)
    return {"per_s": given["instances"] * given["steps"] / seconds}


async def create(given: dict[str, Any]) -> dict[str, Any]:
    async def one(_: int) -> None:
        await (await DBOS.start_workflow_async(empty)).get_result()

    return await latencies(given["instances"], one)


async def event(given: dict[str, Any]) -> dict[str, Any]:
    ids = [f"approval-{number}" for number in range(given["instances"])]
    for id in ids:
        with SetWorkflowID(id):
            await DBOS.start_workflow_async(approval, given["steps"], id)
    await until(lambda: _all_in(f"{id} waits" for id in ids))
    taken = []
    for id in ids:
        began = time.perf_counter()
        await DBOS.send_async(id, {}, "approval")
        await until(partial(_all_in, [id]), 0.001)
        taken.append(AT[id] - began)
    return latencies_ms(taken)


async def sleep_1(given: dict[str, Any]) -> dict[str, Any]:
    figures = {}
    for seconds, times in given["rounds"].items():
        late = []
        for number in range(times):
            id = f"{seconds}-{number}"
            await (await DBOS.start_workflow_async(nap, float(seconds), id)).get_result()
            late.append(AT[id] - AT[f"{id} asleep"] - float(seconds))
        figures |= {f"p{rank}_{seconds}s_ms": percentile(late, rank) * 1000 for rank in (50, 99)}
    return figures


async def until_killed(given: dict[str, Any]) -> dict[str, Any]:
    Ran.ends = EndInFlight(given["instances"])
    for number in range(given["instances"]):
        with SetWorkflowID(f"flight-{number}"):
            await DBOS.start_workflow_async(steps, given["steps"])
    await asyncio.Event().wait()
    return {}


async def after_kill(given: dict[str, Any]) -> dict[str, Any]:
    began = given["launched"]

    async def all_ended() -> bool:
        return not await DBOS.list_workflows_async(status=["PENDING", "ENQUEUED"], limit=1)

    await until(all_ended, 0.5)
    return {"first_s": AT["first"] - began, "last_s": AT["last"] - began}


WORKS: dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]] = {
    work.__name__: work
    for work in (sequential, results, branches, parallel, create, event, sleep_1, until_killed, after_kill)
}


async def _all_in(ids: Any) -> bool:
    return all(id in AT for id in ids)


async def main() -> None:
    given = settings()
    DBOS(
        config={
            "name": "bench",
            "system_database_url": given["database"],
            "application_version": "1",
            "log_level": "ERROR",
        }
    )
    given["launched"] = time.perf_counter()
    DBOS.launch()
    figures = await WORKS[given["do"]](given)
    wanted = given.get("instances", 1) * given.get("steps", 0)
    if given["do"] == "branches":
        wanted = given["times"] * given["branches"]
    if given["do"] in {"sequential", "results", "branches", "parallel"} and Ran.steps != wanted:
        raise RuntimeError(f"{wanted} steps were to run, {Ran.steps} did")
    tell(figures)
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
