"""How late sleeps end, and what sleeping instances cost."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.figures import percentile
from benchmarks.programs.drive import resident_mib, seconds_for, until
from benchmarks.programs.everstep import engine
from benchmarks.programs.everstep.workflows import Ran, Sleeps, SleepsUntil
from everstep import Everstep

BATCH = 100
PER_SECOND = 1000


async def sleep_one(given: dict[str, Any]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    async with engine([Sleeps], given["database"]) as es:
        for seconds, times in given["rounds"].items():
            late = []
            for number in range(times):
                id = f"{seconds.replace('.', '-')}s-{number}"
                instance = await es.workflow(Sleeps).create(id=id, params={"seconds": seconds})
                await instance.result()
                late.append(_late(id, float(seconds)))
            figures |= _lateness(seconds, late)
    return figures


async def sleep_many(given: dict[str, Any]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    async with engine([Sleeps], given["database"]) as es:
        for seconds in ("0.1", "1", "5"):
            prefix = f"{seconds.replace('.', '-')}s"
            await create_in_turn(es.workflow(Sleeps), given["instances"], prefix, {"seconds": seconds})
            await _all_noted(given["instances"], prefix)
            late = [_late(id, float(seconds)) for id in Ran.at if id.startswith(f"{prefix}-")]
            figures |= _lateness(seconds, late)
    return figures


async def due_at_once(given: dict[str, Any]) -> dict[str, Any]:
    async with engine([SleepsUntil], given["database"]) as es:
        moment = time.time() + 5 + given["instances"] / 2000
        clock = time.perf_counter() - time.time()
        await create_all(es.workflow(SleepsUntil), given["instances"], "due", {"until": moment})
        if time.time() > moment:
            raise RuntimeError("the moment came before all were asleep")
        await _all_noted(given["instances"], "due")
        after = [at - clock - moment for at in Ran.at.values()]
        return {"first_s": min(after), "last_s": max(after)}


async def fall_asleep(given: dict[str, Any]) -> dict[str, Any]:
    async with engine([Sleeps], given["database"]) as es:
        binding, instances = es.workflow(Sleeps), given["instances"]
        before = resident_mib()
        await create_all(binding, instances, "asleep", {"seconds": "36000"})
        await until(lambda: _waiting(es, instances), 0.2)
        await asyncio.sleep(1)
        memory, cpu = resident_mib(), time.process_time()
        await asyncio.sleep(given["watch_s"])
        busy = (time.process_time() - cpu) / given["watch_s"]
        return {"rss_mib": memory - before, "cpu_percent": busy * 100}


async def start_again(given: dict[str, Any]) -> dict[str, Any]:
    began = time.perf_counter()
    async with engine([Sleeps], given["database"]) as es:
        taken = time.perf_counter() - began
        if not await _waiting(es, given["instances"]):
            raise RuntimeError("not all are asleep after the restart")
        return {"restart_s": taken}


async def create_all(binding: Any, instances: int, prefix: str, params: dict[str, Any]) -> None:
    """Create many instances, in batches, a few of them at a time."""

    async def batch(number: int) -> None:
        numbers = range(number * BATCH, min(instances, (number + 1) * BATCH))
        await binding.create_batch([{"id": f"{prefix}-{one}", "params": params} for one in numbers])

    await seconds_for(-(-instances // BATCH), 8, batch)


async def create_in_turn(binding: Any, instances: int, prefix: str, params: dict[str, Any]) -> None:
    """Create many instances one by one, so many a second.

    At full speed, how late they wake would be how much dearer waking is than creating: `due_at_once` is about that.
    """
    began = time.perf_counter()

    async def one(number: int) -> None:
        await asyncio.sleep(began + number / PER_SECOND - time.perf_counter())
        await binding.create(id=f"{prefix}-{number}", params=params)

    await asyncio.gather(*map(one, range(instances)))


async def _waiting(es: Everstep, instances: int) -> bool:
    counts = await es.control.counts()
    return sum(by_status.get("waiting", 0) for by_status in counts.values()) >= instances


async def _all_noted(instances: int, prefix: str) -> None:
    async def noted() -> bool:
        return sum(1 for id in Ran.at if id.startswith(f"{prefix}-")) >= instances

    await until(noted, 0.1)


def _late(id: str, seconds: float) -> float:
    return Ran.at[id] - Ran.asleep_since[id] - seconds


def _lateness(seconds: str, late: list[float]) -> dict[str, float]:
    return {f"p{rank}_{seconds}s_ms": percentile(late, rank) * 1000 for rank in (50, 99)}
