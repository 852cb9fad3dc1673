"""The phase of an execution: one value, and which one may follow which."""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """The phase of an execution. Whether it is parked or being paused is told by its waits and its pause gate.

    RUNNING: its code runs, or waits for what is under way; a replay is no phase of its own.
    COLLECTING: the code is replayed only to collect its rollback handlers; nothing new begins.
    ROLLING_BACK: the code is over, its rollback handlers run.
    EVICTED: it left memory, or its instance belongs to somebody else; nothing durable happens any more.
    ENDED: its instance has ended, and that is on its way to disk.
    """

    RUNNING = "running"
    COLLECTING = "collecting"
    ROLLING_BACK = "rolling back"
    EVICTED = "evicted"
    ENDED = "ended"

    over: bool
    """Whether nothing durable happens any more."""

    def __init__(self, value: str) -> None:
        self.over = value in ("evicted", "ended")


NEXT: dict[Phase, frozenset[Phase]] = {
    Phase.RUNNING: frozenset({Phase.COLLECTING, Phase.ROLLING_BACK, Phase.EVICTED, Phase.ENDED}),
    Phase.COLLECTING: frozenset({Phase.ROLLING_BACK, Phase.EVICTED, Phase.ENDED}),
    Phase.ROLLING_BACK: frozenset({Phase.EVICTED, Phase.ENDED}),
    Phase.EVICTED: frozenset(),
    Phase.ENDED: frozenset({Phase.EVICTED}),
}
"""The phases that may follow each."""
