"""Writes the start of attempts that last; quick ones leave one row only, when they end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everstep.core.journal import StepRecord
from everstep.engine.clock import Alarm

if TYPE_CHECKING:
    from everstep.engine.host import Host
    from everstep.engine.run import Run


class Starts:
    """The attempts in flight whose start is not on disk yet, oldest first."""

    def __init__(self, host: Host, delay_ms: int) -> None:
        self._host = host
        self._delay_ms = delay_ms
        self._waiting: dict[int, tuple[Run, StepRecord]] = {}
        self._alarm = Alarm(host.clock, self._write)

    def began(self, run: Run, step: StepRecord) -> None:
        """Note an attempt."""
        if not self._waiting:
            self._alarm.set((step.attempt_at or 0) + self._delay_ms)
        self._waiting[id(step)] = (run, step)

    def ended(self, step: StepRecord) -> None:
        """Forget an attempt that was quick; for others there is nothing to forget."""
        self._waiting.pop(id(step), None)

    def stop(self) -> None:
        """Write nothing more."""
        self._waiting.clear()
        self._alarm.clear()

    def _write(self) -> None:
        long_ago = self._host.clock.now() - self._delay_ms
        while self._waiting:
            key = next(iter(self._waiting))
            run, step = self._waiting[key]
            if (step.attempt_at or 0) > long_ago:
                self._alarm.set((step.attempt_at or 0) + self._delay_ms)
                return
            del self._waiting[key]
            if not run.dropped:
                run.write_soon(step)
