"""Instances of which nobody knows how they are on disk, as an answer was lost: they go on from what is there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from everstep.engine.steps.store_retry import retry_while_unavailable

if TYPE_CHECKING:
    from everstep.engine.engine import Engine


class Reloader:
    """Reloads instances once their store answers again, however long that takes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reloading: set[asyncio.Task[None]] = set()

    def reload_soon(self, workflow: str, id: str) -> None:
        """Have an instance and its children leave memory and be due: what is on disk may not be what is in memory.

        For operations whose answer was lost on the way: they may have taken effect.
        """
        reloading = self._engine.loop.create_task(self._reload(workflow, id))
        self._reloading.add(reloading)
        reloading.add_done_callback(self._reloading.discard)
        reloading.add_done_callback(self._engine.check_write)

    def stop(self) -> None:
        """End, whatever is under way."""
        for reloading in self._reloading:
            reloading.cancel()

    async def _reload(self, workflow: str, id: str) -> None:
        engine = self._engine
        instance = await retry_while_unavailable(lambda: engine.store.find(workflow, id))
        if instance is None:
            return
        family = await retry_while_unavailable(lambda: engine.store.descendants(instance.pk))
        for pk in (instance.pk, *(one.pk for one in family)):
            engine.make_due(pk)
