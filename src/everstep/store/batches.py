"""Rows of many changes, gathered and written with one statement per table. Opens no transaction of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import orjson
from msgspec import Struct, structs

from everstep.core.journal import FINAL, StepRecord
from everstep.store.many import ManyRows, Statement
from everstep.store.protocol import Change

Row: TypeAlias = tuple[Any, ...]


class Rows(Struct, gc=False, frozen=True):
    """A change as rows, made when it is queued: the records it came from go on changing.

    `milestone` is what subscribers are told of a move that is not an end, and `at` when it was; an end has a position
    of its own. `parent` is who is to be woken.
    """

    pk: int
    steps: Sequence[Row]
    attempts: Sequence[Row] = ()
    consumed: Sequence[int] = ()
    relaxed: bool = False
    instance: Row | None = None
    milestone: str | None = None
    at: int | None = None
    parent: int | None = None


def rows_of(change: Change) -> Rows:
    """Write a change as rows."""
    pk, moved = change.pk, change.instance
    steps = [(pk, *structs.astuple(step)) for step in change.steps] if change.steps else ()
    attempts = [(pk, *structs.astuple(attempt)) for attempt in change.attempts] if change.attempts else ()
    if moved is None:
        return Rows(pk, steps, attempts, change.consumed, change.relaxed)
    ends = (moved.output, moved.error, moved.ended_at, moved.expires_at, moved.rollback)
    row, milestone = (pk, moved.status, moved.due_at, *ends), _MILESTONES.get(moved.status)
    return Rows(pk, steps, attempts, change.consumed, change.relaxed, row, milestone, moved.at, moved.parent)


_MILESTONES = {"waiting": "workflow_waiting", "running": "workflow_running", "paused": "workflow_paused"}


_STATE = 1 + StepRecord.__struct_fields__.index("state")
"""Where a step's state is in its row."""


class Batches:
    """Rows of many changes, written with one statement per table.

    Executing one statement with many rows instead of one per row is worth a factor: SQLite lets go of the interpreter's
    lock at every statement, and getting it back from a busy loop takes milliseconds.
    """

    def __init__(self, queries: Mapping[str, str], positions: Iterator[int]) -> None:
        self._queries = queries
        self._positions = positions
        self._many = ManyRows(queries)
        self.clear()

    def clear(self) -> None:
        """Forget what was added."""
        self._steps: dict[Row, Row] = {}  # by instance and seq
        self._attempts: list[Row] = []
        self._consumed: list[int] = []
        self._instances: dict[int, Row] = {}
        self._milestones: list[Row] = []
        self._parents: set[int] = set()

    def follows(self, rows: Rows) -> bool:
        """Whether `rows` belong to an instance that was moved or woken: what comes after that is written after it."""
        moved = self._instances
        return bool(moved) and (rows.pk in moved or rows.pk in self._parents)

    def add(self, rows: Rows) -> None:
        """Take the rows of one change."""
        positions = self._positions
        if len(rows.steps) == 1 and not rows.attempts:
            self._add_step(rows.steps[0], next(positions))
        else:
            began = [next(positions) for _ in rows.steps]
            for attempt in rows.attempts:  # a step's last attempt fails after the step began and before it ends
                self._attempts.append((*attempt, next(positions)))
            for step, position in zip(rows.steps, began, strict=True):
                self._add_step(step, position)
        if rows.consumed:
            self._consumed += rows.consumed
        if rows.instance:
            self._instances[rows.pk] = (*rows.instance, next(positions) if rows.milestone is None else None)
            if rows.parent is not None:
                self._parents.add(rows.parent)
            if rows.milestone is not None:
                self._milestones.append((next(positions), rows.pk, rows.milestone, rows.at))

    def alone(self, rows: Rows) -> Statement | None:
        """Return the statement that writes `rows` where they are one step and nothing else, as most are."""
        if len(rows.steps) != 1 or rows.attempts or rows.consumed or rows.instance:
            return None
        [step], positions = rows.steps, self._positions
        row = (*step, next(positions), next(positions) if step[_STATE] in FINAL else None)
        return self._many.text("write_steps", 1, len(row)), row

    def _add_step(self, step: Row, position: int) -> None:
        # A later state of the same step replaces the earlier one, but not the position where it began.
        key = step[:2]
        known = self._steps.get(key)
        first = position if known is None else known[-2]
        self._steps[key] = (*step, first, next(self._positions) if step[_STATE] in FINAL else None)

    def take(self) -> list[Statement]:
        """Return the statements that write what was added, steps before the instances they belong to; start anew."""
        queries, many = self._queries, self._many.statements
        statements = [*many("write_steps", list(self._steps.values()))]
        if self._attempts:
            statements += many("write_attempts", self._attempts)
            # What a failed attempt left of a stream is of no use.
            statements += [(queries["drop_chunks_of"], attempt[:3]) for attempt in self._attempts]
        if self._consumed:
            statements.append((queries["delete_events"], (orjson.dumps(self._consumed).decode(),)))
        if self._instances:
            statements += many("write_instances", list(self._instances.values()))
        if self._parents:
            statements.append((queries["wake_parents"], (orjson.dumps(list(self._parents)).decode(),)))
        if self._milestones:
            statements += many("write_milestones", self._milestones)
        self.clear()
        return statements
