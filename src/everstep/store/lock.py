"""The lock that keeps a second engine away from a SQLite file; the system lets go of it when its process dies."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import time
from pathlib import Path
from typing import Any

from everstep.core.errors import DatabaseInUseError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_TAKEOVER_SECONDS = 0.5


class FileLock:
    """An exclusive lock on `<database>.lock`, with a note of who holds it."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".lock")
        self._database = database
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock, or raise `DatabaseInUseError` naming the process that has it."""
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        # A process that was just killed may take a moment to die.
        deadline = time.monotonic() + _TAKEOVER_SECONDS
        while not _try_lock(handle):
            if time.monotonic() > deadline:
                holder = _read_holder(handle)
                os.close(handle)
                raise DatabaseInUseError(
                    f"{self._database} is in use by another everstep process{holder}; "
                    "stop that one first, or give this one a state of its own"
                )
            time.sleep(0.02)
        self._handle = handle
        with contextlib.suppress(OSError):  # the note is a courtesy: a full disk must not keep the engine from starting
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps({"pid": os.getpid()}).encode(), 0)

    def release(self) -> None:
        """Let go of the lock. The file stays: removing it could pull it from under the next holder."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _try_lock(handle: int) -> bool:
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            windows: Any = importlib.import_module("msvcrt")
            windows.locking(handle, windows.LK_NBLCK, 1)
    except OSError:
        return False
    return True


def _read_holder(handle: int) -> str:
    with contextlib.suppress(OSError, ValueError):
        return f" (pid {json.loads(os.pread(handle, 200, 0))['pid']})"
    return ""
