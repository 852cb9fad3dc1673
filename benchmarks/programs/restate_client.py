"""`python -m benchmarks.programs.restate_client SETTINGS`: one work asked of Restate over its HTTP ingress."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.figures import latencies_ms, percentile
from benchmarks.http import Connection
from benchmarks.programs.drive import latencies, seconds_for, settings, tell, until

PATIENCE_S = 600


class Ingress:
    """Restate's ingress, on as many connections as there are requests under way."""

    def __init__(self, port: int, workflow: str) -> None:
        self._port, self._workflow = port, workflow
        self._idle: list[Connection] = []

    async def run(self, id: str, request: dict[str, Any]) -> Any:
        """Start an instance and wait for its result."""
        return await self._post(f"/{self._workflow}/{id}/run", request)

    async def send(self, id: str, request: dict[str, Any]) -> None:
        """Start an instance."""
        await self._post(f"/{self._workflow}/{id}/run/send", request)

    async def approve(self, id: str) -> None:
        """Resolve an instance's promise."""
        await self._post(f"/{self._workflow}/{id}/approve", None)

    async def result(self, id: str) -> Any:
        """Wait for an instance's result."""
        return await self._ask("GET", f"/restate/workflow/{self._workflow}/{id}/attach", None)

    async def seen(self, prefix: str) -> dict[str, Any]:
        """What the service's process saw."""
        return dict(await self._post("/Bench/seen", prefix))

    async def _post(self, path: str, body: Any) -> Any:
        return await self._ask("POST", path, body)

    async def _ask(self, method: str, path: str, body: Any) -> Any:
        connection = self._idle.pop() if self._idle else await Connection(self._port).__aenter__()
        status, content = await connection.request(method, path, body)
        if status >= 300:
            raise RuntimeError(f"{path}: {status} {content[:300]!r}")
        self._idle.append(connection)
        return json.loads(content) if content else None


async def one_instance(ingress: Ingress, given: dict[str, Any]) -> dict[str, Any]:
    steps = given["times"] * given["branches"] if given["do"] == "branches" else given["steps"]
    seconds = await seconds_for(1, 1, lambda _: ingress.run("one", given))
    return {"per_s": steps / seconds, **await _ran(ingress, steps)}


async def parallel(ingress: Ingress, given: dict[str, Any]) -> dict[str, Any]:
    request = {"do": "steps", "steps": given["steps"]}
    count, steps = given["instances"], given["instances"] * given["steps"]
    seconds = await seconds_for(count, given["concurrency"], lambda number: ingress.run(f"flow-{number}", request))
    return {"per_s": steps / seconds, **await _ran(ingress, steps)}


async def create(ingress: Ingress, given: dict[str, Any]) -> dict[str, Any]:
    return await latencies(given["instances"], lambda number: ingress.run(f"empty-{number}", {"do": "empty"}))


async def event(ingress: Ingress, given: dict[str, Any]) -> dict[str, Any]:
    ids = [f"approval-{number}" for number in range(given["instances"])]
    await asyncio.gather(*(ingress.send(id, {"do": "approval", "steps": given["steps"]}) for id in ids))
    await until(lambda: _waiting(ingress, "approval-", len(ids)), 0.2)
    if not given["cached"]:
        await asyncio.sleep(3)  # three times the inactivity after which they are suspended
    taken = []
    for id in ids:
        began = time.time()
        await ingress.approve(id)
        taken.append(await ingress.result(id) - began)
    replayed = (await ingress.seen("approval-"))["entered"] >= 2
    if replayed == given["cached"]:
        raise RuntimeError(f"replayed: {replayed}, which was not to be measured")
    return latencies_ms(taken)


async def sleep_1(ingress: Ingress, given: dict[str, Any]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for seconds, times in given["rounds"].items():
        request = {"do": "nap", "seconds": float(seconds)}
        late = [await ingress.run(f"nap-{seconds}-{number}", request) for number in range(times)]
        figures |= _lateness(seconds, late)
    return figures


async def sleep_10000(ingress: Ingress, given: dict[str, Any]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for seconds in ("0.1", "1", "5"):
        prefix = f"nap-{seconds}"
        await _send_all(ingress, given["instances"], prefix, {"do": "nap", "seconds": float(seconds)})
        at = await _woken(ingress, given["instances"], prefix)
        late = [at[id] - at[f"{id} since"] - float(seconds) for id in at if not id.endswith(" since")]
        figures |= _lateness(seconds, late)
    return figures


async def due_at_once(ingress: Ingress, given: dict[str, Any]) -> dict[str, Any]:
    moment = time.time() + 10 + given["instances"] / 500
    await _send_all(ingress, given["instances"], "due", {"do": "nap", "until": moment})
    await until(lambda: _waiting(ingress, "due", given["instances"]), 0.5)
    if time.time() > moment:
        raise RuntimeError("the moment came before all were asleep")
    at = await _woken(ingress, given["instances"], "due")
    after = [at[id] - moment for id in at if not id.endswith(" since")]
    return {"first_s": min(after), "last_s": max(after)}


async def fall_asleep(ingress: Ingress, given: dict[str, Any]) -> dict[str, Any]:
    await _send_all(ingress, given["instances"], "asleep", {"do": "nap", "seconds": 36000})
    await until(lambda: _waiting(ingress, "asleep", given["instances"]), 1)
    await asyncio.sleep(10)  # until all are suspended
    return {}


async def send_flight(ingress: Ingress, given: dict[str, Any]) -> dict[str, Any]:
    await _send_all(ingress, given["instances"], "flight", {"do": "steps", "steps": given["steps"]})
    await asyncio.sleep(PATIENCE_S)
    return {}


async def after_kill(ingress: Ingress, given: dict[str, Any]) -> dict[str, Any]:
    up = time.time()
    # One after the other: a thousand who wait at once would be a burden on the recovery that is timed.
    await seconds_for(given["instances"], 1, lambda number: ingress.result(f"flight-{number}"))
    at = (await ingress.seen(""))["at"]
    return {"first_s": max(0.001, at["first"] - up), "last_s": at["last"] - up}


WORKS: dict[str, Callable[[Ingress, dict[str, Any]], Awaitable[dict[str, Any]]]] = {
    "steps": one_instance, "results": one_instance, "branches": one_instance, "parallel": parallel, "create": create,
    "event": event, "sleep_1": sleep_1, "sleep_10000": sleep_10000, "due_at_once": due_at_once,
    "fall_asleep": fall_asleep, "send_flight": send_flight, "after_kill": after_kill,
}  # fmt: skip


async def _ran(ingress: Ingress, steps: int) -> dict[str, Any]:
    ran = (await ingress.seen(""))["ran"]
    if ran < steps:
        raise RuntimeError(f"{steps} steps were to run, {ran} did")
    return {}


async def _send_all(ingress: Ingress, instances: int, prefix: str, request: dict[str, Any]) -> None:
    await seconds_for(instances, 128, lambda number: ingress.send(f"{prefix}-{number}", request))


async def _waiting(ingress: Ingress, prefix: str, instances: int) -> bool:
    return bool((await ingress.seen(prefix))["waiting"] >= instances)


async def _woken(ingress: Ingress, instances: int, prefix: str) -> dict[str, float]:
    at: dict[str, float] = {}

    async def all_woken() -> bool:
        nonlocal at
        at = (await ingress.seen(prefix))["at"]
        return len(at) >= 2 * instances

    await until(all_woken, 0.5)
    return at


def _lateness(seconds: str, late: list[float]) -> dict[str, float]:
    return {f"p{rank}_{seconds}s_ms": percentile(late, rank) * 1000 for rank in (50, 99)}


def main() -> None:
    given = settings()
    tell(asyncio.run(WORKS[given["do"]](Ingress(given["port"], given.get("workflow", "Live")), given)))


if __name__ == "__main__":
    main()
