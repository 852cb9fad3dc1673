"""What a store that many workers share offers beyond `Store`: the lease, and news of others. No implementation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from everstep.store.protocol import EventRecord, InstanceRecord, Store


class News(Struct, frozen=True):
    """What one beat brought.

    Attributes:
        now: The database's time, in milliseconds since 1970.
        noted: Instances that somebody else changed while they were this worker's.
        next_due: When the next claim will find something.
        lapsed: Workers whose lease is over.
        ended: Of the instances asked about, those that have ended or are gone.
        workers: How many there are.
        notes: By which it knows of `noted`. Until it says that it has followed them, it is told again.
    """

    now: int
    noted: list[int]
    next_due: int | None
    lapsed: list[int]
    ended: list[int]
    workers: int = 1
    notes: Sequence[int] = ()


class Seen(Struct, frozen=True):
    """An instance as it is on disk, whether it is this worker's, and the events that wait for it."""

    instance: InstanceRecord
    mine: bool
    events: list[EventRecord]


@runtime_checkable
class SharedStore(Store, Protocol):
    """A store that many workers share. Every one is a worker from `open` to `close`."""

    lease_ms: int

    def on_lost_lease(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Call back when the lease was lost: nothing in memory is this worker's any more. It is a new worker then."""
        ...

    async def listen(self, callback: Callable[[], None]) -> bool:
        """Call back when somebody else has news for this worker; return whether notifications can be had."""
        ...

    async def beat(self, workflows: Sequence[str], watched: Sequence[int], followed: Sequence[int] = ()) -> News:
        """Renew the lease and hear what is new, except for notes that were followed."""
        ...

    async def adopt(self, workers: Sequence[int], *, now: int) -> int:
        """Make due what workers left whose lease is over, counting a recovery for each; return how many there were."""
        ...

    def withdraw(self, pk: int) -> None:
        """Forget what an instance that others moved has yet to write or create: it would pass for what comes after."""
        ...

    async def look(self, pk: int) -> Seen | None:
        """Return an instance as it is now, or None."""
        ...
