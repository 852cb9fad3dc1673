"""How busy an engine is, beside its limits: numbers only. How they are served is the server's business."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from everstep.engine.engine import Engine


class Load(Struct, frozen=True):
    """How much of something there is, how much there may be, and how many wait for their turn."""

    now: int
    limit: int
    waiting: int = 0


class Metrics(Struct, frozen=True):
    """What an engine has in hand.

    Attributes:
        running: Instances at work; further ones stay due in the store.
        resident: Parked instances in memory; further ones are put away.
        creating: Creations under way; further ones wait for their turn.
        threads: Plain functions running; further ones wait for their turn.
    """

    running: Load
    resident: Load
    creating: Load
    threads: Load


def metrics_of(engine: Engine) -> Metrics:
    """Look at an engine."""
    options, parked = engine.options, engine.parked_count
    return Metrics(
        running=Load(options.running - engine.capacity, options.running),
        resident=Load(parked, options.resident),
        creating=engine.creations.load,
        threads=engine.attempts.load,
    )
