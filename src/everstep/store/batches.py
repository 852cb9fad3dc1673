"""Rows of many changes, gathered and written with one statement per table. Opens no transaction of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from msgspec import structs

from everstep.core.journal import FINAL, StepRecord
from everstep.store.many import ManyRows, Statement
from everstep.store.protocol import Change


class Rows:
    """A change as rows, made when it is queued: the records it came from go on changing."""

    __slots__ = ("at", "attempts", "consumed", "instance", "milestone", "parent", "pk", "relaxed", "steps")

    def __init__(self, change: Change) -> None:
        pk = self.pk = change.pk
        self.steps = [(pk, *structs.astuple(step)) for step in change.steps]
        self.attempts = [(pk, *structs.astuple(attempt)) for attempt in change.attempts]
        self.consumed = change.consumed
        self.relaxed = change.relaxed
        at = change.instance
        self.instance = None
        if at is not None:
            self.instance = (pk, at.status, at.due_at, at.output, at.error, at.ended_at, at.expires_at, at.rollback)
            self.milestone, self.at, self.parent = _MILESTONES.get(at.status), at.at, at.parent


_MILESTONES = {"waiting": "workflow_waiting", "running": "workflow_running", "paused": "workflow_paused"}
"""What subscribers are told of a move that is not an end; an end has a position of its own."""


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
        self._steps: dict[tuple[int, int], tuple[Any, ...]] = {}
        self._attempts: list[tuple[Any, ...]] = []
        self._consumed: list[int] = []
        self._instances: dict[int, tuple[Any, ...]] = {}
        self._milestones: list[tuple[Any, ...]] = []
        self._parents: set[int] = set()

    def follows(self, rows: Rows) -> bool:
        """Whether `rows` belong to an instance that was moved or woken: what comes after that is written after it."""
        return rows.pk in self._instances or rows.pk in self._parents

    def add(self, rows: Rows) -> None:
        """Take the rows of one change."""
        positions = self._positions
        began = [next(positions) for _ in rows.steps]
        for attempt in rows.attempts:  # a step's last attempt fails after the step began and before it ends
            self._attempts.append((*attempt, next(positions)))
        for step, position in zip(rows.steps, began, strict=True):
            # A later state of the same step replaces the earlier one, but not the position where it began.
            key: tuple[int, int] = (step[0], step[1])
            known = self._steps.get(key)
            first = position if known is None else known[-2]
            self._steps[key] = (*step, first, next(positions) if step[_STATE] in FINAL else None)
        if rows.consumed:
            self._consumed += rows.consumed
        if rows.instance:
            self._instances[rows.pk] = (*rows.instance, next(positions) if rows.milestone is None else None)
            if rows.parent is not None:
                self._parents.add(rows.parent)
            if rows.milestone is not None:
                self._milestones.append((next(positions), rows.pk, rows.milestone, rows.at))

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
