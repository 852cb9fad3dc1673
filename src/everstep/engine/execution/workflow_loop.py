"""The event loop that one instance's code runs on, pumped to exhaustion by callbacks of the application's loop.

It knows nothing of journals: its host is told of timers and of what became ready, and everything that is I/O goes to
the application's loop. Why an instance has a loop of its own: docs/design/exact-replay.md.
"""

# ruff: noqa: SLF001  # asyncio's own parts, which third-party event loops use as well
from __future__ import annotations

import asyncio
import types
import weakref
from asyncio import _get_running_loop, _set_running_loop
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any

from everstep.engine.execution.outer_loop import OuterLoopAccess, seen
from everstep.engine.execution.workflow_tasks import (
    Bridge,
    LoopHost,
    Ready,
    WorkflowFuture,
    WorkflowTask,
    WorkflowTimer,
)

SLICE_CALLBACKS = 20_000
"""Callbacks of one instance that run before the application's loop gets a turn."""

_NONE_READY: deque[Ready] = deque(maxlen=0)
"""What is ready in a loop that is at rest: shared by all, as an empty queue takes more room than much of the rest."""


class WorkflowLoop(OuterLoopAccess):
    """The event loop of one instance.

    Args:
        outer: The application's loop.
        host: The execution it belongs to.
        key: The instance's number: hashes of its tasks follow from it.
    """

    __slots__ = (
        "_agens",
        "_handler",
        "_task_number",
        "_tasks_kept",
        "_transports",
        "closed",
        "engine_results",
        "futures",
        "host",
        "outer",
        "outside_awaits",
        "pumping",
        "ready",
        "tasks",
        "touched_outside",
    )

    def __init__(self, outer: asyncio.AbstractEventLoop, host: LoopHost, key: int) -> None:
        self.outer = outer
        self.host = host
        self.ready = _NONE_READY
        self.pumping = self.closed = False
        self.outside_awaits = 0
        """Awaits under way that no step records: I/O, threads, futures of the application's loop."""
        self.engine_results: deque[tuple[asyncio.Task[Any], WorkflowFuture]] | None = None
        self.touched_outside = False
        self._task_number = self.futures = (key * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFF
        self.tasks: list[WorkflowTask] = []
        self._tasks_kept = 16
        self._handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None = None
        self._agens: weakref.WeakSet[Any] | None = None
        self._transports: list[asyncio.BaseTransport] | None = None

    # Running

    def pump(self) -> bool:
        """Run callbacks until none is ready; return whether that was reached. Only while this is the running loop."""
        ready, left = self.ready, SLICE_CALLBACKS
        while ready:
            handle = ready.popleft()
            if handle.is_cancelled:
                continue
            try:
                handle.context.run(handle.callback, *handle.args)
            except SystemExit:  # a task's: it has the exception, and raises it again where it is awaited
                pass
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001  # a callback's own, as in every event loop
                self.call_exception_handler({"message": "Exception in callback", "exception": error, "handle": handle})
            left -= 1
            if not left:
                return not ready
        self.ready = _NONE_READY
        return True

    def call_soon(  # type: ignore[override]  # as every event loop takes them
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> Ready:
        handle = Ready(callback, args, copy_context() if context is None else context)
        if self.ready is _NONE_READY:
            self.ready = deque()
        self.ready.append(handle)
        if not self.pumping:
            self.host.pump_soon()
        return handle

    def call_soon_threadsafe(  # type: ignore[override]  # as every event loop takes them
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return self.outer.call_soon_threadsafe(lambda: self.call_soon(callback, *args, context=context))

    def time(self) -> float:
        """Seconds since 1970 as the code sees them: they stand still between settlements."""
        return self.host.now_ms / 1000

    def call_later(  # type: ignore[override]  # as every event loop takes them
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self._timer(round(delay * 1000), callback, args, context)

    def call_at(  # type: ignore[override]  # as every event loop takes them
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self._timer(round(when * 1000) - self.host.now_ms, callback, args, context)

    def _timer(
        self, delay_ms: int, callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None
    ) -> asyncio.TimerHandle:
        timer = WorkflowTimer((self.host.now_ms + delay_ms) / 1000, callback, args, self, context)
        if delay_ms <= 0:
            timer.fire()
        else:
            self.host.timer_started(timer, delay_ms)
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if isinstance(handle, WorkflowTimer) and handle.call is not None:
            self.host.timer_cancelled(handle)

    # Futures and tasks

    def create_future(self) -> WorkflowFuture:
        return WorkflowFuture(loop=self)

    def create_task(  # options differ between versions of Python
        self, coro: Any, *, name: str | None = None, context: Context | None = None, **options: Any
    ) -> WorkflowTask:
        self._task_number = number = self._task_number + 1
        if type(coro) is types.CoroutineType:
            coro = Bridge(coro, self)
        context = copy_context() if context is None else context
        task = WorkflowTask(coro, loop=self, number=number, name=name, context=context, **options)
        if len(self.tasks) >= self._tasks_kept:
            # Errors that nobody has looked at yet may be looked at later: in the end they are ours to look at.
            self.tasks = [one for one in self.tasks if not one.done() or one._log_traceback]
            self._tasks_kept = 2 * len(self.tasks) + 16
        self.tasks.append(task)  # held: when an unreferenced task is collected is no part of a history
        return task

    def get_task_factory(self) -> None:
        return None

    # Leaving memory

    def throw_into_tasks(self, error: type[BaseException]) -> None:
        """End every task where it stands: `error` is raised there, and nothing that the code does afterwards counts.

        Raised directly and not by way of what the task waits for: a task group would turn it into cancellations, which
        the code might take for its own.
        """
        self.closed = True
        self.host = _NOBODY
        tasks = self.tasks
        if (len(tasks) == 1 and tasks[0].done()) or all(task.done() for task in tasks):
            for task in tasks:
                seen(task)
            self.tasks = []
            return
        before = _get_running_loop()
        _set_running_loop(self)
        self.pumping = True
        try:
            for task in self.tasks:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    asyncio.tasks._enter_task(self, task)
                    try:
                        task.context.run(_unwind, task.get_coro(), error)
                    finally:
                        asyncio.tasks._leave_task(self, task)
                    _forget_waiter(task)
                    asyncio.Future.set_exception(task, error())  # a task that is held elsewhere is seen to be over
                if not task.cancelled():
                    task.exception()  # seen
        finally:
            self.ready = _NONE_READY
            self.pumping = False
            _set_running_loop(before)  # none, where the application's loop is over
        self.tasks = []

    # Trouble

    def agen_started(self, agen: Any) -> None:
        """Note an asynchronous generator of the code."""
        if self._agens is None:
            self._agens = weakref.WeakSet()
        self._agens.add(agen)

    def agen_dropped(self, agen: Any) -> None:
        """Close an asynchronous generator that the code has dropped."""
        self.create_task(agen.aclose())

    def set_exception_handler(self, handler: Any) -> None:
        self._handler = handler

    def get_exception_handler(self) -> Any:
        return self._handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.outer.default_exception_handler(context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._handler is None:
            self.outer.call_exception_handler(context)
        else:
            self._handler(self, context)

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:  # asyncio's
        """Do nothing: debugging is the application's loop's."""

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def _not_yours(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError(
            "a workflow's event loop is run by Everstep; it cannot be run, stopped or closed by the code"
        )

    close = stop = run_forever = run_until_complete = set_task_factory = _not_yours
    add_signal_handler = remove_signal_handler = _not_yours  # type: ignore[assignment]


class _Nobody:
    """The host of a loop whose execution has left memory: what the code leaves behind may still call back."""

    now_ms = 0

    def pump_soon(self) -> None:
        """Do nothing."""

    def timer_started(self, timer: WorkflowTimer, delay_ms: int) -> None:
        """Do nothing."""

    def timer_cancelled(self, timer: WorkflowTimer) -> None:
        """Do nothing."""

    def outside_awaited(self) -> None:
        """Do nothing."""


_NOBODY = _Nobody()


def _unwind(coro: Any, error: type[BaseException]) -> None:
    """Raise `error` in a coroutine until it has ended, though its cleanup awaits something."""
    for _ in range(_UNWINDS):
        try:
            coro.throw(error())
        except BaseException:  # noqa: BLE001  # whatever the code makes of it, it has ended
            return
    try:
        coro.close()
    except RuntimeError:  # it goes on awaiting
        return


_UNWINDS = 100


def _forget_waiter(task: WorkflowTask) -> None:
    """Undo the circle of a task and what it waits for: the garbage collector need not find it."""
    waiter = task._fut_waiter  # type: ignore[attr-defined]
    if waiter is not None:
        for callback, _ in getattr(waiter, "_callbacks", None) or ():
            waiter.remove_done_callback(callback)


def engine_await(make: Callable[[], Coroutine[Any, Any, Any]]) -> Awaitable[Any]:
    """Await something of the engine's, wherever that is asked: in a step, or in workflow code on its own loop."""
    loop = _get_running_loop()
    return loop.await_engine(make) if isinstance(loop, WorkflowLoop) else make()


def running_workflow_loop() -> WorkflowLoop | None:
    """Return the workflow's loop whose code is running, if it is any's."""
    loop = _get_running_loop()
    return loop if isinstance(loop, WorkflowLoop) else None
