"""Looks after attempts that last: writes their start and begins to count their time. Quick ones leave one row only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everstep.engine.runtime.clock import Alarm

if TYPE_CHECKING:
    from everstep.engine.execution.host import Host
    from everstep.engine.steps.attempt import Attempt


class StartRecorder:
    """The attempts in flight that may still be quick, oldest first."""

    def __init__(self, host: Host, delay_ms: int) -> None:
        self._host = host
        self._delay_ms = delay_ms
        self._quick: dict[Attempt, None] = {}
        self._alarm = Alarm(host.clock, self._look)

    def track(self, attempt: Attempt) -> None:
        """Note an attempt."""
        if not self._quick:
            self._alarm.set((attempt.record.attempt_at or 0) + self._delay_ms)
        self._quick[attempt] = None

    def untrack(self, attempt: Attempt) -> None:
        """Forget an attempt that was quick; for others there is nothing to forget."""
        self._quick.pop(attempt, None)

    def stop(self) -> None:
        """Write nothing more."""
        self._quick.clear()
        self._alarm.clear()

    def _look(self) -> None:
        long_ago = self._host.clock.now() - self._delay_ms
        while self._quick:
            attempt = next(iter(self._quick))
            began_at = attempt.record.attempt_at or 0
            if began_at > long_ago:
                self._alarm.set(began_at + self._delay_ms)
                return
            del self._quick[attempt]
            execution = attempt.step.execution
            if not execution.phase.over:
                execution.journal.record_soon(attempt.record)
                self._host.attempts.begin_timeout(attempt)
