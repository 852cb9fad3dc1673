"""The service that Restate calls, served by hypercorn: `benchmarks.programs.restate_service:app`."""

from __future__ import annotations

import os
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import restate

from benchmarks.programs.drive import EndInFlight
from benchmarks.works import STEP_RESULT

STEPS: Counter[str] = Counter()
ENTERED: Counter[str] = Counter()
WAITING: set[str] = set()
AT: dict[str, float] = {}
"""Wall-clock moments: the client that reads them is another process."""
ENDS = EndInFlight(int(os.environ["BENCH_IN_FLIGHT"])) if "BENCH_IN_FLIGHT" in os.environ else None


async def charge() -> dict[str, Any]:
    STEPS["ran"] += 1
    AT.setdefault("first", time.time())
    AT["last"] = time.time()
    if ENDS is not None:
        ENDS.stepped()
    return STEP_RESULT


async def note() -> float:
    return time.time()


async def load(kilobytes: int) -> str:
    STEPS["ran"] += 1
    return "x" * 1024 * kilobytes


async def steps(ctx: restate.WorkflowContext, request: dict[str, Any]) -> int:
    for number in range(request["steps"]):
        if ENDS is not None and number * 2 == request["steps"]:
            await ENDS.half_way()
        await ctx.run_typed(f"charge {number}", charge)
    return int(request["steps"])


async def results(ctx: restate.WorkflowContext, request: dict[str, Any]) -> None:
    for number in range(request["steps"]):
        await ctx.run_typed(f"load {number}", load, restate.RunOptions(), request["kilobytes"])


async def branches(ctx: restate.WorkflowContext, request: dict[str, Any]) -> None:
    for number in range(request["times"]):
        names = [f"charge {number}/{branch}" for branch in range(request["branches"])]
        await restate.gather(*(ctx.run_typed(name, charge) for name in names))


async def approval(ctx: restate.WorkflowContext, request: dict[str, Any]) -> float:
    ENTERED[ctx.key()] += 1
    await steps(ctx, request)
    WAITING.add(ctx.key())
    await ctx.promise("approval").value()
    return await ctx.run_typed("note", note)


async def nap(ctx: restate.WorkflowContext, request: dict[str, Any]) -> float:
    id = ctx.key()
    since = AT.setdefault(f"{id} since", time.time())
    seconds = request.get("seconds") or request["until"] - since
    WAITING.add(id)
    await ctx.sleep(timedelta(seconds=seconds))
    AT[id] = time.time()
    return AT[id] - since - seconds


async def empty(ctx: restate.WorkflowContext, request: dict[str, Any]) -> None:
    return None


DO = {one.__name__: one for one in (steps, results, branches, approval, nap, empty)}


def _workflow(name: str, inactivity: timedelta | None) -> restate.Workflow:
    workflow = restate.Workflow(name, inactivity_timeout=inactivity)

    @workflow.main()
    async def run(ctx: restate.WorkflowContext, request: dict[str, Any]) -> Any:
        return await DO[request["do"]](ctx, request)

    @workflow.handler()
    async def approve(ctx: restate.WorkflowSharedContext) -> None:
        await ctx.promise("approval").resolve(True)

    return workflow


bench = restate.Service("Bench")


@bench.handler()
async def seen(ctx: restate.Context, prefix: str) -> dict[str, Any]:
    """What this process saw: side effects, moments, entries of instances whose id begins so."""
    at = {id: moment for id, moment in AT.items() if id.startswith(prefix)}
    return {
        "ran": STEPS["ran"],
        "at": at,
        "waiting": sum(1 for id in WAITING if id.startswith(prefix)),
        "entered": min((count for id, count in ENTERED.items() if id.startswith(prefix)), default=0),
    }


# `Parked` gives its place up after a second of waiting, as the other one does after a minute.
app = restate.app([_workflow("Live", None), _workflow("Parked", timedelta(seconds=1)), bench])
