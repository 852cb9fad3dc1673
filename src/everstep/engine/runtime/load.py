"""How much of something an engine has in hand, beside its limit."""

from __future__ import annotations

from msgspec import Struct


class Utilization(Struct, frozen=True):
    """How much of something there is, how much there may be, and how many wait for their turn.

    `waiting` is None where nothing waits, and where it is not known.
    """

    now: int
    max: int
    waiting: int | None = None
