"""Who carries out what the event loop must not wait for: a thread of its own. Knows nothing of groups or disks."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeAlias

Work: TypeAlias = Callable[[], Iterator[float]]
"""A procedure that stops now and then, and says for how many seconds at least; 0 is not at all."""


class Writer(Protocol):
    """Carries out one procedure beside the loop, once for each time it is asked to, and tells the loop what came of it.

    One that is not a thread may come back to the procedure as late as it likes wherever that stops, and tell as late.
    """

    def start(self, work: Work) -> None:
        """Begin to live; `work` is carried out whenever `wake` asks for it."""
        ...

    def wake(self) -> None:
        """Have the work carried out; returns at once. Called on the loop."""
        ...

    def call_on_loop(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Have something called on the loop, in the order of telling. Called by the work."""
        ...

    async def stop(self) -> None:
        """End, once what was handed over is carried out."""
        ...


class WriterThread:
    """A `Writer` that is a thread, and sleeps while its work stops."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._handover: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()

    def start(self, work: Work) -> None:
        self._thread = threading.Thread(target=self._run, args=(work,), name="everstep-writer", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        self._handover.put(True)

    def call_on_loop(self, callback: Callable[..., None], *arguments: Any) -> None:
        self._loop.call_soon_threadsafe(callback, *arguments)

    async def stop(self) -> None:
        if self._thread is not None:
            self._handover.put(False)
            await asyncio.shield(self._ended)
            self._thread.join()  # it has nothing left to do

    def _run(self, work: Work) -> None:
        try:
            while self._handover.get():
                for seconds in work():
                    if seconds:
                        time.sleep(seconds)
        finally:
            with contextlib.suppress(RuntimeError):  # the loop was closed without a stop
                self.call_on_loop(self._ended.set_result, None)
