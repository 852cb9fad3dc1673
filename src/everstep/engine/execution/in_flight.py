"""The tasks under way for one execution: attempts, and its rollback."""

from __future__ import annotations

import asyncio
from typing import Any

from everstep.core.journal import StepRecord
from everstep.engine.execution.shared_part import SharedPart


class InFlight:
    """The tasks under way for one execution.

    Attributes:
        attempts: The tasks of attempts in flight, by the number of their step.
        rollback: The task in which rollback handlers run, one after another.
        given_back: How many stops in a row have cut an attempt off before, by the number of its step.
    """

    __slots__ = ("attempts", "rollback", "uncounted")

    def __init__(self) -> None:
        self.attempts: dict[int, asyncio.Task[Any]] = {}
        self.rollback: asyncio.Task[Any] | None = None
        self.uncounted: dict[int, tuple[int, int]] = {}  # with the number of the attempt

    def cancel_rollback(self) -> None:
        """Cancel the rollback, unless it is what asks for it."""
        if self.rollback is not None and self.rollback is not asyncio.current_task(self.rollback.get_loop()):
            self.rollback.cancel()
        self.rollback = None

    def uncounted_stops(self, record: StepRecord) -> int:
        """Return how many stops in a row have cut the attempt in flight of a step off before."""
        attempt, times = self.uncounted.get(record.seq, (0, 0))
        return times if attempt == record.attempt else 0

    def cancel_attempts(self) -> None:
        """Cancel every attempt."""
        for attempt in list(self.attempts.values()):
            attempt.cancel()


class _NothingInFlight(SharedPart, InFlight):
    __slots__ = ()

    def cancel_rollback(self) -> None:
        """Do nothing: none runs."""


NOTHING_IN_FLIGHT = InFlight()
"""The tasks of executions whose steps were all over at once."""
NOTHING_IN_FLIGHT.__class__ = _NothingInFlight
