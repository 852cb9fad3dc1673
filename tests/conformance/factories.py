"""What the rules are tested with: workflows of one step, functions that fail or stand, instances in every status."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.virtual import START_MS, Held, Machine, VirtualClock, attempts_of, flow
from everstep import WorkflowEntrypoint, WorkflowInstance
from everstep.engine.runtime.options import EngineOptions
from everstep.engine.runtime.registry import WorkflowDefinition, define

__all__ = [
    "AWAY",
    "ONE_PLACE",
    "START",
    "Flaky",
    "Gate",
    "Held",
    "Machine",
    "VirtualClock",
    "attempts_of",
    "chunks",
    "flow",
    "follow",
    "in_status",
    "limited",
    "one_step",
    "seconds",
    "state",
    "status_machine",
    "steps_of",
    "swept",
    "types_of",
    "wake_after",
]

START = datetime.fromtimestamp(START_MS / 1000, UTC)
"""When virtual time begins."""
AWAY = EngineOptions(max_cached=0, drain_ms=0)
"""Nothing that waits stays in memory: everything goes on by replay."""
ONE_PLACE = EngineOptions(max_running=1, drain_ms=0)
"""Room for one instance at work: the next is queued."""


class Gate:
    """A step function that stands until it is opened, and counts its calls and cancellations."""

    def __init__(self, answer: Any = "through") -> None:
        self.opened = asyncio.Event()
        self.answer = answer
        self.calls = 0
        self.cancelled = 0

    async def __call__(self) -> Any:
        self.calls += 1
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def open(self) -> None:
        self.opened.set()


class Flaky:
    """A step function that fails for a while and remembers when it was called."""

    def __init__(self, failures: int = 1_000, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or ConnectionError("no route")
        self.machine: Machine | None = None
        self.times: list[float] = []

    async def __call__(self) -> int:
        self.times.append(seconds(self.machine) if self.machine else 0.0)
        if len(self.times) <= self.failures:
            raise self.error
        return len(self.times)

    @property
    def gaps(self) -> list[float]:
        return [later - earlier for earlier, later in itertools.pairwise(self.times)]


def seconds(machine: Machine) -> float:
    """Seconds since virtual time began."""
    return (machine.now - START_MS) / 1000


def one_step(fn: Callable[..., Any], config: Any = None) -> type[WorkflowEntrypoint]:
    """Make a workflow of one step, "charge"."""

    @flow
    async def shop(event, step):
        return await step.do("charge", config, fn)

    return shop


def limited(workflow: type[WorkflowEntrypoint], *, concurrency: int | None = None, steps: int = 10_000, **more: Any):
    """Describe a workflow with limits of its own, as configuration does."""
    found: WorkflowDefinition = define(workflow)
    found.concurrency, found.step_limit = concurrency, steps
    for name, value in more.items():
        setattr(found, name, value)
    return found


async def state(instance: WorkflowInstance) -> str:
    return (await instance.status()).status


async def wake_after(instance: WorkflowInstance) -> timedelta:
    """How long after the start of time an instance goes on."""
    return (await instance.status()).wake_at - START


async def steps_of(instance: WorkflowInstance) -> list[tuple[str, int, str]]:
    """Every step as its name, count and status."""
    return [(step.name, step.count, step.status) for step in (await instance.status(steps=True)).steps]


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def follow(instance: WorkflowInstance, **options: Any) -> list[Any]:
    """Every event of an instance that has ended."""
    with swept():
        return [event async for event in instance.subscribe(**options)]


@contextlib.contextmanager
def swept() -> Iterator[None]:
    """Cancel what subscriptions leave behind (a deviation that has a test of its own)."""
    before = asyncio.all_tasks()
    yield
    for task in asyncio.all_tasks() - before:
        if getattr(task.get_coro(), "__qualname__", "") == "Event.wait":
            task.cancel()


async def types_of(instance: WorkflowInstance, **options: Any) -> list[str]:
    return [event.type for event in await follow(instance, **options)]


# Instances in every status


async def _stand():
    await asyncio.Event().wait()


async def _fail():
    raise ConnectionError("no route")


@flow
async def stander(event, step):
    await step.do("stand", _stand)


@flow
async def sleeper(event, step):
    await step.do("first", lambda: "done")
    await step.sleep("nap", "1 hour")
    return "awake"


@flow
async def quick(event, step):
    return await step.do("first", lambda: 42)


@flow
async def broken(event, step):
    await step.do("first", {"retries": {"limit": 0}}, _fail)


async def status_machine(running, status: str) -> Machine:
    """Boot a machine for an instance in `status`."""
    return await running(stander, sleeper, quick, broken, options=ONE_PLACE if status == "queued" else None)


async def in_status(machine: Machine, status: str) -> WorkflowInstance:
    """Make an instance that is in `status`."""
    if status == "queued":
        await machine.create(stander, id="first")
    kind = {"running": stander, "waitingForPause": stander, "complete": quick, "errored": broken}.get(status, sleeper)
    instance = await machine.create(kind)
    if status in ("paused", "waitingForPause"):
        await instance.pause()
    elif status == "terminated":
        await instance.terminate()
    assert await state(instance) == status
    return instance
