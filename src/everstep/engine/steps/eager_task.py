"""A task of the application's loop that begins at once: a function that never waits costs no turn of the loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any

# ruff: noqa: SLF001  # asyncio's own parts, which third-party event loops use as well

if sys.version_info >= (3, 12) or TYPE_CHECKING:

    def begin_task(
        coro: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, context: Context
    ) -> asyncio.Task[None] | None:
        """Run a coroutine until it first waits; return the task in which it goes on, or None where it is over."""
        task = asyncio.Task(coro, loop=loop, context=context, eager_start=True)  # type: ignore[call-arg]  # from 3.12 on
        return None if task.done() else task

else:
    from asyncio import futures, tasks

    _current = tasks._current_tasks
    _unused: list[_EagerTask] = []
    """Tasks whose coroutine was over at once, and that nobody kept: to make one takes longer than to call it."""

    class _EagerTask(tasks._PyTask):
        """A task whose first step was made by hand. It is known to asyncio from the moment in which it waits."""

        _must_cancel = False
        _fut_waiter = None
        _num_cancels_requested = 0
        _name = "everstep-step"
        _log_destroy_pending = False

        def __init__(self) -> None:
            self._callbacks: list[Any] = []

        def wait_for(self, awaited: Any) -> None:
            """Go on once the first thing that the coroutine awaits is done."""
            self._log_destroy_pending = True
            tasks._register_task(self)
            if awaited is None:
                self._loop.call_soon(self._Task__step, context=self._context)
            elif getattr(awaited, "_asyncio_future_blocking", None) and awaited._loop is self._loop:
                awaited._asyncio_future_blocking = False
                awaited.add_done_callback(self._Task__wakeup, context=self._context)
                self._fut_waiter = awaited
                if self._must_cancel and awaited.cancel():
                    self._must_cancel = False
            else:
                error = RuntimeError(f"a step's task got {awaited!r}, which is no future of the application's loop")
                self._loop.call_soon(self._Task__step, error, context=self._context)

    def begin_task(
        coro: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, context: Context
    ) -> asyncio.Task[None] | None:
        """Run a coroutine until it first waits; return the task in which it goes on, or None where it is over."""
        task = _unused.pop() if _unused else _EagerTask()
        task._loop, task._coro, task._context = loop, coro, context
        outer = _current.get(loop)  # a commit made in that task lets other code go on
        _current[loop] = task
        try:
            awaited = context.run(coro.send, None)
        except StopIteration:
            awaited = _NOTHING
        finally:
            if outer is None:
                del _current[loop]
            else:
                _current[loop] = outer
        if awaited is not _NOTHING:
            task.wait_for(awaited)
            return task
        kept = sys.getrefcount(task) != _OURS or task.__weakref__ is not None
        if not (kept or task._callbacks or len(task.__dict__) != _PLAIN):
            task._coro = task._context = None
            _unused.append(task)
        else:  # the function has told others which task runs it
            futures._PyFuture.set_result(task, None)
        return None

    _NOTHING = object()
    _OURS = 2
    """References to a task that nobody else has: the function's own, and the count's."""
    _PLAIN = 4
    """Attributes of a task that was neither named nor cancelled."""
