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
    """The rows of one instance, by identity, and how often its code has asked for each name."""

    __slots__ = ("_counts", "_steps", "last_seq")

    def __init__(self, steps: list[StepRecord] | None = None) -> None:
        # Keys are texts, which the garbage collector need not look at: there are two for every step in memory. No kind
        # is the beginning of another, so kind and name run together are still apart.
        self._steps: dict[str, StepRecord] = {}
        self._counts: dict[str, int] = {}
        self.last_seq = 0
        for step in steps or ():
            self._steps[key_of(step.kind, step.name, step.count, step.parent)] = step
            self.last_seq = max(self.last_seq, step.seq)

    def count_call(self, kind: Kind, name: str) -> int:
        """Count a call of the code; return how many times its name has come."""
        counts, key = self._counts, kind + name
        count = counts[key] = counts.get(key, 0) + 1
        return count

    def begin(self, kind: Kind, name: str, count: int, asked_after: int, now: int) -> StepRecord:
        """Begin the row of a call of `run` that has none, asked for after a settlement."""
        self.last_seq += 1
        record = StepRecord(self.last_seq, kind, name, count, "running", started_at=now, asked_after=asked_after)
        self._steps[key_of(kind, name, count)] = record
        return record

    def get(self, kind: Kind, name: str, count: int, parent: int | None = None) -> StepRecord | None:
        """Return a row by its whole identity."""
        return self._steps.get(key_of(kind, name, count, parent))

    def get_or_begin(self, kind: Kind, name: str, count: int, now: int, parent: int | None = None) -> StepRecord:
        """Return a row by its whole identity, begun if there is none."""
        record = self.get(kind, name, count, parent)
        if record is None:
            self.last_seq += 1
            record = StepRecord(self.last_seq, kind, name, count, "running", started_at=now, parent=parent)
            self._steps[key_of(kind, name, count, parent)] = record
        return record

    def steps(self) -> list[StepRecord]:
        """Every step begun so far, in the order they started."""
        return sorted(self._steps.values(), key=lambda step: step.seq)

    def __len__(self) -> int:
        return len(self._steps)


def key_of(kind: Kind, name: str, count: int, parent: int | None = None) -> str:
    """Write a step's identity as one text.

    The first word is the kind, which has no spaces, and the last the count; a step of another step begins with that
    one's number.
    """
    return f"{kind} {name} {count}" if parent is None else f"{parent} {kind} {name} {count}"
