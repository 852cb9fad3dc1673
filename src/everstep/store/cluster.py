"""What a store that many workers share offers beyond `Store`: the lease, and news of others. No implementation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from everstep.store.protocol import EventRecord, InstanceRecord, Store


class HeartbeatResult(Struct, frozen=True):
    """What one heartbeat brought.

    Attributes:
        now: The database's time, in milliseconds since 1970.
        noted: Instances that somebody else changed while they were this worker's.
        next_due: When the next claim will find something.
        expired_workers: Workers whose lease is over.
        ended: Of the instances asked about, those that have ended or are gone.
        workers: How many there are.
        notes: By which it knows of `noted`. Until it says that it has followed them, it is told again.
    """

    now: int
    changed: list[int]
    next_due: int | None
    expired_workers: list[int]
    ended: list[int]
    workers: int = 1
    change_ids: Sequence[int] = ()


class OwnedSnapshot(Struct, frozen=True):
    """An instance as it is on disk, whether it is this worker's, and the events that wait for it."""

    instance: InstanceRecord
    owned: bool
    events: list[EventRecord]


@runtime_checkable
class ClusterStore(Store, Protocol):
    """A store that many workers share. Every one is a worker from `open` to `close`."""

    lease_ms: int

    def on_lost_lease(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Call back when the lease was lost: nothing in memory is this worker's any more. It is a new worker then."""
        ...

    async def listen(self, callback: Callable[[], None]) -> bool:
        """Call back when somebody else has news for this worker; return whether notifications can be had."""
        ...

    async def heartbeat(
        self, workflows: Sequence[str], watched: Sequence[int], followed: Sequence[int] = ()
    ) -> HeartbeatResult:
        """Renew the lease and hear what is new, except for notes that were followed."""
        ...

    async def take_over(self, workers: Sequence[int], *, now: int) -> int:
        """Make due what workers left whose lease is over, counting a recovery for each; return how many there were."""
        ...

    def discard_queued(self, pk: int) -> None:
        """Forget what an instance that others moved has yet to write or create: it would pass for what comes after."""
        ...

    async def load_owned(self, pk: int) -> OwnedSnapshot | None:
        """Return an instance as it is now, or None."""
        ...
