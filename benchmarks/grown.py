"""A database used for long: one finished instance copied a million times, in whatever schema the tree has."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from pathlib import Path

from benchmarks.installs import BENCH

_SERIES = "with recursive series (n) as (select 1 union all select n + 1 from series where n < :count)"


def database(template: Path, instances: int) -> Path:
    """Return a database with this many copies of the template's one finished instance; made once and kept.

    Raises:
        RuntimeError: if the template has not exactly one instance.
    """
    with contextlib.closing(sqlite3.connect(template)) as connection:
        schema = "".join(str(row) for row in connection.execute("select sql from sqlite_schema order by name"))
        connection.execute("pragma wal_checkpoint(truncate)")
    digest = hashlib.sha256(schema.encode()).hexdigest()[:12]
    kept = BENCH / "grown" / f"{digest}-{instances}.db"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_suffix(".unfinished")
        unfinished.write_bytes(template.read_bytes())
        grow(unfinished, instances)
        unfinished.rename(kept)
    return kept


def grow(file: Path, instances: int) -> None:
    """Copy the one instance of a database, with its steps."""
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("pragma journal_mode = off")
        connection.execute("pragma synchronous = off")
        found = connection.execute("select pk from instance").fetchall()
        if len(found) != 1:
            raise RuntimeError(f"the template has {len(found)} instances, not one")
        [(pk,)] = found
        # Expired ones would be deleted while others are measured, years later if the file is kept.
        connection.execute("update instance set expires_at = null")
        _copy(connection, "instance", {"pk": ":pk + n", "id": "'grown-' || n"}, "pk", pk, instances)
        _copy(connection, "step", {"rowid": None, "instance": ":pk + n"}, "instance", pk, instances)
        connection.execute("analyze")


def _copy(
    connection: sqlite3.Connection, table: str, changed: dict[str, str | None], key: str, pk: int, instances: int
) -> None:
    columns = [row[1] for row in connection.execute(f"pragma table_info({table})")]
    columns = [column for column in columns if changed.get(column, "") is not None]
    names = ", ".join(f'"{column}"' for column in columns)
    values = ", ".join(changed.get(column) or f'"{column}"' for column in columns)
    connection.execute(
        f"insert into {table} ({names}) {_SERIES} select {values} from {table}, series where {key} = :pk",
        {"pk": pk, "count": instances},
    )
