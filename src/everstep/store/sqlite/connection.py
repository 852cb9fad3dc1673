"""One SQLite connection, whichever driver is there: apsw's current SQLite, or the standard library's.

Translates the drivers' errors into ours; holds no statement and no policy but the connection's own settings.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from everstep.core.errors import StoreError, StoreUnavailableError

try:
    import apsw as _apsw
except ImportError:  # no wheel for this platform
    _apsw = None  # type: ignore[assignment]  # told apart where it is used
apsw: Any = _apsw

_UNAVAILABLE = {
    5: "is locked: another connection is writing, and has to end its transaction",
    6: "is locked",
    7: "is out of memory",
    8: "is read-only",
    10: "cannot be read or written",
}
_UNAVAILABLE |= {13: "has no room left: the disk is full", 14: "cannot be opened"}
_UNUSABLE = {
    11: "is damaged: stop what uses it and restore a backup, or save what can be read with sqlite3's .recover",
    26: "is not a database of SQLite, or is encrypted: give the database URL another file, or restore a backup",
}

PAGES_PER_CHECKPOINT = 4000
"""16 MiB between checkpoints: fewer of them, each in the writer's own time."""


OPENING_BUSY_MS = 5000
WRITING_BUSY_MS = 50
"""How long a statement waits for a lock of somebody else. The writer's may be carried out on the event loop, and is
tried again for as long as the group commit has patience: the two waits must not add up."""


class Connection(Protocol):
    """What the store needs of a connection."""

    def execute(self, sql: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        ...

    def script(self, sql: str) -> None:
        """Run several statements."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


def connect(path: str, *, read_only: bool = False) -> Connection:
    """Open a database, made if it is missing, with full durability.

    One connection of a database writes and checkpoints, every other one is `read_only`: SQLite before 3.51.3 can
    corrupt a WAL database when two do (sqlite.org/wal.html, "the WAL-reset bug").
    """
    connection: Connection = _ApswConnection(path) if apsw is not None else _StandardConnection(path)
    connection.execute(f"pragma busy_timeout = {OPENING_BUSY_MS}")
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    connection.execute("pragma fullfsync = 1")  # macOS: a plain fsync there does not reach the disk
    connection.execute("pragma temp_store = memory")
    connection.execute("pragma cache_size = -8192")
    connection.execute(f"pragma wal_autocheckpoint = {0 if read_only else PAGES_PER_CHECKPOINT}")
    if read_only:
        connection.execute("pragma query_only = 1")
    return connection


def roll_back(connection: Connection) -> None:
    """Undo the transaction that is open, if SQLite has not done that by itself: it does when the disk is full."""
    with contextlib.suppress(StoreError):
        connection.execute("rollback")


def is_open_here(path: Path) -> bool:
    """Whether this process has a file open, as far as is known, with the very library that `connect` uses."""
    if apsw is None:
        return True  # the standard library's: what else there is in a process uses it as well
    names = [connection.db_filename("main") for connection in apsw.connections()]
    return any(name and Path(name).exists() and path.samefile(name) for name in names)


class _ApswConnection:
    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._connection = apsw.Connection(path, statementcachesize=512)
        except apsw.Error as error:
            raise _translated(error, getattr(error, "result", 1), self._path) from error

    def execute(self, sql: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return list(self._connection.execute(sql, arguments))
        except apsw.Error as error:
            raise _translated(error, getattr(error, "result", 1), self._path) from error

    def script(self, sql: str) -> None:
        self.execute(sql)

    def close(self) -> None:
        self._connection.close()


class _StandardConnection:
    def __init__(self, path: str) -> None:
        import sqlite3  # only where apsw has no wheel

        self._path = path
        self._error = sqlite3.Error
        try:
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, cached_statements=512
            )
        except sqlite3.Error as error:
            raise _translated(error, error.sqlite_errorcode, path) from error

    def execute(self, sql: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, arguments).fetchall()
        except self._error as error:
            raise _translated(error, getattr(error, "sqlite_errorcode", 1), self._path) from error

    def script(self, sql: str) -> None:
        try:
            self._connection.executescript(sql)
        except self._error as error:
            raise _translated(error, getattr(error, "sqlite_errorcode", 1), self._path) from error

    def close(self) -> None:
        self._connection.close()


def _translated(error: Exception, code: int, path: str) -> StoreError:
    trouble = _UNAVAILABLE.get(code & 0xFF)
    if trouble is not None:
        return StoreUnavailableError(f"the database {trouble} ({error})")
    unusable = _UNUSABLE.get(code & 0xFF)
    if unusable is not None:
        return StoreError(f"{path} {unusable} ({error})")
    return StoreError(f"the database refused a statement: {error}")
