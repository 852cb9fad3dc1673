"""Where a branch of a workflow is: the context variable behind `everstep.current_step()`."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from everstep.core.types import StepContext


class StepScope:
    """Where a branch of a workflow's code has come to: the row of the journal it asked for last.

    A row that is a step being attempted is entered by what runs below it; others are `over` at once, and attempts when
    they end. `outer` is the attempt that this one is a part of, where a step's function asks for steps itself.
    """

    __slots__ = ("outer", "over", "record")

    def __init__(self, record: Any, *, over: bool) -> None:
        self.record = record
        self.over = over
        self.outer = current_attempt()

    @property
    def kind(self) -> str:
        """The kind of the step: `do`, `child` or `rollback`."""
        kind: str = self.record.kind
        return kind

    @property
    def name(self) -> str:
        """The name of the step."""
        name: str = self.record.name
        return name

    @property
    def count(self) -> int:
        """How many times the code has asked for a step of this name."""
        count: int = self.record.count
        return count

    def context(self) -> StepContext:
        """Return the `StepContext` of the attempt."""
        raise NotImplementedError


current_scope: ContextVar[StepScope | None] = ContextVar("everstep_place", default=None)
"""One variable for two questions, and never put back: each time one is set, a part of the context is copied."""


def current_attempt() -> StepScope | None:
    """Return the attempt that runs here, if one does."""
    here = current_scope.get()
    while here is not None and here.over:
        here = here.outer
    return here


def current_step() -> StepContext:
    """Return the context of the step running here: the same as a step function's `ctx` parameter.

    Raises:
        RuntimeError: outside a step.

    Example:
        >>> async def charge(cents: int) -> str:
        ...     here = current_step()
        ...     return f"{here.instance_id}:{here.step.name}-{here.step.count}"  # the same in every attempt
    """
    attempt = current_attempt()
    if attempt is None:
        raise RuntimeError("current_step() was called outside a step; it works inside a function run by step.do()")
    return attempt.context()
