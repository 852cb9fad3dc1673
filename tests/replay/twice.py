"""A program for the test that kills a process: two orders, one of which is charged when the process dies.

Usage: twice.py DATABASE NOTES LIFE
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from everstep import Everstep, WorkflowEntrypoint

AGAIN: Any = {"retries": {"delay": "0.05 seconds"}}


def note(what: str) -> None:
    """Append a line."""
    with Path(sys.argv[2]).open("a") as notes:
        notes.write(what + "\n")


async def charge(order: str) -> str:
    if order == "A" and sys.argv[3] == "1":
        os.kill(os.getpid(), signal.SIGKILL)  # the process dies just before A is charged
    note(f"charged {order}")
    return f"receipt of {order}"


class Batch(WorkflowEntrypoint[Any, Any]):
    """Charges two orders side by side, under the same names of steps."""

    async def run(self, event: Any, step: Any) -> Any:
        async def one(order: str, seconds: float) -> Any:
            await step.do("check stock", AGAIN, asyncio.sleep, seconds)
            return [order, await step.do("charge", AGAIN, charge, order)]

        return await asyncio.gather(one("A", 0.4), one("B", 0.1))


async def main() -> None:
    async with Everstep([Batch], database=sys.argv[1]) as es:
        batch = es.workflow(Batch)
        instance = await (batch.create(id="x") if sys.argv[3] == "1" else batch.get("x"))
        print(json.dumps(await instance.result("20 seconds")))


if __name__ == "__main__":
    asyncio.run(main())
