"""Rows of many changes, gathered and written with one statement per table. Opens no transaction of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import orjson
from msgspec import Struct
from msgspec.structs import astuple

from everstep.store.journal_rows import STEP_COLUMNS, JournalRows, Row, rows_under
from everstep.store.protocol import Change
from everstep.store.sqlite.multi_row import MultiRowStatements, Statement


class ChangeRows(Struct, gc=False, frozen=True):
    """A change as rows, made when it is queued: the records it came from go on changing.

    `restored` are events given back. `status_event` is what subscribers are told of a move that is not an end, and `at`
    when it was; an end has a position of its own. `parent` is who is to be woken.
    """

    pk: int
    steps: Sequence[Row]
    attempts: Sequence[Row] = ()
    consumed: Sequence[int] = ()
    relaxed: bool = False
    instance: Row | None = None
    status_event: str | None = None
    at: int | None = None
    parent: int | None = None
    restored: Sequence[Row] = ()


def rows_of(change: Change) -> ChangeRows:
    """Write a change as rows."""
    pk, moved, steps = change.pk, change.instance, change.steps
    if moved is None and len(steps) == 1 and not (change.attempts or change.consumed or change.restored):
        return ChangeRows(pk, ((pk, *astuple(steps[0])),), relaxed=change.relaxed)  # nearly every one
    step_rows, attempts = rows_under(pk, steps), rows_under(pk, change.attempts)
    restored = restored_rows(change) if change.restored else ()
    if moved is None:
        return ChangeRows(pk, step_rows, attempts, change.consumed, change.relaxed, restored=restored)
    ends = (moved.output, moved.error, moved.ended_at, moved.expires_at, moved.rollback)
    row, status_event = (pk, moved.status, moved.due_at, *ends), _STATUS_EVENTS.get(moved.status)
    return ChangeRows(
        pk, step_rows, attempts, change.consumed, change.relaxed, row, status_event, moved.at, moved.parent, restored
    )


def restored_rows(change: Change) -> Sequence[Row]:
    """Write the events that a change gives back as rows."""
    return [(one.id, change.pk, one.type, one.payload, one.created_at) for one in change.restored]


_STATUS_EVENTS = {"waiting": "workflow_waiting", "running": "workflow_running", "paused": "workflow_paused"}


class WriteBatch:
    """Rows of many changes, written with one statement per table.

    Executing one statement with many rows instead of one per row is worth a factor: SQLite lets go of the interpreter's
    lock at every statement, and getting it back from a busy loop takes milliseconds.
    """

    def __init__(self, queries: Mapping[str, str], positions: Iterator[int]) -> None:
        self._queries = queries
        self._positions = positions
        self._many = MultiRowStatements(queries)
        self._one_step = self._many.text("write_steps", 1, STEP_COLUMNS)
        self._reset()

    def _reset(self) -> None:
        self._gathered = JournalRows(self._positions)
        self._consumed: list[int] = []
        self._restored: list[Row] = []
        self._instances: dict[int, Row] = {}
        self._status_events: list[Row] = []
        self._parents: set[int] = set()

    def statements(self, changes: Sequence[ChangeRows]) -> list[Statement]:
        """Return the statements that write changes, in their order."""
        statements: list[Statement] = []
        ordered = False
        for rows in changes:
            if ordered and self._must_flush_before(rows):
                statements += self._drain()
            if rows.instance or rows.consumed or rows.restored:
                ordered = True
                self._add(rows)
            else:
                self._gathered.add(rows.steps, rows.attempts)
        return statements + self._drain()

    def _must_flush_before(self, rows: ChangeRows) -> bool:
        """Whether `rows` come after something that is written before them: a move, or an event given back."""
        if rows.consumed and self._restored:
            return True
        return rows.pk in self._instances or rows.pk in self._parents

    def _add(self, rows: ChangeRows) -> None:
        """Take the rows of one change."""
        positions = self._positions
        self._gathered.add(rows.steps, rows.attempts)
        if rows.consumed:
            self._consumed += rows.consumed
        if rows.restored:
            self._restored += rows.restored
        if rows.instance:
            self._instances[rows.pk] = (*rows.instance, next(positions) if rows.status_event is None else None)
            if rows.parent is not None:
                self._parents.add(rows.parent)
            if rows.status_event is not None:
                self._status_events.append((next(positions), rows.pk, rows.status_event, rows.at))

    def single_step(self, rows: ChangeRows) -> Statement | None:
        """Return the statement that writes `rows` where they are one step and nothing else: by itself a transaction."""
        if rows.instance or rows.attempts or rows.consumed or rows.restored or len(rows.steps) != 1:
            return None
        return self._one_step, self._gathered.with_positions(rows.steps[0], next(self._positions))

    def _drain(self) -> list[Statement]:
        """Return the statements that write what was added, steps before the instances they belong to; start anew."""
        queries, many = self._queries, self._many.statements
        statements = [*many("write_steps", list(self._gathered.steps.values()))]
        if attempts := self._gathered.attempts:
            statements += many("write_attempts", list(attempts.values()))
            # What a failed attempt left of a stream is of no use.
            statements += [(queries["delete_chunks_of"], attempt) for attempt in attempts]
        if self._consumed:
            statements.append((queries["delete_events"], (orjson.dumps(self._consumed).decode(),)))
        if self._restored:
            statements.append((queries["restore_events"], (orjson.dumps(self._restored).decode(),)))
        if self._instances:
            statements += many("write_instances", list(self._instances.values()))
        if self._parents:
            statements.append((queries["wake_parents"], (orjson.dumps(list(self._parents)).decode(),)))
        if self._status_events:
            statements += many("write_status_events", self._status_events)
        self._reset()
        return statements
