"""Which step runs here: the context variable behind `everstep.current_step()`."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from everstep.core.types import StepContext

running_step: ContextVar[Callable[[], StepContext] | None] = ContextVar("everstep_step", default=None)
"""What makes the context of the step running here: few steps ask for it."""


def current_step() -> StepContext:
    """Return the context of the step running here: the same as a step function's `ctx` parameter.

    Raises:
        RuntimeError: outside a step.
    """
    make = running_step.get()
    if make is None:
        raise RuntimeError("current_step() was called outside a step; it works inside a function run by step.do()")
    return make()
