"""Notices code that blocks the event loop, and says which: everything else waits for it.

The cure is told only where it is the app's code that blocks: what users can do nothing about is not put down to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import everstep

BLOCKED_SECONDS = 1.0

_LIBRARIES = {str(Path(everstep.__file__).parent)}
_LIBRARIES |= {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
_NOT_THE_APPS = ("<frozen", *(f"{directory}{os.sep}" for directory in _LIBRARIES))


@contextlib.contextmanager
def watch_loop(warn: Callable[[str], None]) -> Iterator[None]:
    """Warn, once for each time, when the running loop does not turn for a second."""
    loop, loop_thread = asyncio.get_running_loop(), threading.get_ident()
    stopped = threading.Event()
    heartbeat = time.monotonic()

    def turned() -> None:
        nonlocal heartbeat
        heartbeat = time.monotonic()

    def watch() -> None:
        warned, looked = 0.0, time.monotonic()
        while not stopped.wait(BLOCKED_SECONDS / 2):
            seen, before, looked = heartbeat, looked, time.monotonic()
            # Where this thread was late as well, the whole process stood still: a busy machine, a laptop that slept.
            awake = looked - before < BLOCKED_SECONDS
            if awake and looked - seen > BLOCKED_SECONDS and seen != warned:
                warned = seen
                warn(complaint(sys._current_frames().get(loop_thread)))  # noqa: SLF001  # the documented way
            with contextlib.suppress(RuntimeError):  # the loop closed meanwhile
                loop.call_soon_threadsafe(turned)

    watcher = threading.Thread(target=watch, name="everstep-watchdog", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stopped.set()


def complaint(frame: FrameType | None) -> str:
    """Say where the loop is blocked, given what its thread is at; and what to do, if that is the app's code."""
    what = "the event loop has been blocked for a second"
    stack = _callback(frame)
    own = next((one for one in stack if not one.f_code.co_filename.startswith(_NOT_THE_APPS)), None)
    if own is not None:
        return f"{what}: {_place(own)}. Make the step a plain `def`: it runs in a thread then"
    return f"{what}: {_place(stack[0])}" if stack else what


def _callback(frame: FrameType | None) -> list[FrameType]:
    """Return the frames of what the loop has called, the innermost first: below it is whoever started the loop."""
    frames: list[FrameType] = []
    while frame is not None and frame.f_code is not asyncio.Handle._run.__code__:  # noqa: SLF001  # where callbacks begin
        frames.append(frame)
        frame = frame.f_back
    return frames if frame is not None else []


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
