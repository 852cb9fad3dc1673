"""Callers: so many at a time, or one after the other, whatever it is they call. Used by every program."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import latencies_ms

One = Callable[[int], Awaitable[Any]]


async def seconds_for(count: int, concurrency: int, one: One) -> float:
    """How long `count` calls take with `concurrency` of them under way at any time."""
    numbers = itertools.count()

    async def caller() -> None:
        while (number := next(numbers)) < count:
            await one(number)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(min(count, concurrency))))
    return time.perf_counter() - began


async def latencies(count: int, one: One) -> dict[str, float]:
    """The p50 and p99 of `count` calls, one after the other."""
    taken = []
    for number in range(count):
        began = time.perf_counter()
        await one(number)
        taken.append(time.perf_counter() - began)
    return latencies_ms(taken)


async def until(condition: Callable[[], Awaitable[bool]], pause_s: float = 0.02) -> None:
    """Return when `condition` holds."""
    while not await condition():
        await asyncio.sleep(pause_s)


class EndInFlight:
    """Holds instances half-way until all of them are there, lets them go on, and ends the process in their midst."""

    def __init__(self, instances: int) -> None:
        self._missing = instances
        self._left = instances // 2
        self._everybody: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def half_way(self) -> None:
        """Called by each instance when half of its steps are done."""
        self._missing -= 1
        if self._missing == 0:
            self._everybody.set_result(None)
        await self._everybody  # a future: workflow code has an event loop of its own for each instance

    def stepped(self) -> None:
        """Called by each step: when half of the instances run the next one, all is over."""
        if self._everybody.done():
            self._left -= 1
            if self._left <= 0:
                tell({})
                os.kill(os.getpid(), signal.SIGKILL)


def resident_mib() -> float:
    """The memory of this process now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def settings() -> dict[str, Any]:
    """What the peer's adapter passed to this program."""
    return dict(json.loads(sys.argv[1]))


def tell(figures: Mapping[str, Any]) -> None:
    """Print the line that the adapter reads."""
    print(json.dumps(dict(figures)), flush=True)
