"""A call of the workflow's code in this activation: what it asks for, since when, and what became of it.

What each kind of call does is in `engine/steps`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from everstep.core.journal import Kind, StepRecord

if TYPE_CHECKING:
    from everstep.engine.execution.execution import Execution


class Call:
    """A call: `step.do`, a sleep, a wait for an event, a child workflow, or a timer of asyncio.

    Attributes:
        count: How many times its kind and name came before, and this once.
        asked_after: The number of the last settlement that the code had heard when it asked.
        cancelled_after: The same for its cancellation; None while nobody cancelled it.
        record: Its row in the journal, once it has one.
        future: What the code awaits; None for a timer, whose callback is called.
        heard: Whether the code has heard how it ended.
    """

    __slots__ = ("asked_after", "cancelled_after", "count", "execution", "future", "heard", "name", "record")

    kind: ClassVar[Kind]
    counts: ClassVar[bool] = False
    """Whether it counts towards the instance's limit of steps."""
    over: bool = True
    outer: ClassVar[None] = None
    """A call is the scope of what its branch asks for next (`sdk/step_scope.py`), and no attempt runs in it."""

    def __init__(self, execution: Execution, name: str) -> None:
        self.execution = execution
        self.name = name
        self.count = self.asked_after = 0
        self.cancelled_after: int | None = None
        self.record: StepRecord | None = None
        self.future: asyncio.Future[Any] | None = None
        self.heard = False

    def check(self) -> None:
        """Raise in the code what is wrong with its arguments, once it is known whether the history has the call."""

    def matched(self, record: StepRecord) -> None:
        """Take over the row that the history has of the call."""
        self.record = record

    def begin(self) -> None:
        """Make the row of a call that the history does not have."""
        raise NotImplementedError

    def begin_row(self, now: int) -> StepRecord:
        """Give it a row that began now."""
        journal = self.execution.journal
        record = self.record = journal.begin(self.kind, self.name, self.count, self.asked_after, now)
        return record

    def start(self, crashes: int) -> None:
        """Begin on the application's loop what the code asked for, or go on with it.

        `crashes` is how many crashes that left no trace may have interrupted it.
        """
        raise NotImplementedError

    def stop(self) -> None:
        """End what is under way for it."""
        raise NotImplementedError

    def value(self) -> Any:
        """Return what the code gets, or raise its error, from the row of a call that has ended."""
        raise NotImplementedError

    def difference(self, record: StepRecord) -> str | None:
        """Say how the call differs from the row it matches by name, if it does."""
        return None

    def deliver(self) -> None:
        """Let the code hear how the call ended."""
        self.heard = True
        future = self.future
        if future is None or future.done():
            return
        try:
            value = self.value()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # the code's
            future.set_exception(error)
        else:
            future.set_result(value)

    def discard(self) -> None:
        """Take back what the end of a call that the code had cancelled before would take from others."""
