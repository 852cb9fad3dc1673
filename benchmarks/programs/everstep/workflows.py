"""The workflows of the works, and how often their steps ran in this process."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any, ClassVar

from benchmarks.works import STEP_RESULT
from everstep import WorkflowEntrypoint, WorkflowEvent, WorkflowStep


class Ran:
    """What happened in this process outside the engine: the side effects."""

    steps = 0
    at: ClassVar[dict[str, float]] = {}
    """When the step after a wait ran, by instance."""
    asleep_since: ClassVar[dict[str, float]] = {}


async def charge() -> dict[str, Any]:
    """The trivial step."""
    Ran.steps += 1
    return STEP_RESULT


async def note(id: str) -> None:
    """The step that tells when it ran."""
    Ran.at[id] = time.perf_counter()


class Empty(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent[dict[str, Any]], step: WorkflowStep) -> None:
        return None


class Steps(WorkflowEntrypoint):
    """So many trivial steps, one after the other."""

    async def run(self, event: WorkflowEvent[dict[str, Any]], step: WorkflowStep) -> int:
        for number in range(event.payload["steps"]):
            await step.do(f"charge {number}", charge)
        return event.payload["steps"]


class Results(WorkflowEntrypoint):
    """Steps that return a text of so many kilobytes."""

    async def run(self, event: WorkflowEvent[dict[str, Any]], step: WorkflowStep) -> None:
        async def load() -> str:
            Ran.steps += 1
            return "x" * 1024 * event.payload["kilobytes"]

        for number in range(event.payload["steps"]):
            await step.do(f"load {number}", load)


class Branches(WorkflowEntrypoint):
    """Trivial steps beside each other, again and again."""

    async def run(self, event: WorkflowEvent[dict[str, Any]], step: WorkflowStep) -> None:
        for time_number in range(event.payload["times"]):
            names = [f"charge {time_number}/{branch}" for branch in range(event.payload["branches"])]
            await asyncio.gather(*(step.do(name, charge) for name in names))


class Approval(WorkflowEntrypoint):
    """Trivial steps, an event, and the step after it."""

    async def run(self, event: WorkflowEvent[dict[str, Any]], step: WorkflowStep) -> None:
        for number in range(event.payload["steps"]):
            await step.do(f"charge {number}", charge)
        await step.wait_for_event("approval", "approval")
        await step.do("note", note, event.instance_id)


class Sleeps(WorkflowEntrypoint):
    """A sleep of so many seconds; how late it was is noted outside any step, so that nothing but the sleep counts."""

    async def run(self, event: WorkflowEvent[dict[str, Any]], step: WorkflowStep) -> None:
        Ran.asleep_since.setdefault(event.instance_id, time.perf_counter())
        await step.sleep("nap", f"{event.payload['seconds']} seconds")
        await note(event.instance_id)


class SleepsUntil(WorkflowEntrypoint):
    """A sleep until a moment, in seconds since 1970."""

    async def run(self, event: WorkflowEvent[dict[str, Any]], step: WorkflowStep) -> None:
        await step.sleep_until("moment", datetime.fromtimestamp(event.payload["until"], UTC))
        await note(event.instance_id)
