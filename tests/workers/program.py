"""A worker process for tests: runs a few workflows on a database until it is told to stop; notes every call in a file.

Usage: program.py DATABASE NOTES [--lease "2 seconds"] [--client]
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time
from typing import Any

from everstep import Everstep, WorkflowEntrypoint
from everstep.engine.runtime.options import EngineOptions

NOTES = ""
SOON = {"retries": {"delay": "0.05 seconds"}}


def note(what: str) -> None:
    """Append a line in one write: many processes share the file."""
    handle = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{os.getpid()} {time.time():.3f} {what}\n".encode())
    os.close(handle)


class Chain(WorkflowEntrypoint[Any, Any]):
    """Steps one after another, each of which takes a moment."""

    async def run(self, event: Any, step: Any) -> Any:
        for number in range(event.payload["steps"]):
            seconds = event.payload.get("seconds", 0.01)
            await step.do(f"step-{number}", SOON, self.one, event.instance_id, number, seconds)
        return os.getpid()

    async def one(self, id: str, number: int, seconds: float) -> int:
        note(f"{id} {number}")
        await asyncio.sleep(seconds)
        return number


class Approval(WorkflowEntrypoint[Any, Any]):
    """Waits for two events."""

    async def run(self, event: Any, step: Any) -> Any:
        first = await step.wait_for_event("first", type="go", timeout="1 hour")
        second = await step.wait_for_event("second", type="go", timeout="1 hour")
        return [first.payload, second.payload]


class Busy(WorkflowEntrypoint[Any, Any]):
    """Is at work for as long as it is asked to, then waits for an event."""

    async def run(self, event: Any, step: Any) -> Any:
        await step.do("work", self.work, event.payload["seconds"])
        got = await step.wait_for_event("news", type="go", timeout="1 hour")
        return got.payload

    async def work(self, seconds: float) -> None:
        note("at work")
        await asyncio.sleep(seconds)


class Parent(WorkflowEntrypoint[Any, Any]):
    """Waits for a child."""

    async def run(self, event: Any, step: Any) -> Any:
        return await step.run_workflow("child", Chain, event.payload)


class Sleeper(WorkflowEntrypoint[Any, Any]):
    """Sleeps."""

    async def run(self, event: Any, step: Any) -> Any:
        await step.sleep("nap", f"{event.payload['seconds']} seconds")
        return await step.do("woken", self.woken)

    async def woken(self) -> int:
        return os.getpid()


WORKFLOWS = [Chain, Approval, Busy, Parent, Sleeper]


async def main() -> None:
    global NOTES
    parser = argparse.ArgumentParser()
    parser.add_argument("database")
    parser.add_argument("notes")
    parser.add_argument("--lease", default="2 seconds")
    parser.add_argument("--running", type=int, default=10_000)
    arguments = parser.parse_args()
    NOTES = arguments.notes
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    options = EngineOptions(max_running=arguments.running)
    stop = asyncio.Event()
    for which in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(which, stop.set)
    async with Everstep(WORKFLOWS, database=arguments.database, lease=arguments.lease, options=options):
        print("ready", flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
