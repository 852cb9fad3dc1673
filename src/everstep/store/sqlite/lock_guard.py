"""Locks that hold a SQLite file where SQLite's own locks may fall. Linux has them; elsewhere this does nothing.

SQLite locks a file for its process, and the system drops such locks when anything in the process closes the file: a
copy, or another SQLite library such as Python's own. Then somebody else believes to be the last user of the database,
and deletes the log that this process goes on writing (sqlite.org/howtocorrupt.html, 2.2). A lock of the open file
description stays, and nobody is the last one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import sys
import time
from pathlib import Path

from everstep.core.errors import StoreError
from everstep.store.sqlite.connection import is_open_here
from everstep.store.sqlite.descriptors import ForkSafeDescriptor
from everstep.store.sqlite.file_lock import in_use, within_takeover

if sys.platform == "linux":
    import fcntl

log = logging.getLogger("everstep.store")

CHECK_SECONDS = 1.0
"""How often to look whether something in this process closed the file."""

_SHARED = (0x40000002, 510)
"""Where whoever uses the database file has a shared lock."""
_IN_USE = (128, 1)
"""Where whoever uses `-shm` has a shared lock: who finds none truncates it, also under the mapping of others."""
_ENGINE = (1 << 62, 1)
"""A byte beyond all data: the engine's exclusive lock. It is the process's own, falls at a close as SQLite's do, and no
forked child has it."""
_LAYOUT = "hhqqi4x"


class LockGuard:
    """What an engine holds of its database, beside SQLite: `take` before SQLite opens it, `arm` once it has.

    No descriptor of the guard is closed while SQLite has the database open: that would drop the very locks.
    """

    def __init__(self, database: Path) -> None:
        self._path = database
        self._database: ForkSafeDescriptor | None = None
        self._index: ForkSafeDescriptor | None = None
        self._armed = False
        self._told = False
        self._next_look = 0.0

    def take(self) -> None:
        """Make the file if it is missing, and take the engine's byte of it.

        Raises:
            OSError: if the file cannot be opened.
            DatabaseInUseError: if another process's engine has the byte.
            StoreError: if another SQLite library has the file open in this process.
        """
        if sys.platform != "linux":
            return
        database = self._database = ForkSafeDescriptor(self._path, os.O_RDWR | os.O_CREAT)
        self._take_byte(database)
        if _holder(database, _SHARED) == os.getpid() and not is_open_here(self._path):
            raise StoreError(
                f"{self._path} is open in this process already, by another SQLite library than the engine's (Python's "
                "sqlite3?), and the two would damage it: close that connection before the engine starts"
            )

    def arm(self) -> None:
        """Guard the file: SQLite has it open, with its log.

        Raises:
            DatabaseInUseError: if another process's engine has the byte.
        """
        if self._database is None:
            return
        self._take_byte(self._database)  # it fell: until it holds the file for good, SQLite unlocks all of it at times
        with contextlib.suppress(OSError):  # SQLite has no such file where it cannot map one
            self._index = ForkSafeDescriptor(Path(f"{self._path}-shm"), os.O_RDWR)
        self._armed = self._index is not None and self._lock_both(fcntl.F_OFD_SETLK, fcntl.F_RDLCK)
        if not self._armed:  # a file system without such locks
            log.info("%s cannot be guarded against what closes it in this process: see the documentation", self._path)
            return
        assert self._index is not None
        _lock(self._index, fcntl.F_SETLK, fcntl.F_WRLCK, _ENGINE)
        self._next_look = time.monotonic() + CHECK_SECONDS

    def check(self) -> None:
        """Take again what has fallen, if it is time to look; say once that something closed the file."""
        if not self._armed or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + CHECK_SECONDS
        database, index = self._database, self._index
        if database is None or index is None or database.closed:  # a forked child's
            return
        if os.getpid() == _holder(database, _ENGINE) == _holder(index, _ENGINE):
            return
        self._restore()
        if not self._told:
            self._told = True
            log.warning(
                "something else in this process opened %s and closed it, which drops SQLite's locks (a copy of the "
                "file? another SQLite library?). The engine goes on safely. But a copy without its log is no backup, "
                "and what was read may be wrong: copy and read the database in another process",
                self._path,
            )

    def release(self) -> None:
        """Let SQLite be the last user again: it is about to close the file, and then tidies up."""
        if self._armed and self._database is not None and not self._database.closed:
            self._restore()
            self._lock_both(fcntl.F_OFD_SETLK, fcntl.F_UNLCK)
        self._armed = False

    def close(self) -> None:
        """Let go of everything; SQLite has closed the file."""
        for descriptor in (self._index, self._database):
            if descriptor is not None:
                descriptor.close()
        self._database = self._index = None

    def _take_byte(self, database: ForkSafeDescriptor) -> None:
        if not within_takeover(lambda: _lock(database, fcntl.F_SETLK, fcntl.F_WRLCK, _ENGINE)):
            raise in_use(self._path, _holder(database, _ENGINE))

    def _restore(self) -> None:
        """Take the process's locks again, for SQLite as well: it has these for as long as it has the file open."""
        assert self._database is not None
        assert self._index is not None
        for descriptor in (self._database, self._index):
            _lock(descriptor, fcntl.F_SETLK, fcntl.F_WRLCK, _ENGINE)
        self._lock_both(fcntl.F_SETLK, fcntl.F_RDLCK)

    def _lock_both(self, command: int, kind: int) -> bool:
        assert self._database is not None
        assert self._index is not None
        return _lock(self._database, command, kind, _SHARED) and _lock(self._index, command, kind, _IN_USE)


def _lock(descriptor: ForkSafeDescriptor, command: int, kind: int, where: tuple[int, int]) -> bool:
    try:
        fcntl.fcntl(descriptor.number, command, struct.pack(_LAYOUT, kind, os.SEEK_SET, *where, 0))
    except OSError:
        return False
    return True


def _holder(descriptor: ForkSafeDescriptor, where: tuple[int, int]) -> int | None:
    """Return a process that has a lock there, this one included; None if there is none or nobody can tell."""
    asked = struct.pack(_LAYOUT, fcntl.F_WRLCK, os.SEEK_SET, *where, 0)
    try:
        kind, *_, pid = struct.unpack(_LAYOUT, fcntl.fcntl(descriptor.number, fcntl.F_OFD_GETLK, asked))
    except OSError:
        return None
    return None if kind == fcntl.F_UNLCK else int(pid)
