"""The write-ahead log's steady size, which it is given once, when a database is opened. Writes no data."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from everstep.store.sqlite.connection import PAGES_PER_CHECKPOINT

_FRAME_BYTES = 4096 + 24
_STEADY_BYTES = (PAGES_PER_CHECKPOINT + 16) * _FRAME_BYTES
_PIECE = bytes(1024 * 1024)


def reserve_log(database: Path) -> None:
    """Lengthen a database's log with zeros to where checkpoints turn it round, so that commits overwrite it.

    A commit that makes the file longer also commits the file system's journal, and takes half as long again. SQLite
    reads its log up to the first frame that is not one. Nobody may write meanwhile. On a disk without the room nothing
    is reserved, and the log grows by itself. It is not kept from one start to the next: beside a database that was
    restored from a backup, an old log would be played back into it.
    """
    log = database.with_name(f"{database.name}-wal")
    with contextlib.suppress(OSError), log.open("r+b", buffering=0) as file:
        before = size = file.seek(0, os.SEEK_END)
        try:
            while size < _STEADY_BYTES:
                size += file.write(_PIECE) or 0
            os.fsync(file.fileno())
        except OSError:
            file.truncate(before)
