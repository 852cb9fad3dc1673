"""The work under way for one execution: attempts, and how much else keeps it at work."""

from __future__ import annotations

import asyncio
from typing import Any


class InFlight:
    """The work under way for one execution.

    Attributes:
        attempts: The tasks of attempts in flight, by the number of their step.
        rollback: The task in which rollback handlers run, one after another.
        count: How much keeps the execution at work: steps on their way, children being looked up, rows being written.
    """

    __slots__ = ("attempts", "count", "rollback")

    def __init__(self) -> None:
        self.attempts: dict[int, asyncio.Task[Any]] = {}
        self.rollback: asyncio.Task[Any] | None = None
        self.count = 0

    def cancel_rollback(self) -> None:
        """Cancel the rollback, unless it is what asks for it."""
        if self.rollback is not None and self.rollback is not asyncio.current_task(self.rollback.get_loop()):
            self.rollback.cancel()
        self.rollback = None

    def cancel_attempts(self) -> None:
        """Cancel every attempt."""
        for attempt in list(self.attempts.values()):
            attempt.cancel()
