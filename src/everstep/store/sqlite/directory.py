"""The directory of a new database, whose own name is on disk before the database is made. Opens no database."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_REFUSED = {errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOTSUP}
"""A directory that may be used and not read, and file systems that flush directories by themselves."""


def make_directory(database: Path) -> None:
    """Make the directory of a database that is not there yet, and those above it.

    A file may be safe on disk, and the name of its directory not: SQLite flushes the directory that the file is in, and
    none above. That the last one was there already says little, as whoever made it may have been killed at once.

    Raises:
        OSError: if it cannot be made, or a disk fails.
    """
    if database.exists():
        return
    directory = database.absolute().parent
    named = [each for each in directory.parents if not each.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    for each in {directory, *named}:
        _flush(each.parent)


def _flush(directory: Path) -> None:
    if os.name == "nt":  # directories are no files there, and NTFS keeps their entries in its log
        return
    try:
        number = os.open(directory, os.O_RDONLY)
    except OSError as error:
        if error.errno in _REFUSED:
            return
        raise
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
    finally:
        os.close(number)
