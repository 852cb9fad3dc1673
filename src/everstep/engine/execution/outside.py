"""Awaits of workflow code that no step records: told once, waited for; ended with a reason where they cannot work."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from everstep.core.errors import WorkflowCodeError
from everstep.engine.execution.code_position import awaiting_line, running_line
from everstep.engine.execution.shared_part import SharedPart

if TYPE_CHECKING:
    from everstep.engine.execution.execution import Execution

log = logging.getLogger("everstep.engine")

PATIENCE_SECONDS = 1.0
"""How long code that awaits the outside may take to ask for what its history has."""
_SPINNING_SLICES = 50
"""After so many slices without rest, code that polls is ended: 50 of 20,000 callbacks are about a second."""
_MOST_TOLD = 16
_told: dict[str, set[str]] = {}
"""The lines that were told of, by workflow: of each no more than `_MOST_TOLD`."""


class OutsideAwaits:
    """The awaits of one execution that no step records.

    Attributes:
        began: Whether there were any in this activation.
        patience_over: Whether the code had its time to ask for what its history has.
    """

    __slots__ = ("_execution", "_heard", "_slices", "_timer", "began", "patience_over")

    def __init__(self, execution: Execution | None) -> None:
        if execution is not None:
            self._execution = execution
        self._timer: asyncio.TimerHandle | None = None
        self._slices = self._heard = 0
        self.began = False
        self.patience_over = False

    def note(self) -> None:
        """Take note that the code awaits the outside, and tell where it does, once for each line."""
        self.began = True
        told = self._told_lines()
        if len(told) >= _MOST_TOLD:
            return
        line = running_line() or self._line()
        if line is not None and line not in told:
            told.add(line)
            log.warning(
                "workflow %r awaits something outside of a step at %s: it is not recorded, happens again on every "
                "replay, and keeps the instance in memory meanwhile; put it into a step: await step.do(name, fn)",
                self._execution.instance.workflow,
                line,
            )

    def stuck(self) -> None:
        """Tell that the code waits for nothing that could end the wait, once for each line."""
        line, told = self._line(), self._told_lines()
        if line is not None and line not in told and len(told) < _MOST_TOLD:
            told.add(line)
            log.warning(
                "instance %r of workflow %r is at rest at %s and waits for nothing that the engine knows of: no step, "
                "sleep, event, child or timer is open. What a step's function sets in memory is not there on a replay; "
                "return it as the step's result",
                self._execution.instance.id,
                self._execution.instance.workflow,
                line,
            )

    def wait(self) -> None:
        """Give the code a moment to ask for what its history has."""
        if self._timer is None:
            self._timer = self._execution.host.loop.call_later(PATIENCE_SECONDS, self._over)

    def progressed(self) -> None:
        """Begin to wait anew: the code went on."""
        self.close()
        self.patience_over = False

    def _over(self) -> None:
        self._timer = None
        self.patience_over = True
        self._execution.pump_soon()

    def spins(self) -> None:
        """Let others have a turn; end code that never rests while it polls for what it can only hear at rest."""
        execution = self._execution
        if execution.history.heard != self._heard:  # it came to rest since the last slice, or it could not hear
            self._heard, self._slices = execution.history.heard, 0
        self._slices += 1
        if self._slices >= _SPINNING_SLICES and execution.history.awaited:
            line = self._line()
            execution.host.fail(
                execution,
                WorkflowCodeError(
                    f"the code of instance {execution.instance.id!r} polls without ever coming to rest"
                    f"{'' if line is None else f' at {line}'}: it hears how a step ended only when nothing in it is "
                    "ready to run. Await the task or step itself instead of asking in a loop whether it is done"
                ),
            )
            return
        execution.pump_soon()

    def close(self) -> None:
        """Wait no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _told_lines(self) -> set[str]:
        return _told.setdefault(self._execution.instance.workflow, set())

    def _line(self) -> str | None:
        task: Any = asyncio.current_task(self._execution.loop)
        tasks = [task] if task is not None else [one for one in self._execution.loop.tasks if not one.done()]
        return next((line for one in tasks if (line := awaiting_line(one.get_coro())) is not None), None)

    def let_go(self) -> None:
        """Forget the execution, which has left memory."""
        del self._execution


class _NothingOutside(SharedPart, OutsideAwaits):
    __slots__ = ()


NOTHING_OUTSIDE = OutsideAwaits(None)
"""The awaits of executions whose code awaits nothing but steps."""
NOTHING_OUTSIDE.__class__ = _NothingOutside
