"""Which store a database URL names. Loads PostgreSQL's driver only when it is asked for."""

from __future__ import annotations

from pathlib import Path

from everstep.core.errors import StoreError
from everstep.store.protocol import Store
from everstep.store.sqlite import store as sqlite_store

DEFAULT_LEASE_MS = 15_000


def open_store(
    url: str, root: Path | None = None, *, lease_ms: int = DEFAULT_LEASE_MS, direct: str | None = None
) -> Store:
    """Make the store a database URL names, which is not opened yet.

    Args:
        url: `sqlite:///…` or `postgresql://…`.
        root: What relative paths are relative to; the working directory when omitted.
        lease_ms: How long the instances of a worker that fell silent stay its own, where workers share a database.
        direct: Another URL of the same PostgreSQL database, past a pooler in transaction mode, for notifications.

    Raises:
        StoreError: for a URL of another kind, or if PostgreSQL's driver is not installed.
    """
    if direct is not None and not is_postgres(direct):
        raise StoreError("the direct URL for notifications (database_direct) is not that of a PostgreSQL database")
    if not is_postgres(url):
        if direct is not None:
            raise StoreError(
                "the direct URL for notifications (database_direct) is for a PostgreSQL database, and the database is "
                "SQLite's; leave it out"
            )
        return sqlite_store.open_store(url, root)
    try:
        from everstep.store.postgres.store import PostgresStore  # an extra, loaded only where it is asked for
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise StoreError(
            'PostgreSQL needs a driver: pip install asyncpg, or everstep with its extra "postgres"'
        ) from None
    return PostgresStore(url, lease_ms=lease_ms, direct=direct)


def is_postgres(url: str) -> bool:
    """Whether a URL names a PostgreSQL database."""
    return url.partition(":")[0] in ("postgresql", "postgres")
