"""Where workflow code stands: the file and line of the user's own code, for messages."""

from __future__ import annotations

import asyncio
import sys
import sysconfig
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_LIBRARIES = tuple(
    {
        str(Path(asyncio.__file__).parent),
        str(Path(__file__).parents[2]),
        *(path for name in ("stdlib", "platstdlib", "purelib", "platlib") if (path := sysconfig.get_path(name))),
    }
)


def running_line() -> str | None:
    """Return `file:line` of the innermost user's code that is running, if there is any."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # the public way costs a traceback
    while frame is not None:
        if _is_users(frame.f_code):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def awaiting_line(coro: Any) -> str | None:
    """Return `file:line` of the innermost user's code that a coroutine awaits in, if there is any."""
    found = None
    for _ in range(100):
        frame = getattr(coro, "cr_frame", None) or getattr(coro, "gi_frame", None) or getattr(coro, "ag_frame", None)
        if frame is not None and _is_users(frame.f_code):
            found = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        coro = getattr(coro, "cr_await", None) or getattr(coro, "gi_yieldfrom", None) or getattr(coro, "ag_await", None)
        if coro is None:
            break
    return found


def _is_users(code: CodeType) -> bool:
    return not code.co_filename.startswith(_LIBRARIES) and not code.co_filename.startswith("<frozen")
