"""What every store must do, written with plain dicts: the reference the real ones are compared with.

Keeps nothing on disk and knows nothing of groups; each verb takes effect when it is called.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import structs

from everstep.core.errors import (
    InstanceExistsError,
    InstanceLostError,
    InstanceNotFoundError,
    InstanceStateError,
    NonDeterminismError,
    StoreError,
)
from everstep.core.journal import AttemptRecord, StepRecord
from everstep.core.serialization.stored_error import error_info
from everstep.store.protocol import (
    Change,
    ChildTransition,
    Claim,
    Claimed,
    Deletion,
    EventRecord,
    HistoryEntry,
    InstanceChange,
    InstanceRecord,
    NewInstance,
    SentEvent,
    StepKey,
    Transition,
)
from everstep.store.python_version import PYTHON

ENDED = ("complete", "errored", "terminated")
OPEN = ("running", "retrying", "waiting")
FINAL = ("complete", "errored")
CHANGES_OF_A_STEP = (
    *("state", "attempt", "attempt_at", "ended_at", "wake_at", "result", "error"),
    *("cancelled_after", "settlement", "sent_after"),
)


class ModelStore:
    """A `Store` that is a handful of dicts.

    Args:
        fenced: Whether only what is this worker's own may be written, as where many workers share a store.
    """

    def __init__(self, *, fenced: bool = False) -> None:
        self.fenced = fenced
        self.mine: set[int] = set()
        self.instances: dict[int, dict[str, Any]] = {}
        self.step_rows: dict[tuple[int, int], StepRecord] = {}
        self.attempt_rows: dict[tuple[int, int, int], AttemptRecord] = {}
        self.events: dict[int, tuple[int, EventRecord]] = {}
        self.expiries: dict[int, int] = {}
        self.tags: dict[int, Sequence[str]] = {}
        self.pieces: dict[tuple[int, int, int, int], bytes] = {}
        self.status_events: list[tuple[int, int, str, int]] = []
        self.numbers: dict[int, int] = {}  # by the position of a restart
        self.ends: dict[int, int] = {}
        self.step_places: dict[tuple[int, int], tuple[int, int | None]] = {}
        self.attempt_places: dict[tuple[int, int, int], int] = {}
        self.last_position = 0
        self.last_pk = 0
        self.last_event = 0
        self.is_open = False

    async def open(self) -> None:
        self.is_open = True
        self.mine.clear()

    async def close(self) -> None:
        self.is_open = False

    async def recover(self, *, now: int) -> int:
        recovered = 0
        for pk, row in self.instances.items():
            if row["status"] == "waitingForPause":
                row["status"] = "paused"
                self.mine.discard(pk)
            elif _owned(row):
                position = sum(
                    2 * step.attempt + 1 + (step.state == "retrying") + 2 * (step.ended_at is not None)
                    for step in self._steps_of(pk)
                )
                row["recoveries"] = row["recoveries"] + 1 if row["progress_at_recovery"] == position else 1
                row["progress_at_recovery"] = position
                row["due_at"] = now
                self.mine.discard(pk)
                recovered += 1
        return recovered

    async def release(self, *, now: int) -> None:
        for row in self.instances.values():
            if _owned(row):
                row["due_at"] = now
                self.mine.discard(row["pk"])

    async def create(self, new: NewInstance) -> int:
        parent = None if new.parent is None else self.instances.get(new.parent)
        if new.parent is not None and not self._may_have_children(parent):
            raise InstanceLostError(new.parent)
        pk = self._create(new)
        if parent is not None and parent["status"] == "waitingForPause":
            row = self.instances[pk]
            row.update(status="paused", due_at=None, started_at=None, paused_at=new.created_at, python=None)
            if new.owned:
                self.mine.discard(pk)
                raise InstanceLostError(pk)
        return pk

    def _may_have_children(self, row: dict[str, Any] | None) -> bool:
        if row is None or row["status"] not in ("running", "waiting", "waitingForPause"):
            return False
        return not self.fenced or row["pk"] in self.mine

    def _create(self, new: NewInstance) -> int:
        self.last_pk += 1  # a key is never used again, not even one that nobody got
        if self._pk_of(new.workflow, new.id) is not None:
            raise InstanceExistsError(new.id)
        pk = self.last_pk
        if new.owned:
            self.mine.add(pk)
        self.tags[pk] = new.tags
        self.instances[pk] = {
            "pk": pk,
            "workflow": new.workflow,
            "id": new.id,
            "status": "running" if new.owned else "queued",
            "due_at": None if new.owned else new.created_at,
            "created_at": new.created_at,
            "started_at": new.created_at if new.owned else None,
            "ended_at": None,
            "paused_at": None,
            "recoveries": 0,
            "progress_at_recovery": -1,
            "restarts": 0,
            "trigger": new.trigger,
            "version": new.version,
            "parent": new.parent,
            "tags": json.dumps(new.tags, separators=(",", ":"), ensure_ascii=False) if new.tags else None,
            "success_retention_ms": new.success_retention_ms,
            "error_retention_ms": new.error_retention_ms,
            "rollback": None,
            "params": new.params,
            "output": None,
            "error": None,
            "python": PYTHON if new.owned else None,
        }
        return pk

    answers_at_once = False

    def write(self, change: Change, *, awaited: bool = False, answer: object = None) -> asyncio.Future[None]:
        if not self.is_open:
            raise StoreError("the store is not open")
        if self.fenced and change.pk not in self.mine:
            refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            refused.set_exception(InstanceLostError(change.pk))
            return refused
        for step in change.steps:
            start, end = self.step_places.get((change.pk, step.seq), (None, None))
            self.step_places[change.pk, step.seq] = (self._next_position() if start is None else start, end)
            key = (change.pk, step.seq)
            known = self.step_rows.get(key)
            changed = {name: getattr(step, name) for name in CHANGES_OF_A_STEP}
            self.step_rows[key] = structs.replace(step if known is None else known, **changed)
        for attempt in change.attempts:
            key = (change.pk, attempt.seq, attempt.attempt)
            self.attempt_rows[key], self.attempt_places[key] = structs.replace(attempt), self._next_position()
            for piece in [piece for piece in self.pieces if piece[:3] == key]:
                del self.pieces[piece]
        for step in change.steps:
            start, _ = self.step_places[change.pk, step.seq]
            end = self._next_position() if step.state in FINAL else None
            self.step_places[change.pk, step.seq] = (start, end)
        for given_back in change.restored:
            self.events.setdefault(given_back.id, (change.pk, given_back))
        for event in change.consumed:
            self.events.pop(event, None)
        if change.instance is not None:
            self._move(change.pk, change.instance)
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        written.set_result(None)
        return written

    async def claim(self, workflows: Sequence[str], *, now: int, limit: int, woken_first: bool = False) -> Claim:
        live = [row for row in self.instances.values() if row["workflow"] in workflows and row["due_at"] is not None]
        due = [row for row in live if row["due_at"] <= now]
        due.sort(key=lambda row: (woken_first and row["started_at"] is None, row["due_at"], row["pk"]))
        claimed = []
        for row in due[:limit]:
            pk, started_at = row["pk"], now if row["started_at"] is None else row["started_at"]
            row.update(status="running", due_at=None, started_at=started_at, python=row["python"] or PYTHON)
            self.mine.add(pk)
            self.status_events.append((self._next_position(), pk, "workflow_running", now))
            claimed.append(Claimed(InstanceRecord(**row), self._steps_of(pk), self._events_of(pk)))
        return Claim(claimed, min((row["due_at"] for row in live if row["due_at"] is not None), default=None))

    async def send_event(self, workflow: str, id: str, *, type: str, payload: str | None, now: int) -> SentEvent:
        row = self._live(workflow, id, "instance.cannot_receive")
        earlier = [id for id, (pk, _) in self.events.items() if pk == row["pk"]] if self.fenced else []
        self.last_event += 1
        event = EventRecord(self.last_event, type, payload, now)
        self.events[event.id] = (row["pk"], event)
        woken = row["status"] == "waiting" and type in self._awaited(row["pk"])
        if woken:
            row["due_at"] = _earlier(row["due_at"], now)
        return SentEvent(row["pk"], event, woken, max(earlier, default=None))

    async def pause(self, workflow: str, id: str, *, now: int) -> Transition:
        row = self._live(workflow, id, "instance.cannot_pause")
        return self._for_family(row, lambda one: self._pause(one, now))

    def _pause(self, row: dict[str, Any], now: int) -> None:
        if row["status"] in ("queued", "running", "waiting"):
            row.update(status="waitingForPause" if _owned(row) else "paused", due_at=None, paused_at=now)
            if row["status"] == "paused":
                self.mine.discard(row["pk"])
            what = "workflow_paused" if row["status"] == "paused" else "workflow_waiting_for_pause"
            self.status_events.append((self._next_position(), row["pk"], what, now))

    async def resume(self, workflow: str, id: str, *, now: int) -> Transition:
        row = self._existing(workflow, id)
        if _contradicted(row):
            before = row["status"]
            self._resume(row, now)
            return Transition(row["pk"], before, row["status"])
        row = self._live(workflow, id, "instance.cannot_resume")
        return self._for_family(row, lambda one: self._resume(one, now))

    def _resume(self, row: dict[str, Any], now: int) -> None:
        before, paused_at = row["status"], row["paused_at"]
        if before in ("paused", "waitingForPause", "errored"):
            for step in self._open_steps(row["pk"]) if paused_at is not None and before != "errored" else ():
                if step.wake_at is not None and step.wake_at > paused_at and not step.is_absolute:
                    step.wake_at += max(0, now - paused_at)
            promised = before == "waitingForPause"
            if not promised:
                self.mine.discard(row["pk"])
            if row["pk"] in self.ends:
                self.status_events.append((self.ends[row["pk"]], row["pk"], f"workflow_{before}", row["ended_at"]))
            row.update(status="running" if promised else "queued", due_at=None if promised else now)
            row.update(dict.fromkeys(("paused_at", "ended_at", "error")))
            self._take_back_the_end(row["pk"])
            if promised:
                self.status_events.append((self._next_position(), row["pk"], "workflow_running", now))

    async def terminate(self, workflow: str, id: str, *, now: int) -> Transition:
        row = self._live(workflow, id, "instance.cannot_terminate")
        done = self._for_family(row, lambda one: self._end(one, now))
        self._wake(row["parent"])
        return done

    def _end(self, row: dict[str, Any], now: int) -> None:
        row.update(status="terminated", due_at=None, ended_at=now)
        self.mine.discard(row["pk"])
        for step in self._open_steps(row["pk"]):
            step.state, step.ended_at = "cancelled", now
        self.ends[row["pk"]] = self._next_position()
        if row["success_retention_ms"] is not None:
            self.expiries[row["pk"]] = now + row["success_retention_ms"]

    async def begin_rollback(self, workflow: str, id: str, *, now: int, error: str) -> Transition:
        row = self._live(workflow, id, "instance.cannot_terminate")
        pk, before = row["pk"], row["status"]
        children = self._end_family(pk, now)
        markers = [step for step in self._rows_of(pk) if (step.kind, step.name) == ("rollback", "")]
        if not markers:
            seq = max((step.seq for step in self._rows_of(pk)), default=0) + 1
            self.step_rows[pk, seq] = StepRecord(seq, "rollback", "", 1, "running", started_at=now, error=error)
            self.step_places[pk, seq] = (self._next_position(), None)
        row.update(status="queued", due_at=now, paused_at=None)
        self.mine.discard(pk)
        return Transition(pk, before, "queued", children)

    async def restart(
        self, workflow: str, id: str, *, now: int, version: str | None, from_step: StepKey | None = None
    ) -> Transition:
        row = self._existing(workflow, id)
        pk, before = row["pk"], row["status"]
        position, number = self._next_position(), self._highest_number(pk)
        if from_step is None:
            self._forget(pk)
            row["python"] = None
        else:
            self._forget_from(pk, from_step)
        self.status_events.append((position, pk, "restarted", now))
        self.numbers[position] = number
        children = self._end_family(pk, now)
        row.update(status="queued", due_at=now, version=version, recoveries=0, progress_at_recovery=-1)
        row["restarts"] += 1
        self.mine.discard(pk)
        row.update(dict.fromkeys(("started_at", "ended_at", "paused_at", "output", "error", "rollback")))
        self._take_back_the_end(pk)
        return Transition(pk, before, "queued", children)

    async def delete(self, workflow: str, id: str, *, now: int) -> Deletion:
        row = self._existing(workflow, id)
        pk, ended = row["pk"], row["status"] in ENDED
        children = () if ended else self._end_family(pk, now)
        self._delete(pk)
        if not ended:
            self._wake(row["parent"])
        return Deletion(pk, children)

    def _live_family(self, pk: int) -> list[dict[str, Any]]:
        return [row for row in self._family(pk) if row["status"] not in ENDED]

    def _end_family(self, pk: int, now: int) -> tuple[ChildTransition, ...]:
        family = self._live_family(pk)
        befores = [InstanceRecord(**row) for row in family]
        for row in family:
            self._end(row, now)
        return tuple(ChildTransition(before, "terminated") for before in befores)

    def _for_family(self, row: dict[str, Any], do: Callable[[dict[str, Any]], None]) -> Transition:
        family = self._live_family(row["pk"])
        before, befores = row["status"], [InstanceRecord(**one) for one in family]
        for one in (*family, row):
            do(one)
        children = tuple(ChildTransition(old, new["status"]) for old, new in zip(befores, family, strict=True))
        return Transition(row["pk"], before, row["status"], children)

    async def expire(self, *, now: int, limit: int) -> int:
        expired = sorted((at, pk) for pk, at in self.expiries.items() if at <= now and not self._wanted(pk))[:limit]
        for _, pk in expired:
            self._delete(pk)
        return len(expired)

    def _wanted(self, pk: int) -> bool:
        parent = self.instances.get(self.instances[pk]["parent"])
        return parent is not None and parent["ended_at"] is None

    async def write_chunk(self, pk: int, seq: int, attempt: int, number: int, data: bytes) -> None:
        if self.fenced and pk not in self.mine:
            raise InstanceLostError(pk)
        if number == 0:
            others = [key for key in self.pieces if key[:2] == (pk, seq) and key[2] != attempt]
            for key in others:
                del self.pieces[key]
        self.pieces[pk, seq, attempt, number] = data

    async def chunks(self, pk: int, seq: int, attempt: int, *, after: int, limit: int) -> list[bytes]:
        found = [data for key, data in sorted(self.pieces.items()) if key[:3] == (pk, seq, attempt) and key[3] >= after]
        return found[:limit]

    async def history(self, pk: int, *, after: int) -> list[HistoryEntry]:
        found = [
            HistoryEntry(position, at, what, number=self.numbers.get(position, 0))
            for position, owner, what, at in self.status_events
            if owner == pk
        ]
        for step in self._steps_of(pk):
            start, end = self.step_places[pk, step.seq]
            found.append(HistoryEntry(start, step.started_at, "step", step))
            if end is not None:
                found.append(HistoryEntry(end, step.ended_at or step.started_at, "step_ended", step))
        for key, attempt in self.attempt_rows.items():
            if key[0] == pk:
                found.append(HistoryEntry(self.attempt_places[key], attempt.ended_at, "attempt", attempt=attempt))
        if pk in self.ends:
            found.append(HistoryEntry(self.ends[pk], 0, "ended"))
        return sorted((one for one in found if one.position > after), key=lambda one: one.position)

    async def descendants(self, pk: int) -> list[InstanceRecord]:
        return [InstanceRecord(**row) for row in self._family(pk)]

    def _family(self, pk: int) -> list[dict[str, Any]]:
        members = {pk}
        for one, row in sorted(self.instances.items()):  # parents come before their children
            if row["parent"] in members:
                members.add(one)
        return [row for one, row in sorted(self.instances.items()) if one in members - {pk}]

    async def by_pk(self, pk: int) -> InstanceRecord | None:
        row = self.instances.get(pk)
        return None if row is None else InstanceRecord(**row)

    async def find(self, workflow: str, id: str) -> InstanceRecord | None:
        pk = self._pk_of(workflow, id)
        return None if pk is None else InstanceRecord(**self.instances[pk])

    async def page(
        self, workflow: str, *, status: str | None, limit: int, cursor: int | None, tag: str | None = None
    ) -> list[InstanceRecord]:
        rows = [
            _line(row)
            for pk, row in sorted(self.instances.items(), reverse=True)
            if row["workflow"] == workflow
            and (status is None or row["status"] == status)
            and (cursor is None or pk < cursor)
            and (tag is None or tag in self.tags[pk])
        ]
        return rows[:limit]

    async def lines(self, pks: Sequence[int]) -> list[InstanceRecord]:
        return [_line(row) for pk, row in self.instances.items() if pk in pks]

    async def counts(self) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {}
        for row in self.instances.values():
            of_workflow = counts.setdefault(row["workflow"], {})
            of_workflow[row["status"]] = of_workflow.get(row["status"], 0) + 1
        return counts

    async def list_owned(self) -> dict[int, str]:
        mine = [row for row in self.instances.values() if not self.fenced or row["pk"] in self.mine]
        return {row["pk"]: row["status"] for row in mine if _owned(row) or row["status"] == "waitingForPause"}

    async def due(self, workflows: Sequence[str], *, now: int) -> int:
        rows = [row for row in self.instances.values() if row["workflow"] in workflows and row["due_at"] is not None]
        return sum(row["due_at"] <= now for row in rows)

    async def unclaimable(self, workflows: Sequence[str]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for row in self.instances.values():
            if row["due_at"] is not None and row["workflow"] not in workflows:
                counts[row["workflow"]] = counts.get(row["workflow"], 0) + 1
        return counts

    async def steps(
        self, pk: int, *, first: int = 0, last: int | None = None, chars: int | None = None
    ) -> list[StepRecord]:
        found = [one for one in self._steps_of(pk) if first <= one.seq <= (one.seq if last is None else last)]
        if chars is None:
            return found
        return [structs.replace(one, result=one.result and one.result[: chars + 1]) for one in found]

    async def outline(self, pk: int) -> list[StepRecord]:
        hidden = dict.fromkeys(
            ("result", "error", "parent", "asked_after", "cancelled_after", "settlement", "sent_after")
        )
        return [structs.replace(one, **hidden) for one in self._steps_of(pk)]

    async def attempts(self, pk: int, *, first: int = 0, last: int | None = None) -> list[AttemptRecord]:
        mine = [attempt for key, attempt in sorted(self.attempt_rows.items()) if key[0] == pk]
        return [one for one in mine if first <= one.seq <= (one.seq if last is None else last)]

    def _pk_of(self, workflow: str, id: str) -> int | None:
        return next((pk for pk, row in self.instances.items() if (row["workflow"], row["id"]) == (workflow, id)), None)

    def _existing(self, workflow: str, id: str) -> dict[str, Any]:
        pk = self._pk_of(workflow, id)
        if pk is None:
            raise InstanceNotFoundError(id)
        return self.instances[pk]

    def _live(self, workflow: str, id: str, code: str) -> dict[str, Any]:
        row = self._existing(workflow, id)
        if row["status"] in ENDED:
            raise InstanceStateError(f"{id} is {row['status']}", code)
        return row

    def _rows_of(self, pk: int) -> list[StepRecord]:
        return [step for key, step in sorted(self.step_rows.items()) if key[0] == pk]

    def _steps_of(self, pk: int) -> list[StepRecord]:
        return [structs.replace(step) for step in self._rows_of(pk)]

    def _open_steps(self, pk: int) -> list[StepRecord]:
        return [step for step in self._rows_of(pk) if step.state in OPEN]

    def _events_of(self, pk: int) -> list[EventRecord]:
        return [event for _, (owner, event) in sorted(self.events.items()) if owner == pk]

    def _awaited(self, pk: int) -> set[str | None]:
        return {step.event_type for step in self._open_steps(pk) if step.kind == "wait"}

    def _hears_something(self, pk: int) -> bool:
        return any(event.type in self._awaited(pk) for event in self._events_of(pk))

    def _child_is_over(self, pk: int) -> bool:
        """Whether a child has ended that is waited for, or was deleted after it was begun."""
        return any(self._is_over(pk, step) for step in self._open_steps(pk) if step.kind == "child")

    def _is_over(self, parent: int, step: StepRecord) -> bool:
        for row in self.instances.values():
            if row["parent"] == parent and f"{row['workflow']}/{row['id']}" == step.child:
                return row["status"] in ENDED
        return step.attempt > 0

    def _next_position(self) -> int:
        self.last_position += 1
        return self.last_position

    def _wake(self, parent: int | None) -> None:
        row = self.instances.get(parent or 0)
        if row is not None and row["status"] == "waiting":
            row["due_at"] = 0

    def _move(self, pk: int, to: InstanceChange) -> None:
        """Move an instance to where its owner says it is; whoever waits for its end is due."""
        row = self.instances.get(pk)
        if row is not None and _moved(row, to):
            if row["status"] == "paused":
                self.mine.discard(pk)
            if to.status == row["status"] == "waiting" and (self._hears_something(pk) or self._child_is_over(pk)):
                row["due_at"] = 0
            if to.status in ENDED:
                self.ends[pk] = self._next_position()
            if to.expires_at is not None:
                self.expiries[pk] = to.expires_at
        if row is not None and to.status == row["status"] and to.status not in ENDED:
            self.status_events.append((self._next_position(), pk, f"workflow_{to.status}", to.at))
        self._wake(to.parent)

    def _highest_number(self, pk: int) -> int:
        """Return a number that no event of the instance's present life is above."""
        told = [position for position, owner, *_ in self.status_events if owner == pk]
        before = max((self.numbers.get(position, 0) for position in told), default=0)
        attempts = sum(key[0] == pk for key in self.attempt_rows)
        return 4 + before + len(told) + 5 * len(self._rows_of(pk)) + 2 * attempts

    def _take_back_the_end(self, pk: int) -> None:
        self.expiries.pop(pk, None)
        self.ends.pop(pk, None)

    def _forget(self, pk: int) -> None:
        self._forget_steps(pk, [step.seq for step in self._rows_of(pk)])
        self.events = {key: sent for key, sent in self.events.items() if sent[0] != pk}
        self.status_events = [status_event for status_event in self.status_events if status_event[1] != pk]

    def _forget_from(self, pk: int, target: StepKey) -> None:
        steps = self._rows_of(pk)
        outer = [step for step in steps if step.parent is None]
        found = [step.seq for step in outer if StepKey(step.kind, step.name, step.count) == target]
        if not found:
            raise InstanceStateError(f"no step {target}", "instance.cannot_restart")
        gone = [one.seq for one in steps if one.seq >= found[0] or one.state not in FINAL or one.kind == "rollback"]
        gone += [one.seq for one in steps if one.parent in gone and one.seq not in gone]
        self._forget_steps(pk, gone)
        for step in self._rows_of(pk):
            self.step_rows[pk, step.seq] = structs.replace(step, sent_after=None)
        self.events = {key: sent for key, sent in self.events.items() if sent[0] != pk}

    def _forget_steps(self, pk: int, gone: Sequence[int]) -> None:
        for seq in gone:
            del self.step_rows[pk, seq], self.step_places[pk, seq]
        kept = {step.seq for step in self._rows_of(pk)}
        for key in [key for key in self.attempt_rows if key[0] == pk and key[1] not in kept]:
            del self.attempt_rows[key], self.attempt_places[key]
        for piece in [key for key in self.pieces if key[0] == pk and key[1] not in kept]:
            del self.pieces[piece]

    def _delete(self, pk: int) -> None:
        self.mine.discard(pk)
        self._forget(pk)
        self._take_back_the_end(pk)
        del self.instances[pk], self.tags[pk]


def _owned(row: dict[str, Any]) -> bool:
    return row["status"] == "running" and row["due_at"] is None


def _contradicted(row: dict[str, Any]) -> bool:
    return row["error"] is not None and error_info(row["error"]).code == NonDeterminismError.code


def _earlier(due_at: int | None, now: int) -> int:
    return now if due_at is None else min(due_at, now)


def _moved(row: dict[str, Any], to: InstanceChange) -> bool:
    """Move an instance to where its owner says it is: unless it ended, or another verb had its say meanwhile."""
    before = row["status"]
    if before in ENDED or (to.ended_at is None and before not in ("running", "waiting", "waitingForPause")):
        return False
    row.update(output=to.output, error=to.error, ended_at=to.ended_at, rollback=to.rollback)
    if before == "waitingForPause":
        after = {"waiting": "paused", "running": "waitingForPause"}.get(to.status, to.status)
        row.update(status=after, due_at=None)
    elif to.status != "paused":
        row.update(status=to.status, due_at=to.due_at)
    return True


def _line(row: dict[str, Any]) -> InstanceRecord:
    return InstanceRecord(**{**row, "rollback": None, "params": None, "output": None, "error": None})
