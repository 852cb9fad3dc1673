"""How an engine is: whether its database takes what it writes, and how it stands among the workers. Asks nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from everstep.engine.engine import Engine


class WorkerHealth(Struct, frozen=True):
    """How a worker stands. `lease_left_ms` is negative once others may take its instances over."""

    id: int
    epoch: int
    lease_ms: int
    lease_left_ms: int
    writers: int


class Health(Struct, frozen=True):
    """How an engine is.

    Attributes:
        ok: Whether it can do its work at the moment.
        trouble: Why not.
        database: `"sqlite"` or `"postgresql"`.
        in_memory: How many instances are in memory, at work or waiting a moment.
        worker: Where workers share a database, this one.
        lost_threads: How many threads are in plain functions of steps whose attempts are over.
        warning: What goes worse than it should, and what to do about it.
    """

    ok: bool
    reason: str | None
    database: str
    in_memory: int
    worker: WorkerHealth | None = None
    lost_threads: int = 0
    warning: str | None = None


def health_of(engine: Engine) -> Health:
    """Look at an engine."""
    store, lease = engine.store.health(), engine.lease
    trouble, standing = store.outage, None
    if lease is not None and store.worker is not None:
        trouble = trouble or lease.outage
        lease_ms = store.lease_ms or 0
        # A heartbeat renews the lease once a third of it is gone: the database may have more of it left.
        left_ms = lease_ms * 2 // 3 - lease.silent_ms
        standing = WorkerHealth(store.worker, store.epoch or 0, lease_ms, left_ms, store.writers or 0)
        if left_ms < 0 and trouble is None:
            trouble = "the heartbeat stands still: others may take this worker's instances over"
    turns = engine.attempts.turns
    in_memory = len(engine.cache.all())
    return Health(trouble is None, trouble, store.kind, in_memory, standing, turns.lost, turns.warning)
