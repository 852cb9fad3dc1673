"""The schema of the database a URL names: which version it has, and how it is brought up to date. Starts no engine."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from everstep.core.errors import StoreError
from everstep.store.location import is_postgres, open_store
from everstep.store.queries import load_migrations


class SchemaState(Struct, frozen=True):
    """The version a database has, 0 where there is none, and the one this release writes."""

    version: int
    latest: int


def scripts_of(url: str) -> list[str]:
    """Return the migrations of a database's kind, in order."""
    if is_postgres(url):
        from everstep.store.postgres.link import Address  # the driver is loaded only where it is asked for
        from everstep.store.postgres.statements import load_scripts

        return load_scripts(Address.parse(url).schema)
    return load_migrations("sqlite")


async def state_of(url: str, root: Path | None = None) -> SchemaState:
    """Return the state of a database. Raises StoreError if it cannot be reached, SchemaVersionError if it is newer."""
    latest = len(scripts_of(url))
    if is_postgres(url):
        from everstep.store.postgres.link import Address, Link
        from everstep.store.postgres.schema import version_of

        address = Address.parse(url)
        link = Link(address)
        try:
            return SchemaState(await version_of(link, address.schema), latest)
        finally:
            await link.close()
    return SchemaState(_sqlite_version(url, root), latest)


async def bring_up_to_date(url: str, root: Path | None = None) -> SchemaState:
    """Migrate a database; one process at a time does, others wait or, on SQLite, are refused."""
    store = open_store(url, root)
    await store.open()
    await store.close()
    return await state_of(url, root)


def _sqlite_version(url: str, root: Path | None) -> int:
    from everstep.store.driver import connect  # loads SQLite

    name = url.removeprefix("sqlite:///")
    if name in (url, ":memory:"):
        raise StoreError(f"database {url!r} keeps nothing that has a schema; name a file or a PostgreSQL database")
    path = (root or Path.cwd()) / name
    if not path.exists():
        return 0
    connection = connect(str(path), read_only=True)
    try:
        [(version,)] = connection.execute("pragma user_version")
        return int(version)
    finally:
        connection.close()
