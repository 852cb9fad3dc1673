"""Daemon threads: what hangs in one of them keeps neither an event loop nor a process from ending.

The interpreter joins the threads of the standard library's executors when it ends, and `asyncio.run` those of the
loop's default executor, which is the application's: nothing of Everstep's is put there.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

IDLE_SECONDS = 10.0
"""A thread that had nothing to do for so long ends."""
_SIDE_THREADS = 32
"""As many of the engine's own calls go on beside a loop at once: reads, pages, names of hosts."""

P = ParamSpec("P")
T = TypeVar("T")
_Call: TypeAlias = tuple[Future[Any], Callable[[], Any]]


class DaemonThreads(ThreadPoolExecutor):
    """An executor whose threads nobody joins. A call gets a thread at once, or waits while `most` are busy.

    It is a `ThreadPoolExecutor` because a loop takes nothing else as its default executor; it has its own threads.

    Args:
        name: What the threads' names begin with.
        most: How many there are at most.
        patience_seconds: How long a shutdown that waits does so.
    """

    def __init__(self, name: str, *, most: int, patience_seconds: float = 0.0) -> None:
        super().__init__(most)
        self._name = name
        self._most = most
        self._patience_seconds = patience_seconds
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._changed = threading.Condition(threading.Lock())
        self._alive = self._numbered = 0
        self._idle = 0  # threads that wait for a call which nobody has made yet
        self._backlog = 0  # calls that wait for a thread which is busy
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError(f"the threads {self._name!r} take no more calls: they were shut down")
            if self._idle:
                self._idle -= 1
            elif self._alive >= self._most or not self._start_thread():
                self._backlog += 1
        self._calls.put((future, partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and with `wait` let those under way end, within the patience."""
        with self._changed:
            if not self._closed:
                self._closed = True
                for _ in range(self._idle):
                    self._calls.put(None)
                self._idle = 0
            if cancel_futures:
                self._cancel_calls()
            deadline = time.monotonic() + self._patience_seconds
            while wait and self._alive and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)

    def _cancel_calls(self) -> None:
        """Cancel what no thread has taken; a thread that comes for it ends."""
        for _ in range(self._calls.qsize()):
            with contextlib.suppress(Empty):
                call = self._calls.get_nowait()
                if call is not None:
                    call[0].cancel()
                self._calls.put(None)

    def _start_thread(self) -> bool:
        """Start a thread; if the system gives none, return whether there is another one to wait for."""
        self._numbered += 1
        thread = threading.Thread(target=self._work, name=f"{self._name}-{self._numbered}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if self._alive:
                return False
            raise
        self._alive += 1
        return True

    def _work(self) -> None:
        while True:
            try:
                call = self._calls.get(timeout=IDLE_SECONDS)
            except Empty:
                if self._ends_idle():
                    return
                continue  # a call for it is on its way
            if call is None:
                self._end()
                return
            _carry_out(*call)
            del call  # nothing of it is kept while the thread waits
            with self._changed:
                if self._backlog:
                    self._backlog -= 1
                elif self._closed:
                    self._calls.put(None)
                else:
                    self._idle += 1

    def _ends_idle(self) -> bool:
        with self._changed:
            if not self._idle:
                return False
            self._idle -= 1
            self._alive -= 1
            return True

    def _end(self) -> None:
        with self._changed:
            self._alive -= 1
            self._changed.notify_all()


def _carry_out(future: Future[Any], function: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function()
    except BaseException as error:  # noqa: BLE001  # whoever waits for it hears of it
        future.set_exception(error)
    else:
        future.set_result(result)


_side_threads: WeakKeyDictionary[asyncio.AbstractEventLoop, DaemonThreads] = WeakKeyDictionary()


async def run_beside_loop(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function beside the running loop, as `asyncio.to_thread` does, in a thread that is not the application's.

    However busy the loop's default executor is, the function is called; and however long it takes, the loop ends.
    """
    loop = asyncio.get_running_loop()
    threads = _side_threads.get(loop)
    if threads is None:
        threads = _side_threads[loop] = DaemonThreads("everstep-side", most=_SIDE_THREADS)
    call = partial(copy_context().run, function, *args, **kwargs)
    return await loop.run_in_executor(threads, call)
