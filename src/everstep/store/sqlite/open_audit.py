"""What Python's own sqlite3 may do with a file that an engine has open in this process: read it, and not write it.

The engine's SQLite is another library (apsw brings its own). The two do not see each other's locks within a process, so
two writers would damage the file. `sqlite3.connect` opens such a file read-only; what does not go through that function
is refused by an audit hook, which sees every connection before it is opened.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote

try:
    import sqlite3.dbapi2 as _dbapi2
except ImportError:  # a Python without it: nothing to keep from writing
    _dbapi2 = None  # type: ignore[assignment]
_library: Any = _dbapi2

log = logging.getLogger("everstep.store")

_kept: dict[tuple[int, int], Path] = {}
_told: set[Path] = set()
_hooked = False


def keep(database: Path) -> None:
    """Keep this process's sqlite3 from writing a file, from here on until `release`."""
    global _hooked
    if _library is None or os.name == "nt":  # Windows locks belong to what was opened, not to the process
        return
    _kept[_identity(database)] = database
    for module in _modules():
        if not hasattr(module.connect, "everstep_opens"):
            module.connect = _reading_only(module.connect)
    if not _hooked:  # a hook cannot be taken away again
        _hooked = True
        sys.addaudithook(_audit)


def release(database: Path) -> None:
    """Let sqlite3 write the file again."""
    for identity in [identity for identity, path in _kept.items() if path == database]:
        del _kept[identity]
    _told.discard(database)
    if _library is None or _kept:
        return
    for module in _modules():
        module.connect = getattr(module.connect, "everstep_opens", module.connect)


def _modules() -> list[Any]:
    """Return the two modules from which applications take `connect`."""
    return [sys.modules["sqlite3"], _library]


def _reading_only(plain: Any) -> Any:
    @functools.wraps(plain)
    def connect(database: Any, *arguments: Any, **named: Any) -> Any:
        found = _kept_file(database) if _kept else None
        if found is None or _is_read_only(database):
            return plain(database, *arguments, **named)
        _tell(found)
        read_only = f"file:{quote(str(found.absolute()))}?mode=ro"
        return plain(read_only, *arguments[:6], **{**named, "uri": True})  # a seventh would be `uri`, by position

    connect.everstep_opens = plain  # type: ignore[attr-defined]
    return connect


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "sqlite3.connect" and _kept and not _is_read_only(arguments[0]):
        found = _kept_file(arguments[0])
        if found is not None:
            raise _library.OperationalError(
                f"{found} belongs to the engine that runs in this process, and two SQLite libraries that write one "
                "file in one process damage it: open it with mode=ro, or in another process"
            )


def _tell(database: Path) -> None:
    if database not in _told:
        _told.add(database)
        log.warning(
            "sqlite3 opened %s in the process of its engine: the connection is read-only, as two SQLite libraries that "
            "write one file in one process damage it, and what it reads while the engine writes may be wrong. "
            "Open the database in another process, or with apsw",
            database,
        )


def _is_read_only(database: Any) -> bool:
    name = _text(database)
    return name.startswith("file:") and parse_qs(name.partition("?")[2].partition("#")[0]).get("mode") == ["ro"]


def _kept_file(database: Any) -> Path | None:
    """Return the engine's file if this is another name of it."""
    name = _text(database)
    names = [name]
    if name.startswith("file:"):  # perhaps a URI
        path = name.removeprefix("file:").partition("?")[0].partition("#")[0]
        names.append(unquote(path.removeprefix("//localhost").removeprefix("//") if path[:2] == "//" else path))
    for one in names:
        try:
            return _kept[_identity(Path(one))]
        except (OSError, ValueError, KeyError):
            continue
    return None


def _text(database: Any) -> str:
    try:
        return os.fsdecode(database)
    except TypeError:  # sqlite3 says so itself
        return ""


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
