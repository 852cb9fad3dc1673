"""What has to be done now and then: deleting ended instances whose time is over, a few at a time."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from everstep.core.errors import EverstepError

if TYPE_CHECKING:
    from everstep.engine.engine import Engine

log = logging.getLogger("everstep.engine")

EVERY_SECONDS = 60.0
SOONEST_SECONDS = 0.5
STOP_SECONDS = 0.5
"""How long a stop waits for the piece under way."""
BATCH = 100
"""Instances deleted in one transaction; everybody else's commits get their turn between two of them."""


class Retention:
    """Deletes what has expired: at the start, every minute, and sooner when something expires sooner."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    def start(self) -> None:
        """Begin, without waiting for it: a process that lives for a moment deletes at least one batch."""
        self._begin()

    def expires(self, at: int | None) -> None:
        """Look at `at`, if that is sooner than the next time."""
        if at is None or self._stopped:
            return
        seconds = max(SOONEST_SECONDS, (at - self._engine.clock.now()) / 1000)
        loop = self._engine.loop
        if self._timer is None or loop.time() + seconds < self._timer.when():
            self._schedule(seconds)

    async def stop(self) -> None:
        """End, after the piece under way; of a database that does not answer it is left for the next start."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None and not self._task.done():
            await asyncio.wait({self._task}, timeout=STOP_SECONDS)
            self._task.cancel()

    async def expire(self) -> int:
        """Delete everything that has expired; return how many instances that were."""
        deleted = 0
        while True:
            piece = await self._engine.store.expire(now=self._engine.clock.now(), limit=BATCH)
            deleted += piece
            if piece < BATCH or self._stopped:
                return deleted

    def _schedule(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._engine.loop.call_later(seconds, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if self._task is None or self._task.done():
            self._task = self._engine.loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            await self.expire()
        except EverstepError as error:
            log.warning("cannot delete expired instances: %s; trying again", error)
        if not self._stopped and self._timer is None:
            self._schedule(EVERY_SECONDS)
