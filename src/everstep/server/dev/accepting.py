"""What is said when no connection can be accepted: which limit is reached and how to raise it, not a traceback.

asyncio stops accepting for a second then, begins again by itself, and tells the loop's exception handler of every try.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Callable, Iterator
from typing import Any

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

SILENT_SECONDS = 60.0
"""While connections cannot be accepted it is said so often."""

_WAITING = "new connections wait until others are closed"
_REASONS = {
    errno.ENFILE: f"the machine has no file descriptors left: {_WAITING}. Raise its limit: sysctl fs.file-max",
    errno.ENOBUFS: f"the system has no memory left for sockets: {_WAITING}",
    errno.ENOMEM: f"the system has no memory left for sockets: {_WAITING}",
}


@contextlib.contextmanager
def say_why_not_accepted(warn: Callable[[str], None]) -> Iterator[None]:
    """Warn of connections that the running loop cannot accept, once, and once a minute while that lasts."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    said: dict[int, float] = {}

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        reason = _reason(context)
        if reason is None:
            if before is None:
                loop.default_exception_handler(context)
            else:
                before(loop, context)
            return
        number, words = reason
        now = loop.time()
        if now - said.get(number, -SILENT_SECONDS) >= SILENT_SECONDS:
            said[number] = now
            warn(words)

    loop.set_exception_handler(handle)
    try:
        yield
    finally:
        if loop.get_exception_handler() is handle:
            loop.set_exception_handler(before)


def _reason(context: dict[str, Any]) -> tuple[int, str] | None:
    """Return the error's number and what to say, if a listening socket could not accept for want of something."""
    error = context.get("exception")
    if "socket" not in context or not isinstance(error, OSError) or error.errno is None:
        return None
    words = _no_descriptors() if error.errno == errno.EMFILE else _REASONS.get(error.errno)
    return None if words is None else (error.errno, words)


def _no_descriptors() -> str:
    limit = "as many" if resource is None else f"{resource.getrlimit(resource.RLIMIT_NOFILE)[0]:,}"
    return (
        f"this process has {limit} files and connections open, all it may have: {_WAITING}. Start it with a higher "
        "limit: ulimit -n 65536"
    )
