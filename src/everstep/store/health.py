"""How a store is, in one value. Asks nothing."""

from __future__ import annotations

from msgspec import Struct


class StoreHealth(Struct, frozen=True):
    """How a store is, as far as it knows without asking its database.

    Attributes:
        kind: `"sqlite"` or `"postgresql"`.
        trouble: What keeps the database from being written, or None.
        worker: Where workers share a database, the id of this one; it has another after it lost its lease.
        epoch: The epoch in which the worker's lease stands.
        lease_ms: How long the worker may be silent.
        lanes: How many connections write.
    """

    kind: str
    outage: str | None = None
    worker: int | None = None
    epoch: int | None = None
    lease_ms: int | None = None
    writers: int | None = None
