"""The event loop that one instance's code runs on, pumped to exhaustion by callbacks of the application's loop.

It knows nothing of journals: its host is told of timers and of what became ready, and everything that is I/O goes to
the application's loop. Why an instance has a loop of its own: docs/design/exact-replay.md.
"""

from __future__ import annotations

import asyncio
import sys
import types
import weakref
from asyncio import _get_running_loop, _set_running_loop
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context, copy_context
from threading import get_ident
from typing import Any, Protocol

SLICE_CALLBACKS = 20_000
"""Callbacks of one instance that run before the application's loop gets a turn."""
class LoopHost(Protocol):
    """What the loop asks of the execution it belongs to."""

    @property
    def now_ms(self) -> int:
        """The time as the code sees it, in milliseconds since 1970."""
        ...

    def pump_soon(self) -> None:
        """Something became ready, or an await of the outside ended, while the loop was not being pumped."""
        ...

    def timer_started(self, timer: WorkflowTimer, delay_ms: int) -> None:
        """The code began a timer."""
        ...

    def timer_cancelled(self, timer: WorkflowTimer) -> None:
        """The code cancelled a timer."""
        ...

    def outside_awaited(self) -> None:
        """The code awaits something that no step records, for the first time in this activation."""
        ...


class WorkflowTask(asyncio.Task[Any]):
    """A task whose hash is the number of its creation, so that sets of tasks iterate alike in every activation.

    The instance's own number is mixed in: asyncio keeps the tasks of all loops in one set.
    """

    __slots__ = ("context", "number")

    def __init__(
        self, coro: Any, *, loop: WorkflowLoop, number: int, context: Context, name: str | None, **options: Any
    ) -> None:
        self.number = number  # before the base class puts the task into sets
        self.context = context
        super().__init__(coro, loop=loop, name=name, context=context, **options)

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class WorkflowFuture(asyncio.Future[Any]):
    """A future whose hash is the number of its creation, for sets of bare futures."""

    __slots__ = ("number",)

    def __init__(self, *, loop: WorkflowLoop) -> None:
        # Counted apart from tasks: how many futures asyncio makes inside differs between its versions.
        loop.futures = self.number = loop.futures + 1
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class _Ready:
    """A callback that is ready to run: what code uses of `asyncio.Handle`, and no more."""

    __slots__ = ("args", "callback", "context", "is_cancelled")

    def __init__(self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.is_cancelled = False

    def cancel(self) -> None:
        """Do not call back."""
        self.is_cancelled = True

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.is_cancelled


class WorkflowTimer(asyncio.TimerHandle):
    """A timer of the code; `call` is what the execution keeps of it while it runs."""

    __slots__ = ("call",)

    def __init__(
        self,
        when: float,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        loop: WorkflowLoop,
        context: Context | None,
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self.call: Any = None

    def fire(self) -> None:
        """Call back in the loop, now."""
        self.call = None
        self._loop.call_soon(self._run_unless_cancelled)  # type: ignore[attr-defined]

    def _run_unless_cancelled(self) -> None:
        if not self.cancelled():
            self._run()


class WorkflowLoop(asyncio.AbstractEventLoop):
    """The event loop of one instance.

    Args:
        outer: The application's loop.
        host: The execution it belongs to.
        key: The instance's number: hashes of its tasks follow from it.
    """

    __slots__ = (
        "_agens",
        "_engine_results",
        "_handler",
        "_task_number",
        "_tasks_kept",
        "_thread",
        "_transports",
        "closed",
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
        self.ready: deque[_Ready] = deque()
        self.pumping = self.closed = False
        self._thread = get_ident()
        self.outside_awaits = 0
        """Awaits under way that no step records: I/O, threads, futures of the application's loop."""
        self._engine_results: deque[tuple[asyncio.Task[Any], WorkflowFuture]] = deque()
        self.touched_outside = False
        self._task_number = self.futures = (key * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFF
        self.tasks: list[WorkflowTask] = []
        self._tasks_kept = 16
        self._handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None = None
        self._agens: weakref.WeakSet[Any] | None = None
        self._transports: list[asyncio.BaseTransport] | None = None

    # Running

    def enter(self) -> asyncio.AbstractEventLoop:
        """Become the running loop, in the thread of the application's loop; what is returned is for `leave`."""
        _set_running_loop(self)
        self.pumping = True
        return self.outer

    def leave(self, before: asyncio.AbstractEventLoop) -> None:
        """Stop being the running loop."""
        self.pumping = False
        _set_running_loop(before)

    def is_pumped_here(self) -> bool:
        """Whether the code that asks is being pumped by this loop: not a step's function, nor another thread."""
        return self.pumping and get_ident() == self._thread

    def pump(self) -> bool:
        """Run callbacks until none is ready; return whether that was reached. Only between `enter` and `leave`."""
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
        return True

    def call_soon(  # type: ignore[override]  # as every event loop takes them
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> _Ready:
        handle = _Ready(callback, args, copy_context() if context is None else context)
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
            coro = _Bridge(coro, self)
        context = copy_context() if context is None else context
        task = WorkflowTask(coro, loop=self, number=number, name=name, context=context, **options)
        if len(self.tasks) >= self._tasks_kept:
            self.tasks = [one for one in self.tasks if not one.done()]
            self._tasks_kept = 2 * len(self.tasks) + 16
        self.tasks.append(task)  # held: when an unreferenced task is collected is no part of a history
        return task

    def get_task_factory(self) -> None:
        return None

    # The application's loop

    @property
    def waits_outside(self) -> bool:
        """Whether something may still happen that no step records."""
        if self.outside_awaits:
            return True
        if self._transports is None:
            return False
        self._transports = [one for one in self._transports if not one.is_closing()] or None
        return self._transports is not None

    def stand_in(self, awaited: Any) -> WorkflowFuture:
        """Return a future of this loop that ends when one of another loop does, to be yielded in its place."""
        awaited._asyncio_future_blocking = False
        mine = self.create_future()
        mine._asyncio_future_blocking = True
        self._follow(awaited, mine, lambda: mine.set_result(None))
        return mine

    def mirror(self, awaited: asyncio.Future[Any]) -> WorkflowFuture:
        """Return a future of this loop with the outcome of one of another loop."""
        mine = self.create_future()

        def copy() -> None:
            _copy_outcome(awaited, mine)
            if not awaited.cancelled() and awaited.exception() is None:
                result = awaited.result()
                if type(result) is tuple and result and hasattr(result[0], "is_closing"):
                    self._transports = [*(self._transports or ()), result[0]]  # may call back at any time

        self._follow(awaited, mine, copy)
        return mine

    def _follow(self, awaited: asyncio.Future[Any], mine: WorkflowFuture, copy: Callable[[], None]) -> None:
        self.outside_awaits += 1
        if not self.touched_outside:
            self.touched_outside = True
            self.host.outside_awaited()

        def ended(_: object) -> None:
            self.outside_awaits -= 1
            if self.closed:
                _seen(awaited)
                return
            if not mine.done():
                copy()
            self.host.pump_soon()  # to look again, even if nothing became ready

        awaited.add_done_callback(ended, context=_NO_CONTEXT)
        mine.add_done_callback(lambda _: mine.cancelled() and awaited.cancel())

    def run_outside(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> asyncio.Task[Any]:
        """Run a coroutine on the application's loop, from code that is being pumped."""
        _set_running_loop(self.outer)  # an eager task factory begins at once
        try:
            return self.outer.create_task(make())
        finally:
            _set_running_loop(self)

    def await_engine(self, make: Callable[[], Coroutine[Any, Any, Any]]) -> WorkflowFuture:
        """Await something of the engine's on the application's loop: the code is not at rest before it has ended.

        One after the other, in the order in which they are asked for: it is the same in every activation.
        """
        mine = self.create_future()
        task = self.run_outside(make)
        self._engine_results.append((task, mine))
        task.add_done_callback(self._engine_answered, context=_NO_CONTEXT)
        mine.add_done_callback(lambda _: mine.cancelled() and task.cancel())
        return mine

    @property
    def awaits_engine(self) -> bool:
        """Whether an await of the engine's own is under way, such as reading a stream: then there is no rest."""
        return bool(self._engine_results)

    def _engine_answered(self, _: object) -> None:
        while self._engine_results and self._engine_results[0][0].done():
            task, mine = self._engine_results.popleft()
            if self.closed:
                _seen(task)
            elif not mine.done():
                _copy_outcome(task, mine)
        self.host.pump_soon()

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> WorkflowFuture:  # type: ignore[override]
        return self.mirror(self.outer.run_in_executor(executor, func, *args))

    def set_default_executor(self, executor: Any) -> None:
        self.outer.set_default_executor(executor)

    def add_reader(self, fd: Any, callback: Callable[..., Any], *args: Any) -> None:  # type: ignore[override]
        self._watched()
        self.outer.add_reader(fd, lambda: self.call_soon(callback, *args))

    def remove_reader(self, fd: Any) -> bool:
        self.outside_awaits -= self.outer.remove_reader(fd)
        return True

    def add_writer(self, fd: Any, callback: Callable[..., Any], *args: Any) -> None:  # type: ignore[override]
        self._watched()
        self.outer.add_writer(fd, lambda: self.call_soon(callback, *args))

    def remove_writer(self, fd: Any) -> bool:
        self.outside_awaits -= self.outer.remove_writer(fd)
        return True

    def _watched(self) -> None:
        self.outside_awaits += 1
        if not self.touched_outside:
            self.touched_outside = True
            self.host.outside_awaited()

    def _delegated(self, name: str, *args: Any, **options: Any) -> WorkflowFuture:
        return self.mirror(self.run_outside(lambda: getattr(self.outer, name)(*args, **options)))

    # Leaving memory

    def throw_into_tasks(self, error: type[BaseException]) -> None:
        """End every task where it stands: `error` is raised there, and nothing that the code does afterwards counts.

        Raised directly and not by way of what the task waits for: a task group would turn it into cancellations, which
        the code might take for its own.
        """
        self.closed = True
        before = _get_running_loop()
        self.enter()
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
            self.ready.clear()
            self.pumping = False
            _set_running_loop(before)  # none, where the application's loop is over
        self.tasks = []
        self.host = _NOBODY

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


for _name in [
    "getaddrinfo",
    "getnameinfo",
    "create_connection",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "sendfile",
    "start_tls",
    "connect_accepted_socket",
    "create_datagram_endpoint",
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_sendall",
    "sock_recvfrom_into",
    "sock_sendto",
    "sock_connect",
    "sock_accept",
    "sock_sendfile",
    "connect_read_pipe",
    "connect_write_pipe",
    "subprocess_shell",
    "subprocess_exec",
    "shutdown_default_executor",
    "shutdown_asyncgens",
]:
    setattr(
        WorkflowLoop,
        _name,
        lambda self, *args, _name=_name, **options: self._delegated(_name, *args, **options),
    )

_NO_CONTEXT = Context()


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


class _Bridge(Coroutine[Any, Any, Any]):
    """A coroutine of the code that may await futures of the application's loop: its task waits for a stand-in."""

    __slots__ = ("_coro", "_loop")

    def __init__(self, coro: Coroutine[Any, Any, Any], loop: WorkflowLoop) -> None:
        self._coro = coro
        self._loop = loop

    def send(self, value: Any) -> Any:
        awaited = self._coro.send(value)
        if awaited is None or getattr(awaited, "_loop", self._loop) is self._loop:
            return awaited
        return self._loop.stand_in(awaited)

    def throw(self, *error: Any) -> Any:
        awaited = self._coro.throw(*error)
        if awaited is None or getattr(awaited, "_loop", self._loop) is self._loop:
            return awaited
        return self._loop.stand_in(awaited)

    def close(self) -> None:
        self._coro.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coro.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coro, name)  # cr_frame and its like, for those who look at a task


def _seen(ended: asyncio.Future[Any]) -> None:
    if not ended.cancelled():
        ended.exception()


def _copy_outcome(ended: asyncio.Future[Any], mine: WorkflowFuture) -> None:
    if ended.cancelled():
        mine.cancel()
    elif (error := ended.exception()) is not None:
        mine.set_exception(error)
    else:
        mine.set_result(ended.result())


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
    for callback, _ in (getattr(waiter, "_callbacks", None) or ()) if waiter is not None else ():
        waiter.remove_done_callback(callback)


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


def engine_await(make: Callable[[], Coroutine[Any, Any, Any]]) -> Awaitable[Any]:
    """Await something of the engine's, wherever that is asked: in a step, or in workflow code on its own loop."""
    loop = _get_running_loop()
    return loop.await_engine(make) if isinstance(loop, WorkflowLoop) else make()


def running_workflow_loop() -> WorkflowLoop | None:
    """Return the workflow's loop whose code is running, if it is any's."""
    loop = _get_running_loop()
    return loop if isinstance(loop, WorkflowLoop) else None


def _make_as_completed_orderly() -> None:
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


_make_as_completed_orderly()
