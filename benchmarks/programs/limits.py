"""`python -m benchmarks.programs.limits SETTINGS`: what the disk and SQLite do with nothing above them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import apsw

from benchmarks.programs.drive import settings, tell
from benchmarks.works import STEP_RESULT

SECONDS = 1.0
PAGE = 4096

# The step table as far as it costs anything: its columns that are filled, and its indexes.
SCHEMA = """
pragma journal_mode = wal;
pragma synchronous = full;
pragma wal_autocheckpoint = 4000;
create table step (
  rowid integer primary key, instance integer not null, seq integer not null, kind text not null, name text not null,
  count integer not null, state text not null, attempt integer not null, started_at integer not null,
  attempt_at integer, ended_at integer, absolute integer not null, compensable integer not null,
  sensitive integer not null, result text, position integer, ended_position integer, asked_after integer,
  settlement integer, sent_after integer
);
create unique index step_key on step (instance, seq);
create index step_open on step (instance) where state = 'running' or state = 'retrying' or state = 'waiting';
"""
COLUMNS = (
    "instance, seq, kind, name, count, state, attempt, started_at, attempt_at, ended_at, absolute, compensable,"
    " sensitive, result, position, ended_position, asked_after, settlement, sent_after"
)


def disk() -> float:
    """Pages written and synced in a second, over a file that has its size."""
    file = os.open("page", os.O_RDWR | os.O_CREAT)
    pages = 1024
    os.pwrite(file, b"\0" * PAGE * pages, 0)
    os.fsync(file)
    written, began, page = 0, time.perf_counter(), b"x" * PAGE
    while time.perf_counter() - began < SECONDS:
        os.pwrite(file, page, written % pages * PAGE)
        os.fdatasync(file)
        written += 1
    return written / (time.perf_counter() - began)


def sqlite(rows: int) -> float:
    """Rows of the step table written in a second, `rows` of them in a commit, one for each of as many instances."""
    connection = apsw.Connection("state.db")
    for statement in SCHEMA.split(";"):
        connection.execute(statement)
    _grow_wal(connection)
    one = f"({', '.join('?' * 19)})"
    insert = f"insert into step ({COLUMNS}) values {', '.join([one] * rows)}"
    result, written, began = json.dumps(STEP_RESULT), 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        values: list[object] = []
        now, seq = time.time_ns() // 1_000_000, written // rows
        for instance in range(rows):
            values += (instance, seq, "do", f"charge {seq}", 1, "complete", 1, now, now, now, 0, 0, 0, result, 1, 2)
            values += (seq, seq + 1, seq)
        connection.execute(insert, values)
        written += rows
    return written / (time.perf_counter() - began)


def _grow_wal(connection: apsw.Connection) -> None:
    """Give the write-ahead log its size first: one that grows costs a commit of the file system each time."""
    connection.execute("create table ballast (bytes blob)")
    connection.execute("insert into ballast values (zeroblob(16 * 1024 * 1024))")
    connection.execute("drop table ballast")
    connection.execute("pragma wal_checkpoint(restart)").fetchall()


def main() -> None:
    given = settings()
    tell({"per_s": disk() if given["do"] == "disk" else sqlite(given["rows"])})
    Path("state.db").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
