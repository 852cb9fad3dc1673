"""The lock that keeps a second engine away from a SQLite file; the system lets go of it when its process dies."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from everstep.core.errors import DatabaseInUseError
from everstep.store.sqlite.descriptors import ForkSafeDescriptor

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_TAKEOVER_SECONDS = 0.5


class FileLock:
    """An exclusive lock on `<database>.lock`, with a note of who holds it.

    A library that forks without Python's knowledge leaves its children the lock: then it is held although the process
    in the note is gone, and the lock on the database's own byte (`guard.py`), which no child inherits, decides alone.
    """

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(database.name + ".lock")
        self._database = database
        self._descriptor: ForkSafeDescriptor | None = None

    def acquire(self) -> None:
        """Take the lock, or raise `DatabaseInUseError` naming the process that has it."""
        descriptor = ForkSafeDescriptor(self._path, os.O_RDWR | os.O_CREAT)
        handle = descriptor.number
        if not within_takeover(lambda: _try_lock(handle) or _is_gone(_read_holder(handle))):
            pid = _read_holder(handle).get("pid")
            descriptor.close()
            raise in_use(self._database, pid)
        self._descriptor = descriptor
        with contextlib.suppress(OSError):  # the note is a courtesy: a full disk must not keep the engine from starting
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(_this_process()).encode(), 0)

    def release(self) -> None:
        """Let go of the lock. The file stays: removing it could pull it from under the next holder."""
        if self._descriptor is not None:
            self._descriptor.close()
            self._descriptor = None


def within_takeover(attempt: Callable[[], bool]) -> bool:
    """Try until it succeeds, for as long as a process that was just killed may take to die."""
    deadline = time.monotonic() + _TAKEOVER_SECONDS
    while not attempt():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def in_use(database: Path, pid: int | None) -> DatabaseInUseError:
    """Say that another engine has the database: one of this process, or another process."""
    if pid == os.getpid():
        return DatabaseInUseError(
            f"{database} is in use by this very process (pid {pid}), which runs an engine on it already. Use one "
            "Everstep for all of the process, or give this one a state of its own; under `everstep dev` make it at the "
            "top level of `main`, then the engine of dev does its work"
        )
    holder = f" (pid {pid})" if pid else ""
    return DatabaseInUseError(
        f"{database} is in use by another everstep process{holder}; stop that one first, or give this one a state of "
        "its own. One process at a time uses a SQLite file: a server with several (uvicorn --workers, gunicorn "
        "--workers) runs with one, or on PostgreSQL"
    )


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


def _read_holder(handle: int) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        note = json.loads(os.pread(handle, 1000, 0))
        return note if isinstance(note, dict) else {}
    return {}


def _this_process() -> dict[str, Any]:
    """What the note says: the process, when it began, and where its number means anything."""
    pid = os.getpid()
    return {"pid": pid, "began": _beginning(pid), **_where()}


def _where() -> dict[str, str]:
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return {"boot": boot, "namespace": os.readlink("/proc/self/ns/pid")}  # noqa: PTH115  # it is no path
    return {}


def _beginning(pid: int) -> int | None:
    """Return when a process began, in ticks since the system did; None if there is none, or if it is only unburied."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    return None


def _is_gone(holder: dict[str, Any]) -> bool:
    """Whether it is certain that the process in the note has ended; never, where there is no /proc to ask."""
    began, where = holder.get("began"), _where()
    if not where or began is None or where != {key: holder.get(key) for key in where}:
        return False
    return bool(_beginning(holder["pid"]) != began)
