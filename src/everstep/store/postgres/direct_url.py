"""The URL past a pooler, for notifications, and whether it leads to the same database. Hears nothing itself."""

from __future__ import annotations

from everstep.core.errors import StoreError, StoreUnavailableError
from everstep.store.postgres.connection import DatabaseUrl, ReconnectingConnection


def direct_url(direct: str) -> DatabaseUrl:
    """Read the URL. Raises StoreError if it leads to a pooler as well."""
    address = DatabaseUrl.parse(direct)
    if address.pooled:
        raise StoreError(
            "the direct URL for notifications (database_direct) says statement_cache_size=0, so it leads to a pooler; "
            "notifications pass none: give the server's own host and port"
        )
    return address


async def check_same_database(
    direct: ReconnectingConnection, other: ReconnectingConnection, which_database: str
) -> None:
    """Raise StoreError if two connections lead to different databases: nobody would ever hear anything.

    Args:
        direct: The connection for notifications.
        other: The connection for everything else.
        which_database: The query whose answer no two databases share.
    """
    try:
        there = await direct.fetch(which_database)
    except StoreUnavailableError:
        raise
    except StoreError as error:
        raise StoreError(f"the direct URL for notifications (database_direct) cannot be used: {error}") from error
    if there != await other.fetch(which_database):
        raise StoreError(
            "the direct URL for notifications (database_direct) leads to another database than the database URL; "
            "give the same database on the same server, past the pooler"
        )
