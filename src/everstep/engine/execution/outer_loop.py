# ruff: noqa: SLF001  # asyncio's own parts, which third-party event loops use as well
"""The parts of a workflow's event loop that are the application's: I/O, threads, and the engine's own awaits."""

from __future__ import annotations

import asyncio
from asyncio import _set_running_loop
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

from everstep.engine.execution.workflow_tasks import LoopHost, WorkflowFuture


class OuterLoopAccess(asyncio.AbstractEventLoop):
    """The part of a workflow's event loop that reaches the application's.

    Attributes:
        outer: The application's loop.
        host: The execution it belongs to.
        outside_awaits: Awaits under way that no step records: I/O, threads, futures of the application's loop.
        engine_results: Awaits of the engine's own that are under way, such as reading a stream: then there is no rest.
        touched_outside: Whether there were any in this activation.
        closed: Whether the execution has left memory.
    """

    outer: asyncio.AbstractEventLoop
    host: LoopHost
    outside_awaits: int
    touched_outside: bool
    closed: bool
    engine_results: deque[tuple[asyncio.Task[Any], WorkflowFuture]] | None
    _transports: list[asyncio.BaseTransport] | None

    def create_future(self) -> WorkflowFuture:
        raise NotImplementedError

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
        self.touched_outside = True
        self.host.outside_awaited()

        def ended(_: object) -> None:
            self.outside_awaits -= 1
            if self.closed:
                seen(awaited)
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
        if self.engine_results is None:
            self.engine_results = deque()
        self.engine_results.append((task, mine))
        task.add_done_callback(self._engine_answered, context=_NO_CONTEXT)
        mine.add_done_callback(lambda _: mine.cancelled() and task.cancel())
        return mine

    def _engine_answered(self, _: object) -> None:
        results = self.engine_results
        while results and results[0][0].done():
            task, mine = results.popleft()
            if self.closed:
                seen(task)
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
        self.touched_outside = True
        self.host.outside_awaited()


_DELEGATED = (
    *("getaddrinfo", "getnameinfo", "create_connection", "create_server", "create_unix_connection"),
    *("create_unix_server", "sendfile", "start_tls", "connect_accepted_socket", "create_datagram_endpoint"),
    *("sock_recv", "sock_recv_into", "sock_recvfrom", "sock_sendall", "sock_recvfrom_into", "sock_sendto"),
    *("sock_connect", "sock_accept", "sock_sendfile", "connect_read_pipe", "connect_write_pipe"),
    *("subprocess_shell", "subprocess_exec", "shutdown_default_executor", "shutdown_asyncgens"),
)
"""Coroutines of an event loop that do I/O."""


def _delegate(name: str) -> Callable[..., Any]:
    def delegated(self: OuterLoopAccess, *args: Any, **options: Any) -> WorkflowFuture:
        return self.mirror(self.run_outside(lambda: getattr(self.outer, name)(*args, **options)))

    delegated.__name__ = name
    return delegated


for _name in _DELEGATED:
    setattr(OuterLoopAccess, _name, _delegate(_name))

_NO_CONTEXT = Context()


def seen(ended: asyncio.Future[Any]) -> None:
    if not ended.cancelled():
        ended.exception()


def _copy_outcome(ended: asyncio.Future[Any], mine: WorkflowFuture) -> None:
    if ended.cancelled():
        mine.cancel()
    elif (error := ended.exception()) is not None:
        mine.set_exception(error)
    else:
        mine.set_result(ended.result())
