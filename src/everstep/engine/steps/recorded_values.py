"""The time of day, ids and chance, recorded so that a replay sees them again."""

from __future__ import annotations

import random
import uuid
from asyncio import _get_running_loop
from datetime import datetime
from typing import Any, ClassVar

from everstep.core.journal import Kind
from everstep.core.policy import transitions
from everstep.core.serialization import codec
from everstep.core.timestamps import utc
from everstep.engine.execution.calls import Call
from everstep.engine.execution.execution import Execution
from everstep.sdk.step import ValueKind
from everstep.sdk.step_scope import current_scope


class ValueCall(Call):
    """A call of `step.now()`, `step.uuid()` or `step.random()`, answered at once."""

    kind: ClassVar[Kind] = "value"

    def __init__(self, execution: Execution, name: str, kind: ValueKind) -> None:
        super().__init__(execution, name)
        self._kind: ValueKind = kind

    def begin(self) -> None:
        """Draw the value. It is on disk before anything begins that the code may have told it."""
        execution = self.execution
        now = execution.host.clock.now()
        record = self.begin_row(now)
        text, _ = codec.encode(_new(execution, self._kind), where=f"step.{self._kind}()")
        transitions.complete(record, now, text)
        execution.journal.touch_value(record)

    def start(self, crashes: int) -> None:
        """Do nothing: it was answered when it was asked for."""

    def stop(self) -> None:
        """Do nothing: nothing is under way."""


def recorded_value(execution: Execution, kind: ValueKind) -> Any:
    """Return a value of a kind: the recorded one where there is one, a new one otherwise.

    A step's function gets a new one in each attempt: a step's only effect is its result.
    """
    if _get_running_loop() is not execution.loop:
        return _new(execution, kind)
    # Named by what this branch asked for last: where its code does I/O, branches run in another order when replayed.
    last = current_scope.get()
    name = kind if last is None else f"{kind} after {last.kind} {last.name} {last.count}"
    call = ValueCall(execution, name, kind)
    execution.ask(call)
    call.record = execution.history.match(call)
    if call.record is None:
        call.begin()
    assert call.record is not None
    return codec.decode(call.record.result or "null", where=f"step.{kind}()")


def _new(execution: Execution, kind: ValueKind) -> datetime | uuid.UUID | float:
    match kind:
        case "now":
            return utc(execution.host.clock.now())
        case "uuid":
            return uuid.uuid4()
        case "random":
            return random.random()  # noqa: S311  # chance for programs, not for secrets
