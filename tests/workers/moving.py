"""A program on SQLite that brings instances into every state there is, says so, and waits to be killed.

Usage: moving.py FOLDER
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from everstep import Everstep, WorkflowEntrypoint

FOLDER = Path()
LONG = {"retries": {"limit": 3, "delay": "3 seconds", "backoff": "constant"}, "timeout": "1 minute"}

RESULTS = {
    "sleeps": "slept",
    "waits": "now",
    "retries": 2,
    "works": "worked",
    "parent": "nothing",
    "streams": "abc" * 1000,
    "paused": "nothing",
}


def note(what: str) -> None:
    with (FOLDER / "notes").open("a") as notes:
        notes.write(what + "\n")


def noted(folder: Path) -> list[str]:
    return (folder / "notes").read_text().splitlines()


def first_time(what: str) -> bool:
    """Whether this was never asked before, in this process or another."""
    note(what)
    return noted(FOLDER).count(what) == 1


class Everything(WorkflowEntrypoint[Any, Any]):
    """Does what its id says."""

    async def run(self, event: Any, step: Any) -> Any:
        await step.do("before", self.before, event.instance_id)
        doing = getattr(self, event.instance_id, self.nothing)
        return await doing(step)

    async def before(self, id: str) -> None:
        note(f"before-{id}")

    async def nothing(self, step: Any) -> str:
        return "nothing"

    async def sleeps(self, step: Any) -> str:
        await step.sleep("nap", "4 seconds")
        return "slept"

    async def waits(self, step: Any) -> Any:
        got = await step.wait_for_event("go", type="go", timeout="1 hour")
        return got.payload

    async def paused(self, step: Any) -> str:
        await step.sleep("pause", "1 second")
        return "nothing"

    async def retries(self, step: Any) -> int:
        return await step.do("fails once", LONG, self.fails_once)

    async def fails_once(self) -> int:
        if first_time("fails-once"):
            raise ValueError("the first time")
        return 2

    async def works(self, step: Any) -> str:
        return await step.do("work", LONG, self.work)

    async def work(self) -> str:
        if first_time("work"):
            await asyncio.sleep(60)
        return "worked"

    async def parent(self, step: Any) -> Any:
        return await step.run_workflow("child", Everything, id="child")

    async def child(self, step: Any) -> str:
        await step.sleep("nap", "4 seconds")
        return "nothing"

    async def streams(self, step: Any) -> str:
        stream = await step.do("stream", self.stream)
        await step.sleep("nap", "4 seconds")
        return b"".join([piece async for piece in stream]).decode()

    async def stream(self) -> AsyncIterator[bytes]:
        note("streamed")
        for _ in range(1000):
            yield b"abc"

    async def undoes(self, step: Any) -> None:
        for number in (1, 2):
            await step.do(f"do-{number}", {**LONG, "rollback": self.undo}, self.do, number)
        raise ValueError("undo everything")

    async def do(self, number: int) -> int:
        return number

    async def undo(self, context: Any) -> None:
        if first_time(f"undone-{context.output}") and context.output == 1:
            await asyncio.sleep(60)


WORKFLOWS = [Everything]


async def main(folder: Path) -> None:
    global FOLDER
    FOLDER = folder
    async with Everstep(WORKFLOWS, database="sqlite:///state.db", root=folder) as es:
        every = es.workflow(Everything)
        gone = await every.create(id="gone", params={})
        for id in (*RESULTS, "undoes"):
            await every.create(id=id, tags=[id])
        await (await every.get("paused")).pause()
        await (await every.get("sleeps")).send_event(type="unwanted", payload=[1])
        await gone.result()
        await gone.delete()
        async with asyncio.timeout(15):
            await under_way(every)
        print("everything is under way", flush=True)
        await asyncio.sleep(60)


async def under_way(every: Any) -> None:
    while not {"work", "undone-1", "streamed", "fails-once"} <= set(noted(FOLDER)):
        await asyncio.sleep(0.01)
    for id in ("sleeps", "waits", "parent", "streams", "child"):
        instance = await every.get(id)
        while (await instance.status()).status != "waiting":
            await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
