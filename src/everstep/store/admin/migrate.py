"""The schema of the database a URL names: its version, and how it is brought up to date or moved. Starts no engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from everstep.core.errors import StoreError
from everstep.store.admin.open import is_postgres, open_store
from everstep.store.sqlite import schema as sqlite_schema

if TYPE_CHECKING:
    from everstep.store.admin.transfer import CopyResult


class SchemaState(Struct, frozen=True):
    """The version a database has, 0 where there is none, and the one this release writes."""

    version: int
    latest: int


def scripts_of(url: str) -> list[str]:
    """Return the migrations of a database's kind in order, each one a transaction that writes its version down."""
    if is_postgres(url):
        from everstep.store.postgres.connection import DatabaseUrl  # the driver is loaded only where it is asked for
        from everstep.store.postgres.schema import scripts_with_version

        begin, scripts = "begin;", scripts_with_version(DatabaseUrl.parse(url).schema)
    else:
        begin, scripts = "begin immediate;", sqlite_schema.scripts_with_version()
    return [
        f"-- From schema {before} to {before + 1}.\n{begin}\n{script}commit;\n" for before, script in enumerate(scripts)
    ]


async def state_of(url: str, root: Path | None = None) -> SchemaState:
    """Return the state of a database. Raises StoreError if it cannot be reached, SchemaVersionError if it is newer."""
    latest = len(scripts_of(url))
    if is_postgres(url):
        from everstep.store.postgres.connection import DatabaseUrl, ReconnectingConnection
        from everstep.store.postgres.schema import version_of

        address = DatabaseUrl.parse(url)
        link = ReconnectingConnection(address)
        try:
            return SchemaState(await version_of(link, address.schema), latest)
        finally:
            await link.close()
    return SchemaState(_sqlite_version(url, root), latest)


async def migrate(url: str, root: Path | None = None) -> SchemaState:
    """Migrate a database; one process at a time does, others wait or, on SQLite, are refused."""
    store = open_store(url, root)
    await store.open()
    await store.close()
    return await state_of(url, root)


async def copy_to_postgres(
    source: str, target: str, root: Path | None = None, progress: Callable[[str, int, int], None] | None = None
) -> CopyResult:
    """Move a stopped SQLite state to an empty PostgreSQL database; see `everstep.store.admin.transfer`.

    `progress` is told the table that is copied, how many of its rows are, and how many it has. A relative
    path is one from `root`. Raises StoreError for URLs of other kinds, and whatever stands in the way.
    """
    if is_postgres(source) or not is_postgres(target):
        raise StoreError(
            "a state can be copied from SQLite to PostgreSQL: sqlite:///state.db postgresql://host/database"
        )
    open_store(target)  # says how to install the driver if it is missing
    from everstep.store.admin.transfer import copy_to_postgres  # the driver is loaded only where it is asked for

    return await copy_to_postgres(_sqlite_path(source, root), target, progress)


def _sqlite_path(url: str, root: Path | None) -> Path:
    name = url.removeprefix("sqlite:///")
    if name in (url, ":memory:"):
        raise StoreError(f"database {url!r} is no file; write sqlite:///state.db or postgresql://host/database")
    return (root or Path.cwd()) / name


def _sqlite_version(url: str, root: Path | None) -> int:
    from everstep.store.sqlite.connection import connect  # loads SQLite

    path = _sqlite_path(url, root)
    if not path.exists():
        return 0
    connection = connect(str(path), read_only=True)
    try:
        return sqlite_schema.version_of(connection, path)
    finally:
        connection.close()
