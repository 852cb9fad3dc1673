"""`python -m benchmarks.programs.cloudflare_client SETTINGS`: asks a Worker for one work; its workflows report here."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.figures import latencies_ms, percentile
from benchmarks.http import Connection
from benchmarks.programs.drive import latencies, seconds_for, settings, tell


class Worker:
    """The Worker, and the small server its workflows report to: `GET /what/instance/steps-ran`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Connection] = []
        self._told: dict[tuple[str, str], asyncio.Future[float]] = defaultdict(asyncio.Future)
        self.ran = self.ended = 0

    async def listen(self, port: int = 0) -> None:
        """Take reports from now on."""
        server = await asyncio.start_server(self._reports, "127.0.0.1", port)
        self.report = server.sockets[0].getsockname()[1]

    async def create(self, id: str, given: dict[str, Any]) -> None:
        """Create an instance."""
        await self._post({**given, "id": id, "report": self.report})

    async def approve(self, id: str) -> None:
        """Send an instance its event."""
        await self._post({"approve": id})

    async def told(self, what: str, id: str) -> float:
        """Wait until an instance reports; return when it did."""
        return await self._told[what, id]

    async def run(self, id: str, given: dict[str, Any]) -> float:
        """Create an instance and wait for its end."""
        await self.create(id, given)
        return await self.told("ended", id)

    async def _post(self, body: dict[str, Any]) -> None:
        connection = self._idle.pop() if self._idle else await Connection(self._port).__aenter__()
        status, content = await connection.request("POST", "/", body)
        if status >= 300:
            raise RuntimeError(f"{status}: {content[:300]!r}")
        self._idle.append(connection)

    async def _reports(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            while (await reader.readline()).strip():
                pass
            _, what, id, ran = line.split()[1].decode().split("/")
            self.ran = max(self.ran, int(ran))
            self.ended += what == "ended"
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            told = self._told[what, id]
            if not told.done():  # a replay tells it again
                told.set_result(time.perf_counter())


async def one_instance(worker: Worker, given: dict[str, Any]) -> dict[str, Any]:
    steps = given["times"] * given["branches"] if "branches" in given else given["steps"]
    return {"per_s": steps / await seconds_for(1, 1, lambda _: worker.run("one", given)), **_ran(worker, steps)}


async def parallel(worker: Worker, given: dict[str, Any]) -> dict[str, Any]:
    count, steps, request = given["instances"], given["instances"] * given["steps"], {"steps": given["steps"]}
    seconds = await seconds_for(count, given["concurrency"], lambda number: worker.run(f"flow-{number}", request))
    return {"per_s": steps / seconds, **_ran(worker, steps)}


async def create(worker: Worker, given: dict[str, Any]) -> dict[str, Any]:
    return await latencies(given["instances"], lambda number: worker.run(f"empty-{number}", {}))


async def event(worker: Worker, given: dict[str, Any]) -> dict[str, Any]:
    ids = [f"approval-{number}" for number in range(given["instances"])]
    for id in ids:
        await worker.create(id, {"steps": given["steps"], "event": True})
        await worker.told("waits", id)
    taken = []
    for id in ids:
        began = time.perf_counter()
        await worker.approve(id)
        taken.append(await worker.told("noted", id) - began)
    return latencies_ms(taken)


async def sleep_1(worker: Worker, given: dict[str, Any]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for seconds, times in given["rounds"].items():
        late = []
        for number in range(times):
            id = f"nap-{seconds.replace('.', '-')}-{number}"
            ended = await worker.run(id, {"seconds": float(seconds)})
            late.append(ended - await worker.told("since", id) - float(seconds))
        figures |= {f"p{rank}_{seconds}s_ms": percentile(late, rank) * 1000 for rank in (50, 99)}
    return figures


async def fall_asleep(worker: Worker, given: dict[str, Any]) -> dict[str, Any]:
    for number in range(given["naps"]):
        await worker.create(f"nap-{number}", {"seconds": given["seconds"]})
        await worker.told("since", f"nap-{number}")
    return {}


async def count_ended(worker: Worker, given: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(given["seconds"])
    return {"ended": worker.ended}


WORKS: dict[str, Callable[[Worker, dict[str, Any]], Awaitable[dict[str, Any]]]] = {
    work.__name__: work for work in (one_instance, parallel, create, event, sleep_1, fall_asleep, count_ended)
}


def _ran(worker: Worker, steps: int) -> dict[str, Any]:
    if worker.ran != steps:
        raise RuntimeError(f"{steps} steps were to run, {worker.ran} did")
    return {}


async def main() -> None:
    given = settings()
    worker = Worker(given["port"])
    await worker.listen(given.get("report", 0))
    tell(await WORKS[given["do"]](worker, given))


if __name__ == "__main__":
    asyncio.run(main())
