"""What one instance has done so far: its recorded steps, and which one the code asks for next.

A step's identity is its kind, its name and how many times that name came before; a step that another step's function
asked for belongs to that one, and its name is counted within it. Pure data: nothing is read or written.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

Kind: TypeAlias = Literal["do", "sleep", "wait", "child", "rollback", "value", "timer"]
"""What a row of the journal is: a step, a sleep, a wait for an event, a child workflow, a rollback handler, a value
such as the time of day, or a timer of asyncio."""
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
        digest: Of the arguments, a signed integer of 8 bytes; None where `serialization/digest.py` takes none.
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
    is_absolute: bool = False
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
    digest: int | None = None

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
    """The rows of one instance in the order they started."""

    __slots__ = ("_by_identity", "_steps", "last_seq")

    def __init__(self, steps: list[StepRecord] | None = None) -> None:
        self._steps = sorted(steps, key=lambda step: step.seq) if steps else []
        self.last_seq = self._steps[-1].seq if self._steps else 0
        # Only what is asked for by its identity: for a call of `run` an execution's history knows.
        self._by_identity: dict[str, StepRecord] = {}
        for step in self._steps:
            if step.parent is not None or step.kind == "rollback":
                self._by_identity[key_of(step.kind, step.name, step.count, step.parent)] = step

    def begin(self, kind: Kind, name: str, count: int, asked_after: int, now: int) -> StepRecord:
        """Begin the row of a call of `run` that has none, asked for after a settlement."""
        self.last_seq = seq = self.last_seq + 1
        record = StepRecord(seq, kind, name, count, "running", started_at=now, asked_after=asked_after)
        self._steps.append(record)
        return record

    def get(self, kind: Kind, name: str, count: int, parent: int | None = None) -> StepRecord | None:
        """Return the row of a step inside a step, or of a rollback handler, by its whole identity."""
        return self._by_identity.get(key_of(kind, name, count, parent))

    def get_or_begin(self, kind: Kind, name: str, count: int, now: int, parent: int | None = None) -> StepRecord:
        """Return the row of a step inside a step, or of a rollback handler, begun if there is none."""
        record = self.get(kind, name, count, parent)
        if record is None:
            self.last_seq += 1
            record = StepRecord(self.last_seq, kind, name, count, "running", started_at=now, parent=parent)
            self._by_identity[key_of(kind, name, count, parent)] = record
            self._steps.append(record)
        return record

    def steps(self) -> list[StepRecord]:
        """Every step begun so far, in the order they started."""
        return list(self._steps)

    def __len__(self) -> int:
        return len(self._steps)


def key_of(kind: Kind, name: str, count: int, parent: int | None = None) -> str:
    """Write a step's identity as one text.

    The first word is the kind, which has no spaces, and the last the count; a step of another step begins with that
    one's number.
    """
    return f"{kind} {name} {count}" if parent is None else f"{parent} {kind} {name} {count}"
