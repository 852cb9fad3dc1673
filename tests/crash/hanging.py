"""An app with steps that hang in every way there is: `everstep dev`, or `python hanging.py engine|once WAY`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import time
from pathlib import Path

from everstep import Everstep, Response, WorkflowEntrypoint

SECONDS = 60
ONCE = {"timeout": "0.2 seconds", "retries": {"limit": 0}}
DATABASE = "sqlite:///state.db"


def hang() -> None:
    Path("hangs").touch()
    time.sleep(SECONDS)


async def in_default_executor() -> None:
    await asyncio.to_thread(hang)


async def uncancellable() -> None:
    Path("hangs").touch()
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(SECONDS)


async def on_the_loop() -> None:
    await asyncio.sleep(0.2)  # until whoever asked for it has an answer
    hang()


async def in_thread_of_its_own() -> None:
    threading.Thread(target=hang).start()
    await asyncio.sleep(SECONDS)


WAYS = {one.__name__: one for one in (hang, in_default_executor, uncancellable, on_the_loop, in_thread_of_its_own)}


class Hanging(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.do("hangs", event.payload["config"], WAYS[event.payload["way"]])


async def fetch(request, env):
    body = await request.json()
    await env.HANGING.create(id=body["id"], params={"way": body["way"], "config": {}})
    return Response.json(1)


async def embedded(way: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Everstep([Hanging], database=DATABASE) as es:
        await es.workflow(Hanging).create(id="one", params={"way": way, "config": {}})
        await stop.wait()


if __name__ == "__main__":
    if sys.argv[1] == "engine":
        asyncio.run(embedded(sys.argv[2]))
    else:
        with contextlib.suppress(Exception):
            Hanging.run_once({"way": sys.argv[2], "config": ONCE}, id="one", database=DATABASE)
        print("over", flush=True)
