"""What one instance has done so far: its recorded steps, and which one the code asks for next.

A step's identity is its kind, its name and how many times that name came before. Pure data: nothing is read or written.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

Kind: TypeAlias = Literal["do", "sleep", "wait", "child", "rollback", "value"]
"""What a row of the journal is: a step, a child workflow, a rollback handler, or a value such as the time of day."""
StepState: TypeAlias = Literal["running", "retrying", "waiting", "complete", "errored", "cancelled"]

FINAL: frozenset[str] = frozenset({"complete", "errored"})
"""States of a step that never change again."""


class StepRecord(Struct, gc=False):
    """One step as the store keeps it. Times are milliseconds since 1970; results and errors are encoded JSON text.

    Attributes:
        seq: The order in which the steps of an instance started, from 1.
        attempt: Attempts begun, the one in flight included. 0 for sleeps and waits.
        attempt_at: When the latest attempt began.
        wake_at: When a sleep ends, a wait times out, or the next attempt is due.
        absolute: A sleep until a moment, which pausing does not move.
        child: The child workflow a row stands for, as `workflow/id`.
        compensable: Whether the step has a rollback handler.
        parent: The number of the step whose function asked for this one; None for what the workflow's code asked for.
        asked_after: The number of the last settlement that the code had heard when it asked.
        cancelled_after: The same for when the code cancelled it.
        settlement: The place of its end in the order in which the code hears of things, from 1.
        sent_after: The number of the last settlement of which everything the code asked for has a row, with this one.
    """

    seq: int
    kind: Kind
    name: str
    count: int
    state: StepState
    attempt: int = 0
    started_at: int = 0
    attempt_at: int | None = None
    ended_at: int | None = None
    wake_at: int | None = None
    absolute: bool = False
    event_type: str | None = None
    child: str | None = None
    compensable: bool = False
    sensitive: bool = False
    config: str | None = None
    result: str | None = None
    error: str | None = None
    parent: int | None = None
    asked_after: int | None = None
    cancelled_after: int | None = None
    settlement: int | None = None
    sent_after: int | None = None

    @property
    def final(self) -> bool:
        """Whether the step has ended for good."""
        return self.state in FINAL


class AttemptRecord(Struct, gc=False):
    """One failed attempt of a step as the store keeps it."""

    seq: int
    attempt: int
    started_at: int
    ended_at: int
    error: str
    retry_at: int | None = None


class Journal:
    """The recorded steps of one instance, and which of them its code has asked for in this life.

    The code asks in its own order: `find` the step it asks for next, and `begin` it if there is none.
    """

    __slots__ = ("_cancelled", "_counts", "_steps", "_unasked", "last_seq")

    def __init__(self, steps: list[StepRecord] | None = None) -> None:
        # Keys are texts, which the garbage collector need not look at: there are two for every step in memory. No kind
        # is the beginning of another, so kind and name run together are still apart.
        self._steps: dict[str, StepRecord] = {}
        self._counts: dict[str, int] = {}
        self.last_seq = 0
        for step in steps or ():
            self._steps[key_of(step.kind, step.name, step.count)] = step
            self.last_seq = max(self.last_seq, step.seq)
        earlier = {key: step for key, step in self._steps.items() if step.kind != "rollback"}
        self._unasked = {key: step for key, step in earlier.items() if step.state != "cancelled"}
        self._cancelled = {key: step for key, step in earlier.items() if step.state == "cancelled"}

    def find(self, kind: Kind, name: str) -> StepRecord | None:
        """Return the step the code asks for next under this name, if it has begun before."""
        if not (self._unasked or self._cancelled):
            return None
        count = self.next_count(kind, name)
        key = key_of(kind, name, count)
        record = self._steps.get(key)
        if record is not None:
            self._counts[kind + name] = count
            self._unasked.pop(key, None)
            self._cancelled.pop(key, None)
        return record

    def next_count(self, kind: Kind, name: str) -> int:
        """Return how many times a name will have come with the next step of that name."""
        return self._counts.get(kind + name, 0) + 1

    def row(self, kind: Kind, name: str, count: int) -> StepRecord | None:
        """Return a row by its whole identity, without asking for it."""
        return self._steps.get(key_of(kind, name, count))

    def place(self, kind: Kind, name: str, count: int, now: int) -> StepRecord:
        """Return a row by its whole identity, begun if there is none."""
        record = self.row(kind, name, count)
        if record is None:
            self.last_seq += 1
            record = StepRecord(self.last_seq, kind, name, count, "running", started_at=now)
            self._steps[key_of(kind, name, count)] = record
        return record

    @property
    def replayed(self) -> bool:
        """Whether the code has asked for every recorded step in this life."""
        return not self._unasked

    def unasked(self) -> StepRecord | None:
        """Return the earliest recorded step that the code has not asked for in this life, if there is one."""
        return next(iter(self._unasked.values()), None)

    def asked(self, step: StepRecord) -> bool:
        """Whether the code has asked for a step in this life."""
        return key_of(step.kind, step.name, step.count) not in self._unasked

    def begin(self, kind: Kind, name: str, now: int) -> StepRecord:
        """Begin the step that `find` did not find."""
        count = self._counts[kind + name] = self.next_count(kind, name)
        self.last_seq += 1
        record = StepRecord(self.last_seq, kind, name, count, "running", started_at=now)
        self._steps[key_of(kind, name, count)] = record
        return record

    def steps(self) -> list[StepRecord]:
        """Every step begun so far, in the order they started."""
        return sorted(self._steps.values(), key=lambda step: step.seq)

    def __len__(self) -> int:
        return len(self._steps)


def key_of(kind: Kind, name: str, count: int) -> str:
    """Write a step's identity as one text. The first word is the kind, which has no spaces, and the last the count."""
    return f"{kind} {name} {count}"
