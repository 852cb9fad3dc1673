"""Finds instances whose time has come: one alarm for the earliest, one claim for as many as are due."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from everstep.core.errors import EverstepError
from everstep.core.log_throttle import LogThrottle
from everstep.engine.runtime.clock import Alarm

if TYPE_CHECKING:
    from everstep.engine.engine import Engine

log = logging.getLogger("everstep.engine")

CLAIM_LIMIT = 500
RETRY_MS = 1_000
MAX_JITTER_MS = 1_000


class Dispatcher:
    """Claims due instances and hands them to the engine, one claim at a time.

    `arm` and `claim_soon` only make a claim happen sooner; what is due is in the store, and every claim asks for the
    next.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._alarm = Alarm(engine.clock, self.claim_soon)
        self._claiming: asyncio.Task[None] | None = None
        self._again = False
        self._backlogged = False
        self._stopped = False
        self._workers = 1
        self._outage_log = LogThrottle()
        self._random = random.Random()  # noqa: S311  # nothing to guess

    def arm(self, due: int) -> None:
        """Claim at `due` at the latest."""
        if not self._stopped:
            self._alarm.set(due)

    def arm_with_jitter(self, due: int, workers: int | None = None) -> None:
        """Claim soon after `due`, which others were told as well: a millisecond for each, so that few come at once.

        Of N workers that choose a moment within N milliseconds, the first comes after one on average, however many.
        """
        self._workers = workers or self._workers
        self.arm(due + int(self._random.random() * min(self._workers - 1, MAX_JITTER_MS)))

    def claim_soon(self) -> None:
        """Claim at once, or once more after the claim that is under way."""
        if self._stopped:
            return
        if self._claiming is not None:
            self._again = True
            return
        self._claiming = self._engine.loop.create_task(self._claim_all())

    def on_slot_freed(self) -> None:
        """Claim what had to stay in the store, once there is room for it."""
        if self._backlogged and self._engine.slots.free_total > 0:
            self._backlogged = False
            self.claim_soon()

    @property
    def claiming(self) -> bool:
        """Whether a claim is under way."""
        return self._claiming is not None

    def stop(self) -> None:
        """Claim nothing more."""
        self._stopped = True
        self._alarm.clear()

    async def _claim_all(self) -> None:
        try:
            while not self._stopped:
                self._again = False
                full = await self._claim()
                self._outage_log.reset()
                if not (full or self._again):
                    break
        except EverstepError as error:
            if self._outage_log.should_log(self._engine.loop.time()):
                log.error("cannot claim instances: %s; trying again", error)  # noqa: TRY400  # one line, in our own words
            self.arm(self._engine.clock.now() + RETRY_MS)
        finally:
            self._claiming = None

    async def _claim(self) -> bool:
        """Claim one batch; return whether there may be more."""
        registry = self._engine.registry
        limited = [one.name for one in registry if one.concurrency is not None]
        unlimited = [one.name for one in registry if one.concurrency is None]
        more = bool(unlimited) and await self._claim_of(unlimited, self._engine.slots.free_total)
        for name in limited:
            more |= await self._claim_limited(name)
        return more

    async def _claim_limited(self, workflow: str) -> bool:
        """Claim for a workflow with a limit of its own; those who were waiting go before those who are new."""
        engine = self._engine
        slots = max(0, min(CLAIM_LIMIT, engine.slots.free(workflow)))
        if not engine.slots.acquire(workflow, slots):
            return False
        try:
            return await self._claim_of([workflow], slots, woken_first=True)
        finally:
            engine.slots.release(workflow, slots)

    async def _claim_of(self, workflows: list[str], free: int, *, woken_first: bool = False) -> bool:
        engine, limit = self._engine, min(CLAIM_LIMIT, free)
        if limit <= 0:
            self._backlogged = True
            return False
        claim = await engine.store.claim(workflows, now=engine.clock.now(), limit=limit, woken_first=woken_first)
        for claimed in claim.claimed:
            engine.activate_claimed(claimed)
        full = len(claim.claimed) == limit
        if full and limit == free:
            self._backlogged = True  # the rest waits for room, not for a moment
        elif claim.next_due is not None:
            self.arm_with_jitter(claim.next_due)
        return full and limit < free
