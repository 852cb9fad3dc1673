"""What the engine asks of its memory: a short list of domain verbs, each one transaction.

Internal: verbs come and go between releases. `tests/store` is the specification every implementation passes.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Awaitable, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from everstep.core.journal import AttemptRecord, StepRecord
from everstep.core.types import TERMINAL, Status
from everstep.store.health import StoreHealth
from everstep.store.write_callback import WriteCallback


class InstanceRecord(Struct, frozen=True, gc=False):
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
    progress_at_recovery: int
    restarts: int
    trigger: str
    version: str | None
    parent: int | None
    tags: str | None
    success_retention_ms: int | None
    error_retention_ms: int | None
    python: str | None  # the minor version that began its history
    rollback: str | None
    params: str | None
    output: str | None
    error: str | None

    @property
    def ended(self) -> bool:
        """Whether the instance has ended."""
        return self.status in TERMINAL


class NewInstance(Struct, frozen=True, gc=False):
    """An instance to create. `owned` ones belong to the caller at once, others are due now.

    `success_retention_ms` and `error_retention_ms` are how long it is kept after its end; None keeps it for ever.
    """

    workflow: str
    id: str
    created_at: int
    params: str | None
    owned: bool
    trigger: str = "binding"
    version: str | None = None
    parent: int | None = None
    tags: Sequence[str] = ()
    success_retention_ms: int | None = None
    error_retention_ms: int | None = None


class EventRecord(Struct, frozen=True, gc=False):
    """An event that no wait has taken yet."""

    id: int
    type: str
    payload: str | None
    created_at: int


class InstanceChange(Struct, frozen=True, gc=False):
    """Where an instance is now: going on, parked until `due_at`, paused, or ended.

    `expires_at` is when an ended one may be deleted, `rollback` how its rollback ended, encoded, and `parent` the
    instance that waits for the end.
    """

    status: Literal["running", "waiting", "paused", "complete", "errored", "terminated"]
    due_at: int | None = None
    output: str | None = None
    error: str | None = None
    ended_at: int | None = None
    expires_at: int | None = None
    rollback: str | None = None
    parent: int | None = None
    at: int = 0


class Change(Struct, gc=False):
    """What one instance adds to its journal, all of it or nothing.

    Attributes:
        pk: The instance.
        steps: Steps as they are now.
        attempts: Attempts that failed.
        consumed: Ids of events that a wait took.
        restored: Events that a wait had taken and that are given back.
        instance: Where the instance is now, if that changed.
        relaxed: Whether it may be lost with the machine's power; never with the process.
    """

    pk: int
    steps: Sequence[StepRecord] = ()
    attempts: Sequence[AttemptRecord] = ()
    consumed: Sequence[int] = ()
    instance: InstanceChange | None = None
    relaxed: bool = False
    restored: Sequence[EventRecord] = ()


class Claimed(Struct, frozen=True):
    """An instance that belongs to the caller from now on, with all it needs to go on.

    `kept` is whether it was the caller's before as well: nobody else can have moved it since.
    """

    instance: InstanceRecord
    steps: list[StepRecord]
    events: list[EventRecord]
    already_owned: bool = True


class Claim(Struct, frozen=True):
    """The answer to a claim: what is owned now, and when the next claim will find something."""

    claimed: list[Claimed]
    next_due: int | None


class SentEvent(Struct, frozen=True):
    """An event that is on disk now.

    Attributes:
        pk: Its instance.
        event: The event.
        woken: Whether the instance is due because of it.
        before: The last one before it that nobody has taken, by its id, where others may have sent it.
    """

    pk: int
    event: EventRecord
    woken: bool
    previous_id: int | None = None


class StepKey(Struct, frozen=True):
    """Which step, by what the code calls it."""

    kind: str
    name: str
    count: int


class HistoryEntry(Struct, frozen=True):
    """A row of what happened to an instance: a status_event, or a step or attempt as it is now, at its position.

    A `what` of `"restarted"` is for no subscriber: the events of the life it began are numbered above its `number`.
    """

    position: int
    at: int
    event: str
    step: StepRecord | None = None
    attempt: AttemptRecord | None = None
    number: int = 0


class ChildTransition(Struct, frozen=True):
    """What a verb did to a child of its instance, or to a child of one of those.

    Attributes:
        instance: The child as it was before.
        after: Its status now.
    """

    instance: InstanceRecord
    after: Status


class Transition(Struct, frozen=True):
    """A change of status that is on disk now.

    Attributes:
        pk: The instance.
        before: Its status before.
        after: Its status now.
        children: What the same transaction did to its children that had not ended, and to theirs.
    """

    pk: int
    before: Status
    after: Status
    children: tuple[ChildTransition, ...] = ()


class Deletion(Struct, frozen=True):
    """An instance that is gone.

    Attributes:
        pk: What its key was.
        children: How its children ended, and theirs.
    """

    pk: int
    children: tuple[ChildTransition, ...] = ()


class Store(Protocol):
    """Everything the engine remembers. Each verb is one transaction, fsynced before it returns.

    Verbs take effect in the order they are called.
    """

    async def open(self) -> None:
        """Open the database and bring its schema up to date. Raises DatabaseInUseError, SchemaVersionError."""
        ...

    def health(self) -> StoreHealth:
        """Return how the store is, without asking the database."""
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

    def create(self, new: NewInstance) -> Awaitable[int]:
        """Create an instance and return its pk; of all racing callers one succeeds.

        A child whose parent is being paused is created paused.

        Raises:
            InstanceExistsError: if the id is taken.
            InstanceLostError: with the parent's pk, if a child's parent is not at work any more; nothing was created.
                With the instance's own pk, if it was created and is not the caller's.
        """
        ...

    def write(self, change: Change, *, awaited: bool = False, answer: WriteCallback | None = None) -> Future[None]:
        """Queue a change; the future is done once it is on disk. The records are read before this returns.

        With `awaited` the caller goes on only when it is done: a store may then write at once. Others go with whatever
        is written next. A store that calls an `answer` directly returns it in place of the future.
        """
        ...

    @property
    def answers_at_once(self) -> bool:
        """Whether what is awaited of `write` would be on disk, and answered, before it returns."""
        ...

    async def list_owned(self) -> dict[int, str]:
        """Return the instances that should be in memory here, and their status: `running` or `waitingForPause`."""
        ...

    async def claim(self, workflows: Sequence[str], *, now: int, limit: int, woken_first: bool = False) -> Claim:
        """Take up to `limit` due instances of these workflows, the longest due first.

        With `woken_first`, those that ran before go before those that never did.
        """
        ...

    async def send_event(self, workflow: str, id: str, *, type: str, payload: str | None, now: int) -> SentEvent:
        """Keep an event. Raises InstanceNotFoundError, and InstanceStateError if the instance has ended."""
        ...

    async def pause(self, workflow: str, id: str, *, now: int) -> Transition:
        """Pause at once, or promise to when the owner is at work, and the same for the children that have not ended.

        Raises InstanceStateError if it has ended.
        """
        ...

    async def resume(self, workflow: str, id: str, *, now: int) -> Transition:
        """Make a paused instance due, its timers moved; take a promised pause back. The same for its children.

        One that was stopped because its code contradicted its history is due again, too.
        """
        ...

    async def terminate(self, workflow: str, id: str, *, now: int) -> Transition:
        """End the instance and its children. Raises InstanceStateError if it has ended."""
        ...

    async def restart(
        self, workflow: str, id: str, *, now: int, version: str | None, from_step: StepKey | None = None
    ) -> Transition:
        """Forget the instance's journal and events, end the children it had and make it due.

        With `from_step`, what started before that step is kept. Raises InstanceStateError if there is no such step.
        """
        ...

    async def delete(self, workflow: str, id: str, *, now: int) -> Deletion:
        """Forget the instance altogether; if it had not ended, end its children. Raises InstanceNotFoundError."""
        ...

    async def expire(self, *, now: int, limit: int) -> int:
        """Delete up to `limit` instances whose time is over; return how many."""
        ...

    async def begin_rollback(self, workflow: str, id: str, *, now: int, error: str) -> Transition:
        """Make the instance due to roll back and end as terminated, and end its children.

        Raises InstanceStateError if it has ended.
        """
        ...

    async def write_chunk(self, pk: int, seq: int, attempt: int, number: int, data: bytes) -> None:
        """Keep a piece of a result that is a stream."""
        ...

    async def chunks(self, pk: int, seq: int, attempt: int, *, after: int, limit: int) -> list[bytes]:
        """Return pieces of a stream, in order, from number `after` on."""
        ...

    async def history(self, pk: int, *, after: int) -> list[HistoryEntry]:
        """Return what was written about an instance after position `after`, in the order it was written."""
        ...

    async def descendants(self, pk: int) -> list[InstanceRecord]:
        """Return the children of an instance, their children, and so on."""
        ...

    async def by_pk(self, pk: int) -> InstanceRecord | None:
        """Return an instance, or None."""
        ...

    async def find(self, workflow: str, id: str) -> InstanceRecord | None:
        """Return an instance, or None."""
        ...

    async def page(
        self, workflow: str, *, status: str | None, limit: int, cursor: int | None, tag: str | None = None
    ) -> list[InstanceRecord]:
        """Return instances, newest first, from below the pk `cursor`: without params, output, error and rollback."""
        ...

    async def lines(self, pks: Sequence[int]) -> list[InstanceRecord]:
        """Return these instances as a page has them."""
        ...

    async def counts(self) -> dict[str, dict[str, int]]:
        """Return how many instances of each workflow are in each status."""
        ...

    async def due(self, workflows: Sequence[str], *, now: int) -> int:
        """Return how many instances of these workflows are due, whoever may take them."""
        ...

    async def unclaimable(self, workflows: Sequence[str]) -> dict[str, int]:
        """Return how many instances are due of workflows other than these."""
        ...

    async def steps(
        self, pk: int, *, first: int = 0, last: int | None = None, chars: int | None = None
    ) -> list[StepRecord]:
        """Return the steps of an instance numbered `first` to `last`, in the order they started.

        With `chars`, of each result there are so many characters, and one more if it has more.
        """
        ...

    async def outline(self, pk: int) -> list[StepRecord]:
        """Return the steps without their results and errors, and without the order in which the code heard of them."""
        ...

    async def attempts(self, pk: int, *, first: int = 0, last: int | None = None) -> list[AttemptRecord]:
        """Return the failed attempts of the steps of an instance numbered `first` to `last`."""
        ...
