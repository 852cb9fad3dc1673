"""The version of a SQLite file's tables, and the migrations that bring it up to date. Holds no script itself."""

from __future__ import annotations

from pathlib import Path

from everstep.core.errors import SchemaVersionError, StoreError
from everstep.store.queries import load_migrations
from everstep.store.sqlite.connection import Connection


def scripts_with_version() -> list[str]:
    """Return the migrations in order, each with the statement that writes down that it was carried out."""
    scripts = enumerate(load_migrations("sqlite"), 1)
    return [f"{script}\npragma user_version = {version};\n" for version, script in scripts]


def version_of(connection: Connection, path: Path) -> int:
    """Return the version of the tables, 0 where there are none.

    Raises:
        SchemaVersionError: if it is newer than this code.
        StoreError: if the file is the database of another program.
    """
    [(version,)] = connection.execute("pragma user_version")
    known = len(load_migrations("sqlite"))
    if version > known:
        raise SchemaVersionError(
            f"{path} has schema {version}, newer than the {known} this everstep knows; "
            "upgrade everstep, or use the release that wrote it"
        )
    has_tables = bool(connection.execute("select 1 from sqlite_master where type = 'table' and name = 'instance'"))
    if has_tables != (version > 0):
        raise StoreError(
            f"{path} is not a state of everstep: it has {'a' if has_tables else 'no'} table 'instance' and "
            f"user_version {version}; another program made it: give the database URL a file of its own"
        )
    return int(version)


def migrate(connection: Connection, path: Path) -> None:
    """Bring the tables up to date; whoever calls has the file alone. Raises what `version_of` raises."""
    for script in scripts_with_version()[version_of(connection, path) :]:
        connection.script(f"begin immediate; {script} commit")
