"""`python -m benchmarks.programs.temporal SETTINGS`: a Temporal worker and its client, and one work done by them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from benchmarks.figures import latencies_ms, percentile
from benchmarks.programs.drive import latencies, seconds_for, settings, tell, until
from benchmarks.works import STEP_RESULT

QUEUE = "bench"
AT: dict[str, float] = {}


class Ran:
    """Steps that ran in this process, and how often workflows were entered."""

    steps = 0
    entered = 0


@activity.defn
async def charge() -> dict[str, Any]:
    Ran.steps += 1
    return STEP_RESULT


@activity.defn
async def note(id: str) -> None:
    AT[id] = time.perf_counter()


@activity.defn
async def load(kilobytes: int) -> str:
    Ran.steps += 1
    return "x" * 1024 * kilobytes


async def _do(step: Callable[..., Any], *arguments: Any) -> Any:
    return await workflow.execute_activity(step, args=arguments, start_to_close_timeout=timedelta(minutes=10))


@workflow.defn
class Empty:
    @workflow.run
    async def run(self, given: dict[str, Any]) -> None:
        return None


@workflow.defn
class Steps:
    @workflow.run
    async def run(self, given: dict[str, Any]) -> None:
        for _ in range(given["steps"]):
            await _do(charge)


@workflow.defn
class Results:
    @workflow.run
    async def run(self, given: dict[str, Any]) -> None:
        for _ in range(given["steps"]):
            await _do(load, given["kilobytes"])


@workflow.defn
class Branches:
    @workflow.run
    async def run(self, given: dict[str, Any]) -> None:
        for _ in range(given["times"]):
            await asyncio.gather(*(_do(charge) for _ in range(given["branches"])))


@workflow.defn
class Approval:
    def __init__(self) -> None:
        self._approved = False
        Ran.entered += 1

    @workflow.run
    async def run(self, given: dict[str, Any]) -> None:
        for _ in range(given["steps"]):
            await _do(charge)
        AT[f"{given['id']} waits"] = time.perf_counter()
        await workflow.wait_condition(lambda: self._approved)
        await _do(note, given["id"])

    @workflow.signal
    def approve(self) -> None:
        self._approved = True


@workflow.defn
class Nap:
    @workflow.run
    async def run(self, given: dict[str, Any]) -> None:
        AT.setdefault(f"{given['id']} since", time.perf_counter())
        await asyncio.sleep(given["seconds"])
        AT[given["id"]] = time.perf_counter()


async def sequential(client: Client, given: dict[str, Any]) -> dict[str, Any]:
    return {"per_s": given["steps"] / await _one(client, Steps, given)}


async def results(client: Client, given: dict[str, Any]) -> dict[str, Any]:
    return {"per_s": given["steps"] / await _one(client, Results, given)}


async def branches(client: Client, given: dict[str, Any]) -> dict[str, Any]:
    return {"per_s": given["times"] * given["branches"] / await _one(client, Branches, given)}


async def parallel(client: Client, given: dict[str, Any]) -> dict[str, Any]:
    count = given["instances"]
    seconds = await seconds_for(
        count, given["concurrency"], lambda number: _run(client, Steps, f"flow-{number}", given)
    )
    wanted = count * given["steps"]
    if wanted != Ran.steps:
        raise RuntimeError(f"{wanted} steps were to run, {Ran.steps} did")
    return {"per_s": wanted / seconds}


async def create(client: Client, given: dict[str, Any]) -> dict[str, Any]:
    return await latencies(given["instances"], lambda number: _run(client, Empty, f"empty-{number}", given))


async def event(client: Client, given: dict[str, Any]) -> dict[str, Any]:
    ids = [f"approval-{number}" for number in range(given["instances"])]
    handles = [await client.start_workflow(Approval.run, {**given, "id": id}, id=id, task_queue=QUEUE) for id in ids]
    await until(lambda: _all_in(f"{id} waits" for id in ids), 0.1)
    await asyncio.sleep(1)
    entered, taken = Ran.entered, []
    for id, handle in zip(ids, handles, strict=True):
        began = time.perf_counter()
        await handle.signal(Approval.approve)
        await handle.result()
        taken.append(AT[id] - began)
    if (Ran.entered > entered) == given["cached"]:
        raise RuntimeError(f"{Ran.entered - entered} of {len(ids)} were replayed, which was not to be measured")
    return latencies_ms(taken)


async def sleep_1(client: Client, given: dict[str, Any]) -> dict[str, Any]:
    figures = {}
    for seconds, times in given["rounds"].items():
        late = []
        for number in range(times):
            id = f"{seconds}-{number}"
            await _run(client, Nap, id, {"id": id, "seconds": float(seconds)})
            late.append(AT[id] - AT[f"{id} since"] - float(seconds))
        figures |= {f"p{rank}_{seconds}s_ms": percentile(late, rank) * 1000 for rank in (50, 99)}
    return figures


WORKS: dict[str, Callable[[Client, dict[str, Any]], Awaitable[dict[str, Any]]]] = {
    work.__name__: work for work in (sequential, results, branches, parallel, create, event, sleep_1)
}


async def _one(client: Client, of: type, given: dict[str, Any]) -> float:
    return await seconds_for(1, 1, lambda _: _run(client, of, "one", given))


async def _run(client: Client, of: Any, id: str, given: dict[str, Any]) -> None:
    await client.execute_workflow(of.run, given, id=id, task_queue=QUEUE)


async def _all_in(ids: Any) -> bool:
    return all(id in AT for id in ids)


async def main() -> None:
    given = settings()
    client = await Client.connect(f"127.0.0.1:{given['port']}")
    worker = Worker(
        client,
        task_queue=QUEUE,
        workflows=[Empty, Steps, Results, Branches, Approval, Nap],
        activities=[charge, note, load],
        max_cached_workflows=1000 if given.get("cached", True) else 0,
        max_concurrent_workflow_tasks=100 if given.get("cached", True) else 1,
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    async with worker:
        tell(await WORKS[given["do"]](client, given))
        os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
