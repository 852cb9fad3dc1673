"""Instances that are this engine's on disk and that nobody runs: whatever brought that about, they go on."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from everstep.core.errors import EverstepError

if TYPE_CHECKING:
    from everstep.engine.engine import Engine

log = logging.getLogger("everstep.engine")

EVERY_SECONDS = 5.0
AGAIN_SECONDS = 1.0


class OrphanSweeper:
    """Compares what is this engine's on disk with what is in memory.

    An answer of the store that is lost on its way, or a fault of the engine's own, leaves a row that says `running`
    with nothing in memory. What is found once may be on its way into memory, or out of it; what is found twice in a
    row goes on from its journal.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._suspects: dict[int, str] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = self._engine.loop.create_task(self._run())

    def stop(self) -> None:
        """End, whatever is under way."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(AGAIN_SECONDS if self._suspects else EVERY_SECONDS)
            try:
                await self.sweep()
            except EverstepError:  # a store in trouble tells of it by itself
                continue
            except Exception:
                log.exception("cannot look for instances that nobody runs; trying again")

    async def sweep(self) -> None:
        """Look once; have what was found the last time as well go on."""
        owned = await self._engine.store.list_owned()
        cache, before = self._engine.cache, self._suspects
        found = {pk: status for pk, status in owned.items() if cache.get(pk) is None and not cache.is_barred(pk)}
        self._suspects = {pk: status for pk, status in found.items() if before.get(pk) != status}
        for pk in found.keys() - self._suspects.keys():
            self._reactivate(pk, found[pk])

    def _reactivate(self, pk: int, status: str) -> None:
        engine = self._engine
        if status == "waitingForPause":
            log.warning("instance %d was to be paused and nobody ran it: it is paused", pk)
            engine.put_away_paused(pk)
            engine.watchers.notify_changed(pk)
        else:
            log.warning("instance %d was running on disk and nobody ran it: it goes on from its journal", pk)
            engine.make_due(pk)
