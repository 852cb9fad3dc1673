"""Notices code that blocks the event loop, and says which: everything else waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator

BLOCKED_SECONDS = 1.0


@contextlib.contextmanager
def watch_loop(warn: Callable[[str], None]) -> Iterator[None]:
    """Warn, once for each time, when the running loop does not turn for a second."""
    loop, loop_thread = asyncio.get_running_loop(), threading.get_ident()
    stopped = threading.Event()
    beat = time.monotonic()

    def turned() -> None:
        nonlocal beat
        beat = time.monotonic()

    def watch() -> None:
        warned = 0.0
        while not stopped.wait(BLOCKED_SECONDS / 2):
            seen = beat
            if time.monotonic() - seen > BLOCKED_SECONDS and seen != warned:
                warned = seen
                warn(_complaint(loop_thread))
            with contextlib.suppress(RuntimeError):  # the loop closed meanwhile
                loop.call_soon_threadsafe(turned)

    watcher = threading.Thread(target=watch, name="everstep-watchdog", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stopped.set()


def _complaint(thread: int) -> str:
    frame = sys._current_frames().get(thread)  # noqa: SLF001  # the documented way to see another thread's frame
    where = ""
    if frame is not None:
        own = [entry for entry in traceback.extract_stack(frame) if "everstep" not in entry.filename]
        where = f": {own[-1].filename}:{own[-1].lineno} in {own[-1].name}" if own else ""
    return f"the event loop has been blocked for a second{where}. Make the step a plain `def`: it runs in a thread then"
