"""How many instances there are, counted once for all who ask at about the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

SLOW_SECONDS = 0.1
KEPT_FACTOR = 10
"""A slow count is shown for so many times as long as it took: counting takes a tenth of a reader's time at most."""


class InstanceCounts:
    """The counts of every workflow by status.

    A quick count is never kept. A slow one, of many instances, is shown again for a while.

    Args:
        count: Counts.
        clock: Seconds of a clock that only rises.
    """

    def __init__(
        self,
        count: Callable[[], Awaitable[dict[str, dict[str, int]]]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count = count
        self._clock = clock
        self._counting = asyncio.Lock()
        self._counted: dict[str, dict[str, int]] = {}
        self._kept_until = 0.0

    async def read(self) -> dict[str, dict[str, int]]:
        """Return the counts: those of a moment ago if they took long."""
        if self._clock() < self._kept_until:
            return self._counted
        async with self._counting:
            if self._clock() < self._kept_until:  # somebody else has counted meanwhile
                return self._counted
            began = self._clock()
            self._counted = await self._count()
            took = self._clock() - began
            self._kept_until = self._clock() + took * KEPT_FACTOR if took >= SLOW_SECONDS else 0.0
            return self._counted
