"""What the engine asks of its memory: a short list of domain verbs, each one transaction.

Internal: verbs come and go between releases. `tests/store` is the specification every implementation passes.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct

from everstep.core.journal import AttemptRecord, StepRecord
from everstep.core.types import TERMINAL, Status


class InstanceRecord(Struct, frozen=True):
    """One instance as the store keeps it. Times are milliseconds since 1970; values are encoded JSON text."""

    pk: int
    workflow: str
    id: str
    status: Status
    due_at: int | None
    created_at: int
    started_at: int | None
    ended_at: int | None
    paused_at: int | None
    recoveries: int
    recovered_position: int
    trigger: str
    version: str | None
    params: str | None
    output: str | None
    error: str | None

    @property
    def ended(self) -> bool:
        """Whether the instance has ended."""
        return self.status in TERMINAL


class NewInstance(Struct, frozen=True):
    """An instance to create. `owned` ones belong to the caller at once, others are due now."""

    workflow: str
    id: str
    created_at: int
    params: str | None
    owned: bool
    trigger: str = "binding"
    version: str | None = None


class EventRecord(Struct, frozen=True):
    """An event that no wait has taken yet."""

    id: int
    type: str
    payload: str | None
    created_at: int


class InstanceChange(Struct, frozen=True):
    """Where an instance is now: going on, parked until `due_at`, paused, or ended."""

    status: Literal["running", "waiting", "paused", "complete", "errored"]
    due_at: int | None = None
    output: str | None = None
    error: str | None = None
    ended_at: int | None = None


class Change(Struct):
    """What one instance adds to its journal, all of it or nothing.

    Attributes:
        pk: The instance.
        steps: Steps as they are now.
        attempts: Attempts that failed.
        consumed: Ids of events that a wait took.
        instance: Where the instance is now, if that changed.
    """

    pk: int
    steps: Sequence[StepRecord] = ()
    attempts: Sequence[AttemptRecord] = ()
    consumed: Sequence[int] = ()
    instance: InstanceChange | None = None


class Claimed(Struct, frozen=True):
    """An instance that belongs to the caller from now on, with all it needs to go on."""

    instance: InstanceRecord
    steps: list[StepRecord]
    events: list[EventRecord]


class Claim(Struct, frozen=True):
    """The answer to a claim: what is owned now, and when the next claim will find something."""

    claimed: list[Claimed]
    next_due: int | None


class SentEvent(Struct, frozen=True):
    """An event that is on disk now. `woken` tells that its instance is due because of it."""

    pk: int
    event: EventRecord
    woken: bool


class Transition(Struct, frozen=True):
    """A change of status that is on disk now."""

    pk: int
    before: Status
    after: Status


class Store(Protocol):
    """Everything the engine remembers. Each verb is one transaction, fsynced before it returns.

    Verbs take effect in the order they are called.
    """

    async def open(self) -> None:
        """Open the database and bring its schema up to date. Raises DatabaseInUseError, SchemaVersionError."""
        ...

    async def close(self) -> None:
        """Finish what was asked for and close the database."""
        ...

    async def recover(self, *, now: int) -> int:
        """Make due what a dead owner left running, counting a recovery for each; return how many there were."""
        ...

    async def release(self, *, now: int) -> None:
        """Give back every owned instance without counting a recovery."""
        ...

    async def create(self, new: NewInstance) -> int:
        """Create an instance and return its pk. Raises InstanceExistsError; of all racing callers one succeeds."""
        ...

    def write(self, change: Change) -> Future[None]:
        """Queue a change; the future is done once it is on disk. The records are read before this returns."""
        ...

    async def claim(self, workflows: Sequence[str], *, now: int, limit: int) -> Claim:
        """Take up to `limit` due instances of these workflows, the longest due first."""
        ...

    async def send_event(self, workflow: str, id: str, *, type: str, payload: str | None, now: int) -> SentEvent:
        """Keep an event. Raises InstanceNotFoundError, and InstanceStateError if the instance has ended."""
        ...

    async def pause(self, workflow: str, id: str, *, now: int) -> Transition:
        """Pause at once, or promise to when the owner is at work. Raises InstanceStateError if it has ended."""
        ...

    async def resume(self, workflow: str, id: str, *, now: int) -> Transition:
        """Make a paused instance due, its timers moved; take a promised pause back.

        One that was stopped because its code contradicted its history is due again, too.
        """
        ...

    async def terminate(self, workflow: str, id: str, *, now: int) -> Transition:
        """End the instance. Raises InstanceStateError if it has ended."""
        ...

    async def restart(self, workflow: str, id: str, *, now: int, version: str | None) -> Transition:
        """Forget the instance's journal and events and make it due."""
        ...

    async def find(self, workflow: str, id: str) -> InstanceRecord | None:
        """Return an instance, or None."""
        ...

    async def page(self, workflow: str, *, status: str | None, limit: int, cursor: int | None) -> list[InstanceRecord]:
        """Return instances, newest first, from below the pk `cursor`."""
        ...

    async def counts(self) -> dict[str, dict[str, int]]:
        """Return how many instances of each workflow are in each status."""
        ...

    async def unclaimable(self, workflows: Sequence[str]) -> dict[str, int]:
        """Return how many instances are due of workflows other than these."""
        ...

    async def steps(self, pk: int) -> list[StepRecord]:
        """Return the steps of an instance in the order they started."""
        ...

    async def attempts(self, pk: int) -> list[AttemptRecord]:
        """Return the failed attempts of an instance."""
        ...
