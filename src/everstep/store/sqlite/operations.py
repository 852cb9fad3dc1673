"""What each verb of the store does inside its transaction, on SQLite. Opens and commits none itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from everstep.core.journal import AttemptRecord, StepRecord
from everstep.core.types import Status
from everstep.store.protocol import (
    ChildTransition,
    Claim,
    Claimed,
    Deletion,
    EventRecord,
    HistoryEntry,
    InstanceRecord,
    SentEvent,
    StepKey,
    Transition,
)
from everstep.store.python_version import PYTHON
from everstep.store.queries import load_queries
from everstep.store.read_rows import LINE, OUTLINE, cut_step, grouped, merge_history, quoted
from everstep.store.rejections import check_live, failed_nondeterministically, no_such_step, not_found
from everstep.store.sqlite.connection import Connection

_open = "(state = 'running' or state = 'retrying' or state = 'waiting')"  # in the words of the index `step_open`
SQL = load_queries(
    "sqlite/sqlite.sql",
    instance=quoted(InstanceRecord.__struct_fields__),
    line=quoted(LINE),
    step=", ".join(StepRecord.__struct_fields__),
    cut_step=cut_step("?4"),
    outline=", ".join(OUTLINE),
    open=_open,
    python=PYTHON,
)
"""Every statement by name."""


def send_event(
    connection: Connection, workflow: str, id: str, *, type: str, payload: str | None, now: int
) -> SentEvent:
    instance = _live(connection, workflow, id, "take an event", "instance.cannot_receive")
    [(event_id,)] = connection.execute(SQL["insert_event"], (instance.pk, type, payload, now))
    woken = connection.execute(SQL["wake_for_event"], (instance.pk, now, type))
    return SentEvent(instance.pk, EventRecord(event_id, type, payload, now), bool(woken))


def pause(connection: Connection, positions: Iterator[int], workflow: str, id: str, *, now: int) -> Transition:
    before = _live(connection, workflow, id, "be paused", "instance.cannot_pause")
    children = [
        ChildTransition(one, _pause(connection, positions, one, now)) for one in _live_descendants(connection, before)
    ]
    return Transition(before.pk, before.status, _pause(connection, positions, before, now), tuple(children))


def _pause(connection: Connection, positions: Iterator[int], before: InstanceRecord, now: int) -> Status:
    moved = connection.execute(SQL["pause_instance"], (before.pk, now))
    if not moved:
        return before.status
    [(after,)] = moved
    _insert_status_event(
        connection, positions, before.pk, "workflow_paused" if after == "paused" else "workflow_waiting_for_pause", now
    )
    return after  # type: ignore[no-any-return]  # a column


def resume(connection: Connection, positions: Iterator[int], workflow: str, id: str, *, now: int) -> Transition:
    before = _find(connection, workflow, id)
    if not failed_nondeterministically(before):
        check_live(before, "be resumed", "instance.cannot_resume")
    family = () if before.ended else _live_descendants(connection, before)
    children = [ChildTransition(one, _resume(connection, positions, one, now)) for one in family]
    return Transition(before.pk, before.status, _resume(connection, positions, before, now), tuple(children))


def _resume(connection: Connection, positions: Iterator[int], before: InstanceRecord, now: int) -> Status:
    if before.paused_at is not None and not before.ended:
        paused_ms = max(0, now - before.paused_at)
        connection.execute(SQL["shift_timers"], (before.pk, paused_ms, before.paused_at))
    connection.execute(SQL["insert_end_event"], (before.pk,))
    moved = connection.execute(SQL["resume_instance"], (before.pk, now))
    if not moved:
        return before.status
    if before.status == "waitingForPause":
        _insert_status_event(connection, positions, before.pk, "workflow_running", now)
    return moved[0][0]  # type: ignore[no-any-return]  # a column


def _insert_status_event(connection: Connection, positions: Iterator[int], pk: int, what: str, now: int) -> None:
    """Write a status_event for subscribers."""
    connection.execute(SQL["insert_status_events"], (next(positions), pk, what, now))


def terminate(connection: Connection, positions: Iterator[int], workflow: str, id: str, *, now: int) -> Transition:
    before = _live(connection, workflow, id, "be terminated", "instance.cannot_terminate")
    children = _end_descendants(connection, positions, before, now)
    _end(connection, positions, before.pk, now)
    if before.parent is not None:
        connection.execute(SQL["wake_parents"], (array([before.parent]),))
    return Transition(before.pk, before.status, "terminated", children)


def begin_rollback(
    connection: Connection, positions: Iterator[int], workflow: str, id: str, *, now: int, error: str
) -> Transition:
    before = _live(connection, workflow, id, "be terminated", "instance.cannot_terminate")
    children = _end_descendants(connection, positions, before, now)
    connection.execute(SQL["begin_rollback"], (before.pk, now, error, next(positions)))
    connection.execute(SQL["make_due"], (before.pk, now))
    return Transition(before.pk, before.status, "queued", children)


def restart(
    connection: Connection,
    positions: Iterator[int],
    workflow: str,
    id: str,
    *,
    now: int,
    version: str | None,
    from_step: StepKey | None,
) -> Transition:
    before = _find(connection, workflow, id)
    first = None if from_step is None else _seq_of(connection, before, from_step)  # before anything is written
    connection.execute(SQL["insert_restart_event"], (before.pk, next(positions), now))
    if first is None:
        forget = ("delete_steps", "delete_attempts", "delete_instance_events", "delete_chunks", _OF_LIVES_BEFORE)
        _run(connection, forget, before.pk)
    else:
        _delete_from(connection, before.pk, first)
    children = _end_descendants(connection, positions, before, now)
    python = None if first is None else before.python
    connection.execute(SQL["restart_instance"], (before.pk, now, version, python))
    return Transition(before.pk, before.status, "queued", children)


def delete(connection: Connection, positions: Iterator[int], workflow: str, id: str, *, now: int) -> Deletion:
    instance = _find(connection, workflow, id)
    children = () if instance.ended else _end_descendants(connection, positions, instance, now)
    _run(connection, _EVERYTHING, instance.pk)
    if instance.parent is not None and not instance.ended:  # nothing else will tell it
        connection.execute(SQL["wake_parents"], (array([instance.parent]),))
    return Deletion(instance.pk, children)


def _live_descendants(connection: Connection, instance: InstanceRecord) -> list[InstanceRecord]:
    return [InstanceRecord(*row) for row in connection.execute(SQL["live_descendants_of"], (instance.pk,))]


def _end_descendants(
    connection: Connection, positions: Iterator[int], instance: InstanceRecord, now: int
) -> tuple[ChildTransition, ...]:
    """End the children of an instance that have not ended, and theirs: nobody waits for them any more."""
    family = _live_descendants(connection, instance)
    for one in family:
        _end(connection, positions, one.pk, now)
    return tuple(ChildTransition(one, "terminated") for one in family)


def _end(connection: Connection, positions: Iterator[int], pk: int, now: int) -> None:
    connection.execute(SQL["terminate_instance"], (pk, now, next(positions)))
    connection.execute(SQL["cancel_open_steps"], (pk, now))


def expire(connection: Connection, *, now: int, limit: int) -> int:
    expired = connection.execute(SQL["list_expired"], (now, limit))
    for (pk,) in expired:
        _run(connection, _EVERYTHING, pk)
    return len(expired)


def claim(
    connection: Connection,
    positions: Iterator[int],
    workflows: Sequence[str],
    *,
    now: int,
    limit: int,
    woken_first: bool,
) -> Claim:
    names, query = array(workflows), SQL["due_resumed_first" if woken_first else "due_instances"]

    due = [pk for (pk,) in connection.execute(query, (now, names, limit))]
    pks = array(due)
    rows = connection.execute(SQL["claim_instances"], (now, pks)) if due else []
    by_pk = {row[0]: InstanceRecord(*row) for row in rows}
    instances = [by_pk[pk] for pk in due]
    if due:
        status_events = [value for pk in due for value in (next(positions), pk, "workflow_running", now)]
        written = SQL["write_status_events"].replace("{rows}", ", ".join(["(?, ?, ?, ?)"] * len(due)))
        connection.execute(written, status_events)
    steps = grouped(connection.execute(SQL["steps_of"], (pks,)), step_of) if instances else {}
    events = grouped(connection.execute(SQL["events_of"], (pks,)), _event) if instances else {}
    next_due = connection.execute(SQL["next_due"], (names,))
    return Claim(
        [Claimed(one, steps.get(one.pk, []), events.get(one.pk, [])) for one in instances],
        next_due[0][0] if next_due else None,
    )


def recover(connection: Connection, *, now: int) -> int:
    connection.execute(SQL["recover_pausing"])
    return len(connection.execute(SQL["recover_running"], (now,)))


def history(connection: Connection, pk: int, after: int) -> list[HistoryEntry]:
    """Return what was written about an instance after a position, in the order it was written.

    It is read from one snapshot: of two rows written between two reads, the later one could be seen alone.
    """
    connection.execute("begin")
    try:
        return _history(connection, pk, after)
    finally:
        connection.execute("commit")


def _history(connection: Connection, pk: int, after: int) -> list[HistoryEntry]:
    steps = connection.execute(SQL["steps_after"], (pk, after))
    attempts = connection.execute(SQL["attempts_after"], (pk, after))
    return merge_history(
        after,
        status_events=connection.execute(SQL["status_events_after"], (pk, after)),
        steps=((began, ended, step_of((pk, *columns))) for began, ended, *columns in steps),
        attempts=((position, AttemptRecord(*columns)) for position, *columns in attempts),
        ended=connection.execute(SQL["ended_position"], (pk,)),
    )


def _find(connection: Connection, workflow: str, id: str) -> InstanceRecord:
    rows = connection.execute(SQL["find_instance"], (workflow, id))
    if not rows:
        raise not_found(workflow, id)
    return InstanceRecord(*rows[0])


def _live(connection: Connection, workflow: str, id: str, what: str, code: str) -> InstanceRecord:
    instance = _find(connection, workflow, id)
    check_live(instance, what, code)
    return instance


def _run(connection: Connection, statements: Sequence[str], pk: int) -> None:
    for statement in statements:
        connection.execute(SQL[statement], (pk,))


def _seq_of(connection: Connection, instance: InstanceRecord, step: StepKey) -> int:
    found = connection.execute(SQL["find_step"], (instance.pk, step.kind, step.name, step.count))
    if not found:
        raise no_such_step(instance, step)
    return int(found[0][0])


def _delete_from(connection: Connection, pk: int, seq: int) -> None:
    """Forget a step, everything that started after it, and whatever waits."""
    connection.execute(SQL["delete_steps_from"], (pk, seq))
    gone = (
        "delete_orphaned_inner_steps",
        "clear_order",
        "delete_attempts_from",
        "delete_chunks_from",
        "delete_instance_events",
    )
    _run(connection, gone, pk)


_OF_LIVES_BEFORE = "delete_status_events_before_restart"
_EVERYTHING = (
    "delete_steps",
    "delete_attempts",
    "delete_instance_events",
    "delete_status_events",
    "delete_chunks",
    "delete_tags",
    "delete_instance",
)


def array(values: Sequence[Any]) -> str:
    return orjson.dumps(list(values)).decode()


def step_of(row: tuple[Any, ...]) -> StepRecord:
    step = StepRecord(*row[1:])
    step.is_absolute, step.sensitive, step.compensable = (
        bool(step.is_absolute),
        bool(step.sensitive),
        bool(step.compensable),
    )
    return step


def _event(row: tuple[Any, ...]) -> EventRecord:
    return EventRecord(*row[1:])
