"""Timers of asyncio in workflow code: `asyncio.sleep`, `asyncio.timeout`, `wait_for`, `call_later`. They are durable.

A timer writes nothing until it fires: its end follows from the loop's time, which stands still between settlements and
is recorded with them. It gets a row earlier only where its instance parks or is paused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from everstep.core.durations import format_duration
from everstep.core.journal import Kind, StepRecord
from everstep.core.policy import transitions
from everstep.engine.execution.calls import Call
from everstep.engine.execution.open_waits import Wait

if TYPE_CHECKING:
    from everstep.engine.execution.execution import Execution
    from everstep.engine.execution.workflow_tasks import WorkflowTimer

_WORDS = {
    "_set_result_unless_cancelled": "asyncio.sleep",
    "_on_timeout": "asyncio.timeout",
    "_release_waiter": "asyncio.timeout",
}


class TimerCall(Call):
    """A timer that the code began."""

    kind: ClassVar[Kind] = "timer"

    def __init__(self, execution: Execution, timer: WorkflowTimer, delay_ms: int) -> None:
        callback = timer._callback  # type: ignore[attr-defined]  # noqa: SLF001  # asyncio's own, told by its name
        word = _WORDS.get(getattr(callback, "__name__", ""), "call_later")
        super().__init__(execution, f"{word} {format_duration(delay_ms)}")
        self._timer = timer
        self._due = execution.history.now_ms + delay_ms
        if execution.history.lenient:  # nobody knows when this was asked for
            self._due = max(self._due, execution.host.clock.now() + delay_ms)
        self._wait: Wait | None = None

    def begin(self) -> None:
        if self.execution.history.lenient:
            self.write()

    def start(self, crashes: int) -> None:
        if self.record is not None and self.record.wake_at is not None:
            self._due = self.record.wake_at
        self._wait = Wait(self._due, self.fire, self.record, write_row=self.write)
        self.execution.own_waits().add(self._wait)

    def stop(self) -> None:
        if self._wait is not None:
            self.execution.waits.close(self._wait)
            self._wait = None

    def write(self) -> StepRecord:
        """Give the timer a row."""
        execution = self.execution
        if self.record is None:
            record = self.begin_row(execution.history.now_ms)
            transitions.wait(record, self._due if self._wait is None else self._wait.due)
            execution.history.open[record.seq] = self
        else:
            record = self.record
        execution.journal.touch(record)
        return record

    def fire(self) -> None:
        """Record that the time has come."""
        record = self.write()
        transitions.complete(record, self.execution.host.clock.now())
        self.execution.journal.settle(record, alone=False)

    def deliver(self) -> None:
        self.heard = True
        self._timer.fire()
