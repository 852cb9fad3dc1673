"""How busy an engine is, beside its limits: numbers only. How they are served is the server's business."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from everstep.core.errors import StoreError
from everstep.engine.runtime.load import Utilization

if TYPE_CHECKING:
    from everstep.engine.engine import Engine

COUNT_TIMEOUT_SECONDS = 2.0
"""How long the database may take to say how many instances are due: the other numbers do not wait for it longer."""


class Metrics(Struct, frozen=True):
    """What an engine has in hand.

    Attributes:
        running: Instances at work; further ones stay due in the store, which knows how many.
        cached: Parked instances in memory; further ones are evicted.
        creating: Creations under way; further ones wait for their turn.
        threads: Plain functions running; further ones wait for their turn.
        threads_lost: Threads in plain functions whose attempts are over; as many as the limit are replaced.
    """

    running: Utilization
    cached: Utilization
    creating: Utilization
    threads: Utilization
    threads_lost: Utilization


async def metrics_of(engine: Engine) -> Metrics:
    """Look at an engine as it is now, and ask the store how many instances are due."""
    options = engine.options
    seen = Metrics(
        running=Utilization(options.max_running - engine.slots.free_total, options.max_running),
        cached=Utilization(engine.cache.parked, options.max_cached),
        creating=engine.creator.load,
        threads=engine.attempts.turns.load,
        threads_lost=Utilization(engine.attempts.turns.lost, options.max_lost_threads),
    )
    return structs.replace(seen, running=structs.replace(seen.running, waiting=await _due(engine)))


async def _due(engine: Engine) -> int | None:
    """How many instances are due in the store, all workers' where they share it; None while it does not say."""
    try:
        async with asyncio.timeout(COUNT_TIMEOUT_SECONDS):
            return await engine.store.due(engine.registry.names, now=engine.clock.now())
    except (StoreError, TimeoutError):
        return None
