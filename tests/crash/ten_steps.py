"""A program for the crash tests: one instance of ten steps, in a process that may kill itself at a commit.

    python ten_steps.py DIR DATABASE [MOMENT] [N]

It dies by SIGKILL at its N-th commit; `dying.py` has the moments. Every side effect is a line in DIR/effects, flushed
to disk.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from dying import Death, dying_store

from everstep import Everstep, WorkflowEntrypoint, WorkflowEvent, WorkflowStep

RETRY = {"retries": {"limit": 5, "delay": "0.05 seconds", "backoff": "constant"}}


class TenSteps(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        total = 0
        for number in (1, 2, 3):
            total += await step.do(f"add-{number}", effect, f"add-{number}", number)
        total += await step.do("in-thread", RETRY, effect_in_thread, "in-thread", 4)
        total += await step.do("slow", RETRY, slow_effect, "slow", 5)
        await step.sleep("nap", "0.03 seconds")
        total += sum(
            await asyncio.gather(
                step.do("left", RETRY, effect, "left", 6),
                step.do("right", RETRY, slow_effect, "right", 7),
            )
        )
        sent = await step.wait_for_event("go", "go", timeout="1 minute")
        total += sent.payload["number"]
        try:
            await step.do("fails", {"retries": {"limit": 3, "delay": "0.01 seconds"}}, failing, "fails")
        except Exception:  # ValueError, or the cut of its last attempt
            total += 9
        return total + await step.do("last", RETRY, effect, "last", 10)


async def effect(name: str, value: int) -> int:
    record(name)
    return value


def effect_in_thread(name: str, value: int) -> int:
    record(name)
    return value


async def slow_effect(name: str, value: int) -> int:
    record(name)
    await asyncio.sleep(0.04)
    return value


async def failing(name: str) -> int:
    record(name)
    raise ValueError("always")


def record(line: str) -> None:
    file = os.open(Path(sys.argv[1]) / "effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{line}\n".encode())
    os.fsync(file)
    os.close(file)


async def main() -> None:
    death = Death(*sys.argv[3:4], *map(int, sys.argv[4:]))
    async with Everstep([TenSteps], store=dying_store(sys.argv[2], death)) as es:
        binding = es.workflow(TenSteps)
        instance = await binding.get_or_create(id="one")
        if not (Path(sys.argv[1]) / "sent").exists():
            await instance.send_event(type="go", payload={"number": 8})
            (Path(sys.argv[1]) / "sent").touch()
        print(await instance.result("20 seconds"), death.commits, flush=True)


asyncio.run(main())
