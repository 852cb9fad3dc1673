"""Changes to asyncio, for workflow code only: `as_completed`, and who hears of asynchronous generators."""

from __future__ import annotations

import asyncio
import sys
import types
from asyncio import _get_running_loop
from typing import Any

from everstep.engine.execution.workflow_loop import WorkflowLoop, running_workflow_loop


def install_asyncgen_hooks() -> None:
    """Have asynchronous generators of workflow code known to its own loop, in the thread of the running loop.

    Once for all: to exchange the hooks whenever code is pumped would cost more than the pump.
    """
    before = sys.get_asyncgen_hooks()
    if getattr(before.firstiter, "everstep", False):
        return

    def started(agen: Any) -> None:
        loop = _get_running_loop()
        if isinstance(loop, WorkflowLoop):
            loop.agen_started(agen)
        elif before.firstiter is not None:
            before.firstiter(agen)

    def dropped(agen: Any) -> None:
        loop = _get_running_loop()
        if isinstance(loop, WorkflowLoop):
            loop.agen_dropped(agen)
        elif before.finalizer is not None:
            before.finalizer(agen)

    started.everstep = True  # type: ignore[attr-defined]
    sys.set_asyncgen_hooks(firstiter=started, finalizer=dropped)


def make_as_completed_orderly() -> None:
    """Have `asyncio.as_completed` begin coroutines in the order in which they are given, in workflow code.

    It puts them into a set, which iterates by their addresses: with equal step names their results would be swapped in
    the next activation. Its code is replaced, not its name: programs have imported the function by name before.
    """
    native = asyncio.tasks.as_completed
    if getattr(native, "everstep_orderly", False):
        return
    original = types.FunctionType(native.__code__, native.__globals__, native.__name__, native.__defaults__)
    original.__kwdefaults__ = native.__kwdefaults__

    def in_order(fs: Any, timeout: float | None) -> Any:
        if running_workflow_loop() is not None and not asyncio.isfuture(fs) and not asyncio.iscoroutine(fs):
            fs = [asyncio.ensure_future(one) for one in dict.fromkeys(fs)]
        return original(fs, timeout=timeout)

    def as_completed(fs: Any, *, timeout: float | None = None) -> Any:
        return _everstep_in_order(fs, timeout)  # type: ignore[name-defined]  # noqa: F821  # a global of asyncio.tasks

    native.__globals__["_everstep_in_order"] = in_order
    native.__code__ = as_completed.__code__
    native.everstep_orderly = True  # type: ignore[attr-defined]
