"""What each verb of the store does inside its transaction, on PostgreSQL. Opens and commits none itself.

Whoever changes an instance from outside locks its row first and looks at everything else in later statements: these see
what the lock waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from everstep.core.errors import InstanceLostError
from everstep.core.journal import AttemptRecord, StepRecord
from everstep.core.types import Status
from everstep.store.postgres.connection import ReconnectingConnection
from everstep.store.postgres.statements import LOCAL_WAKE_GRACE_MS
from everstep.store.postgres.writer import FencingToken
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
from everstep.store.read_rows import grouped, merge_history
from everstep.store.rejections import check_live, failed_nondeterministically, no_such_step, not_found

TAKEOVER_BATCH = 12_500
"""Instances of a dead worker made due in one transaction: the first of them go on while the rest is taken over."""


class Operations:
    """The verbs inside a transaction on `connection`, token at the fence as `token`."""

    def __init__(self, queries: dict[str, str], connection: ReconnectingConnection, token: FencingToken) -> None:
        self._queries = queries
        self._connection = connection
        self._worker = token.worker

    async def send_event(self, workflow: str, id: str, *, type: str, payload: str | None, now: int) -> SentEvent:
        instance = await self._live(workflow, id, "take an event", "instance.cannot_receive")
        [(event_id, earlier)] = await self._fetch("insert_event", instance.pk, type, payload, now)
        woken = await self._fetch("wake_for_event", instance.pk, now, type)
        return SentEvent(instance.pk, EventRecord(event_id, type, payload, now), bool(woken), earlier)

    async def pause(self, workflow: str, id: str, *, now: int) -> Transition:
        before = await self._live(workflow, id, "be paused", "instance.cannot_pause")
        family = await self._lock_descendants(before)
        moved = dict(await self._fetch("pause_instances", _pks(before, *family), now))
        if moved:
            types = ["workflow_paused" if to == "paused" else "workflow_waiting_for_pause" for to in moved.values()]
            await self._fetch("insert_status_events", list(moved), types, now)
        return _moved(before, family, moved)

    async def resume(self, workflow: str, id: str, *, now: int) -> Transition:
        before = await self._find_locked(workflow, id)
        if not failed_nondeterministically(before):
            check_live(before, "be resumed", "instance.cannot_resume")
        family = [] if before.ended else await self._lock_descendants(before)
        pks = _pks(before, *family)
        if any(one.paused_at is not None for one in (before, *family)):
            await self._fetch("shift_timers", pks, now)
        await self._fetch("insert_end_event", before.pk)
        moved = dict(await self._fetch("resume_instances", pks, now))
        promised = [one.pk for one in (before, *family) if one.status == "waitingForPause"]
        if promised:
            await self._fetch("insert_status_events", promised, ["workflow_running"] * len(promised), now)
        return _moved(before, family, moved)

    async def terminate(self, workflow: str, id: str, *, now: int) -> Transition:
        before = await self._find_locked(workflow, id, lock="lock_with_parent")
        check_live(before, "be terminated", "instance.cannot_terminate")
        family = await self._lock_descendants(before)
        await self._end(_pks(before, *family), now)
        await self._wake_parent(before)
        return Transition(before.pk, before.status, "terminated", _ended(family))

    async def begin_rollback(self, workflow: str, id: str, *, now: int, error: str) -> Transition:
        before = await self._live(workflow, id, "be terminated", "instance.cannot_terminate")
        children = await self._end_descendants(before, now)
        await self._fetch("begin_rollback", before.pk, now, error)
        await self._fetch("make_due", before.pk, now)
        return Transition(before.pk, before.status, "queued", children)

    async def restart(
        self, workflow: str, id: str, *, now: int, version: str | None, from_step: StepKey | None
    ) -> Transition:
        before = await self._find_locked(workflow, id)
        first = None if from_step is None else await self._seq_of(before, from_step)
        await self._fetch("insert_restart_event", before.pk, now)
        if first is None:
            await self._delete_rows(_JOURNAL, [before.pk])
            await self._fetch("delete_status_events_before_restart", before.pk)
        else:
            await self._delete_from(before.pk, first)
        children = await self._end_descendants(before, now)
        python = None if first is None else before.python
        await self._fetch("restart_instance", before.pk, now, version, python)
        return Transition(before.pk, before.status, "queued", children)

    async def delete(self, workflow: str, id: str, *, now: int) -> Deletion:
        instance = await self._find_locked(workflow, id, lock="lock_with_parent")
        children = () if instance.ended else await self._end_descendants(instance, now)
        await self._delete_rows(_EVERYTHING, [instance.pk])
        if not instance.ended:  # nothing else will tell it
            await self._wake_parent(instance)
        return Deletion(instance.pk, children)

    async def expire(self, *, now: int, limit: int) -> int:
        expired = [pk for (pk,) in await self._fetch("list_expired", now, limit)]
        if expired:
            await self._delete_rows(_EVERYTHING, expired)
        return len(expired)

    async def write_chunk(self, pk: int, seq: int, attempt: int, number: int, data: bytes) -> None:
        if not await self._fetch("lock_owned", pk, self._worker):
            raise InstanceLostError(pk)
        if number == 0:  # what an earlier attempt left is of no use
            await self._fetch("delete_other_chunks", pk, seq, attempt)
        await self._fetch("write_chunk", pk, seq, attempt, number, data)

    async def claim(self, workflows: Sequence[str], *, now: int, limit: int, woken_first: bool) -> Claim:
        query = "due_resumed_first" if woken_first else "due_instances"
        due = await self._fetch(query, now, workflows, limit, self._worker)
        claimed: list[Claimed] = []
        if due:
            pks = [pk for pk, _ in due]
            rows = await self._fetch("claim_instances", now, pks, self._worker)
            by_pk = {row["pk"]: InstanceRecord(*row) for row in rows}
            await self._fetch("insert_claim_status_events", pks, now)
            others = [(owner, pk) for pk, owner in due if owner not in (None, self._worker)]
            if others:
                await self._fetch("insert_invalidations", *zip(*others, strict=True))
            steps = grouped(await self._fetch("steps_of", pks), step_of)
            events = grouped(await self._fetch("events_of", pks), lambda row: EventRecord(*row[1:]))
            claimed = [
                Claimed(by_pk[pk], steps.get(pk, []), events.get(pk, []), owner == self._worker) for pk, owner in due
            ]
        [next_due] = [row[0] for row in await self._fetch("peek", workflows)] or [None]
        if next_due is not None and len(due) < limit:  # due already, but left to others for the moment
            next_due = max(next_due, now + 1 if next_due > now else now + LOCAL_WAKE_GRACE_MS)
        return Claim(claimed, next_due)

    async def release(self, *, now: int) -> None:
        await self._fetch("release_running", now, self._worker)
        await self._fetch("notify_due")

    async def take_over(self, workers: Sequence[int], *, now: int) -> int:
        """Make a piece of what these dead workers left due; return how many instances that were."""
        await self._fetch("take_over_pausing", workers)
        status = await self._fetch("take_over_running", workers, now, TAKEOVER_BATCH)
        if status:
            await self._fetch("notify_due")
        return len(status)

    async def _fetch(self, query: str, *arguments: Any) -> list[Any]:
        return await self._connection.fetch(self._queries[query], *arguments)

    async def _find_locked(self, workflow: str, id: str, *, lock: str = "lock_instance") -> InstanceRecord:
        rows = await self._fetch(lock, workflow, id)
        found = [row for row in rows if (row["workflow"], row["id"]) == (workflow, id)]  # beside its parent
        if not found:
            raise not_found(workflow, id)
        *columns, owner = found[0]
        instance = InstanceRecord(*columns)
        if owner not in (None, self._worker):
            await self._fetch("insert_invalidation", owner, instance.pk)
        return instance

    async def _live(self, workflow: str, id: str, what: str, code: str) -> InstanceRecord:
        instance = await self._find_locked(workflow, id)
        check_live(instance, what, code)
        return instance

    async def _lock_descendants(self, instance: InstanceRecord) -> list[InstanceRecord]:
        """Lock the children of an instance that have not ended, and theirs, and tell their owners to look at them."""
        count, rows = 0, await self._fetch("lock_descendants", instance.pk)
        while len(rows) > count:  # until their rows were locked, they may have begun others
            count, rows = len(rows), await self._fetch("lock_descendants", instance.pk)
        family = [InstanceRecord(*columns) for *columns, _ in rows]
        if any(row["owner"] not in (None, self._worker) for row in rows):
            await self._fetch("invalidate_owners", _pks(*family), self._worker)
        return family

    async def _end_descendants(self, instance: InstanceRecord, now: int) -> tuple[ChildTransition, ...]:
        """End the children of an instance that have not ended, and theirs: nobody waits for them any more."""
        family = await self._lock_descendants(instance)
        if family:
            await self._end(_pks(*family), now)
        return _ended(family)

    async def _end(self, pks: Sequence[int], now: int) -> None:
        await self._fetch("terminate_instances", pks, now)
        await self._fetch("cancel_open_steps", pks, now)

    async def _wake_parent(self, instance: InstanceRecord) -> None:
        if instance.parent is not None:
            await self._fetch("wake_parents", [instance.parent])
            await self._fetch("invalidate_owners", [instance.parent], self._worker)

    async def _delete_rows(self, what: Sequence[str], pks: Sequence[int]) -> None:
        for statement in what:
            await self._fetch(statement, pks)

    async def _seq_of(self, instance: InstanceRecord, step: StepKey) -> int:
        found = await self._fetch("find_step", instance.pk, step.kind, step.name, step.count)
        if not found:
            raise no_such_step(instance, step)
        return int(found[0][0])

    async def _delete_from(self, pk: int, seq: int) -> None:
        """Forget a step, everything that started after it, and whatever waits."""
        await self._fetch("delete_steps_from", pk, seq)
        for query in ("delete_orphaned_inner_steps", "clear_order", "delete_attempts_from", "delete_chunks_from"):
            await self._fetch(query, pk)
        await self._fetch("delete_instance_events", [pk])


_JOURNAL = ("delete_steps", "delete_attempts", "delete_instance_events", "delete_chunks")
_EVERYTHING = (*_JOURNAL, "delete_status_events", "delete_tags", "delete_instances")


async def history(
    queries: dict[str, str], connection: ReconnectingConnection, pk: int, after: int
) -> list[HistoryEntry]:
    """Return what was written about an instance after a position, in the order it was written, from one snapshot."""
    await connection.execute("begin isolation level repeatable read read only")
    steps = await connection.fetch(queries["steps_after"], pk, after)
    attempts = await connection.fetch(queries["attempts_after"], pk, after)
    found = merge_history(
        after,
        status_events=await connection.fetch(queries["status_events_after"], pk, after),
        steps=((began, ended, StepRecord(*columns)) for began, ended, *columns in steps),
        attempts=((position, AttemptRecord(*columns)) for position, *columns in attempts),
        ended=await connection.fetch(queries["ended_position"], pk),
    )
    await connection.execute("commit")
    return found


def _pks(*instances: InstanceRecord) -> list[int]:
    return [one.pk for one in instances]


def _moved(before: InstanceRecord, family: Sequence[InstanceRecord], moved: dict[int, Status]) -> Transition:
    """Say where an instance and its family are now; those that were not moved stayed where they were."""
    children = tuple(ChildTransition(one, moved.get(one.pk, one.status)) for one in family)
    return Transition(before.pk, before.status, moved.get(before.pk, before.status), children)


def _ended(family: Sequence[InstanceRecord]) -> tuple[ChildTransition, ...]:
    return tuple(ChildTransition(one, "terminated") for one in family)


def step_of(row: Sequence[Any]) -> StepRecord:
    return StepRecord(*row[1:])
