"""Finds instances whose time has come: one alarm for the earliest, one claim for as many as are due."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from everstep.core.errors import EverstepError
from everstep.engine.clock import Alarm

if TYPE_CHECKING:
    from everstep.engine.engine import Engine

log = logging.getLogger("everstep.engine")

CLAIM_LIMIT = 500
RETRY_MS = 1_000


class Dispatcher:
    """Claims due instances and hands them to the engine, one claim at a time.

    Alarms and kicks only make a claim happen sooner; what is due is in the store, and every claim asks for the next.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._alarm = Alarm(engine.clock, self.kick)
        self._claiming: asyncio.Task[None] | None = None
        self._again = False
        self._crowded = False
        self._stopped = False

    def arm(self, due: int) -> None:
        """Claim at `due` at the latest."""
        if not self._stopped:
            self._alarm.set(due)

    def kick(self) -> None:
        """Claim now."""
        if self._stopped:
            return
        if self._claiming is not None:
            self._again = True
            return
        self._claiming = self._engine.loop.create_task(self._claim_all())

    def made_room(self) -> None:
        """Claim what had to stay in the store, once there is room for it."""
        if self._crowded and self._engine.capacity > 0:
            self._crowded = False
            self.kick()

    def stop(self) -> None:
        """Claim nothing more."""
        self._stopped = True
        self._alarm.clear()

    async def _claim_all(self) -> None:
        try:
            while not self._stopped:
                self._again = False
                full = await self._claim()
                if not (full or self._again):
                    break
        except EverstepError as error:
            log.error("cannot claim instances: %s; trying again", error)  # noqa: TRY400  # one line, in our own words
            self.arm(self._engine.clock.now() + RETRY_MS)
        finally:
            self._claiming = None

    async def _claim(self) -> bool:
        """Claim one batch; return whether there may be more."""
        engine = self._engine
        limit = min(CLAIM_LIMIT, engine.capacity)
        if limit <= 0:
            self._crowded = True
            return False
        claim = await engine.store.claim(engine.program.names, now=engine.clock.now(), limit=limit)
        for claimed in claim.claimed:
            engine.take_up(claimed)
        if claim.next_due is not None:
            self._alarm.set(claim.next_due)
        return len(claim.claimed) == limit
