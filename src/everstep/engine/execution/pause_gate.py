"""Whether an execution is being paused: attempts in flight end and are recorded, its code hears of nothing more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from everstep.engine.execution.open_waits import NEVER
from everstep.engine.execution.shared_part import SharedPart

if TYPE_CHECKING:
    from everstep.engine.execution.execution import Execution


class PauseGate:
    """The pause of one execution.

    Attributes:
        since: When the pause was asked for, in milliseconds since 1970; None when none was.
    """

    __slots__ = ("_execution", "_on_paused", "_opened", "_standing", "since")

    def __init__(self, execution: Execution | None) -> None:
        if execution is not None:
            self._execution = execution
        self._on_paused: Callable[[], None] | None = None
        self._opened: asyncio.Future[None] | None = None
        self._standing = 0  # tasks that wait for it
        self.since: int | None = None

    def ask(self, since: int, on_paused: Callable[[], None]) -> None:
        """Pause when no attempt is in flight any more, at once if none is; then call `on_paused`."""
        self.since = since
        self._on_paused = on_paused
        self._execution.waits.clear_alarm()
        if not self._execution.active:
            self.finish()

    def finish(self) -> None:
        """Write what the pause is to move, and say that it has come about."""
        callback, self._on_paused = self._on_paused, None
        if callback is not None:
            self._execution.waits.write_rows()
            self._execution.journal.flush_rows()
            callback()

    def take_back(self, now: int) -> None:
        """Go on, the pause not having come about; timers move by the time since it was asked for."""
        if self.since is None:
            return
        since, self.since, self._on_paused = self.since, None, None
        waits = self._execution.own_waits()
        for wait in waits.all_open():
            absolute = wait.record is not None and wait.record.is_absolute
            if not absolute and since < wait.due < NEVER:
                wait.due += now - since
                if wait.record is not None:
                    wait.record.wake_at = wait.due
        waits.reschedule()
        if self._opened is not None:
            self._execution.work += self._standing  # until they go on, which takes turns of the loop
            self._standing = 0
            self._opened.set_result(None)
            self._opened = None
        waits.child_ended(None)  # what ended meanwhile was not looked at
        waits.fire()
        self._execution.pump_soon()

    async def wait(self) -> None:
        """Stand still while the execution is being paused."""
        execution = self._execution
        while self.since is not None and not execution.phase.over:
            if self._opened is None:
                self._opened = execution.host.loop.create_future()
            opened = self._opened
            self._standing += 1
            execution.pump_soon()
            try:
                await asyncio.shield(opened)
            finally:
                if opened.done():
                    execution.work_ended()
                else:
                    self._standing -= 1
        execution.check_open()

    def let_go(self) -> None:
        """Forget the execution, which has left memory."""
        del self._execution


class _NotPaused(SharedPart, PauseGate):
    __slots__ = ()


NOT_PAUSED = PauseGate(None)
"""The pause of executions that nobody ever paused."""
NOT_PAUSED.__class__ = _NotPaused
