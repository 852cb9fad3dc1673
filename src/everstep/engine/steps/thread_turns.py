"""The turns of plain functions at threads: who may run, and which threads are lost to functions that hang.

A function in a thread cannot be ended. Once its attempt is over, by a timeout or because it was cancelled, its thread
is lost until it returns. The thread is replaced, so that a function which hangs takes no turn from others; but not
without end: beyond `most_lost` a lost thread takes a turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from everstep.engine.runtime.load import Utilization

log = logging.getLogger("everstep.engine")


class ThreadLimiter:
    """How many plain functions may run.

    Args:
        most: How many run at once whose attempts are under way.
        most_lost: How many lost threads are replaced.

    Attributes:
        lost: How many threads are in functions whose attempts are over.
    """

    def __init__(self, *, most: int, most_lost: int) -> None:
        self._most = most
        self._most_lost = most_lost
        self._taken = 0
        self.lost = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._loop = asyncio.get_running_loop()

    @property
    def load(self) -> Utilization:
        """How many run, how many may, and how many wait for their turn."""
        return Utilization(self._taken, self._most, len(self._waiting))

    @property
    def warning(self) -> str | None:
        """What is wrong once a further lost thread is not replaced, and what to do about it."""
        if not self.lost or self.lost < self._most_lost:
            return None
        left = max(0, self._most - (self.lost - self._most_lost))
        return (
            f"{self.lost} threads are in plain functions of steps whose attempts timed out or were cancelled. No "
            f"further one is replaced, and {left} of {self._most} are left for plain functions. Give whatever these "
            "functions wait for a timeout of its own; a restart of the process frees the threads"
        )

    async def acquire(self) -> None:
        """Wait for a turn; those who came first have it first. What was taken is given back."""
        if self._waiting or not self._free:
            await self._wait()
        else:
            self._taken += 1

    def release(self) -> None:
        """End a turn."""
        self._taken -= 1
        if self._waiting:
            self._let_in()

    async def call(self, threads: Executor, function: Callable[[], Any], name: str) -> Any:
        """Call a function of the step `name` in a thread; if whoever waits for it is cancelled, the thread is lost."""
        call = _ThreadCall(function, self._lost_returned)
        try:
            return await self._loop.run_in_executor(threads, call)
        finally:
            if call.leave():
                self._lose(name)

    @property
    def _free(self) -> bool:
        return self._taken + max(0, self.lost - self._most_lost) < self._most

    async def _wait(self) -> None:
        admitted: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(admitted)
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.cancelled():
                with contextlib.suppress(ValueError):
                    self._waiting.remove(admitted)
            else:  # admitted and cancelled in one turn of the loop
                self._taken -= 1
            self._let_in()
            raise

    def _let_in(self) -> None:
        while self._waiting and self._free:
            admitted = self._waiting.popleft()
            if not admitted.done():
                self._taken += 1
                admitted.set_result(None)

    def _lose(self, name: str) -> None:
        warned = self.warning is not None
        self.lost += 1
        if not warned and self.warning is not None:
            log.warning("%s. The latest is in step %r", self.warning, name)

    def _lost_returned(self) -> None:
        """Take note, in its thread, that a lost thread is back."""
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self._find)

    def _find(self) -> None:
        self.lost -= 1
        self._let_in()


class _ThreadCall:
    """A function that is called in a thread, and whoever waits for it: each may be gone before the other is."""

    __slots__ = ("_function", "_left", "_lock", "_over", "_returned", "_running")

    def __init__(self, function: Callable[[], Any], returned: Callable[[], None]) -> None:
        self._function: Callable[[], Any] | None = function
        self._returned = returned
        self._lock = threading.Lock()
        self._running = self._over = self._left = False

    def __call__(self) -> Any:
        with self._lock:
            function, self._function = self._function, None
            if self._left or function is None:
                return None  # nobody waits for it any more
            self._running = True
        try:
            return function()
        finally:
            with self._lock:
                self._over = True
                left = self._left
            if left:
                self._returned()

    def leave(self) -> bool:
        """Wait for it no more; return whether it still runs."""
        with self._lock:
            self._left = True
            return self._running and not self._over
