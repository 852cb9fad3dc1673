"""What every store must do, written with plain dicts: the reference the real ones are compared with.

Keeps nothing on disk and knows nothing of groups; each verb takes effect when it is called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from msgspec import structs

from everstep.core.errors import (
    InstanceExistsError,
    InstanceNotFoundError,
    InstanceStateError,
    NonDeterminismError,
    StoreError,
)
from everstep.core.journal import AttemptRecord, StepRecord
from everstep.core.stored_error import error_info
from everstep.store.protocol import (
    Change,
    Claim,
    Claimed,
    EventRecord,
    InstanceChange,
    InstanceRecord,
    NewInstance,
    SentEvent,
    Transition,
)

ENDED = ("complete", "errored", "terminated")
OPEN = ("running", "retrying", "waiting")
CHANGES_OF_A_STEP = ("state", "attempt", "attempt_at", "ended_at", "wake_at", "result", "error")


class ModelStore:
    """A `Store` that is a handful of dicts."""

    def __init__(self) -> None:
        self.instances: dict[int, dict[str, Any]] = {}
        self.step_rows: dict[tuple[int, int], StepRecord] = {}
        self.attempt_rows: dict[tuple[int, int, int], AttemptRecord] = {}
        self.events: dict[int, tuple[int, EventRecord]] = {}
        self.last_event = 0
        self.is_open = False

    async def open(self) -> None:
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False

    async def recover(self, *, now: int) -> int:
        recovered = 0
        for pk, row in self.instances.items():
            if row["status"] == "waitingForPause":
                row["status"] = "paused"
            elif _owned(row):
                position = sum(
                    2 * step.attempt + 1 + (step.state == "retrying") + 2 * (step.ended_at is not None)
                    for step in self._steps_of(pk)
                )
                row["recoveries"] = row["recoveries"] + 1 if row["recovered_position"] == position else 1
                row["recovered_position"] = position
                row["due_at"] = now
                recovered += 1
        return recovered

    async def release(self, *, now: int) -> None:
        for row in self.instances.values():
            if _owned(row):
                row["due_at"] = now

    async def create(self, new: NewInstance) -> int:
        if self._pk_of(new.workflow, new.id) is not None:
            raise InstanceExistsError(new.id)
        pk = len(self.instances) + 1
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
            "recovered_position": -1,
            "trigger": new.trigger,
            "version": new.version,
            "params": new.params,
            "output": None,
            "error": None,
        }
        return pk

    def write(self, change: Change) -> asyncio.Future[None]:
        if not self.is_open:
            raise StoreError("the store is not open")
        for step in change.steps:
            key = (change.pk, step.seq)
            known = self.step_rows.get(key)
            changed = {name: getattr(step, name) for name in CHANGES_OF_A_STEP}
            self.step_rows[key] = structs.replace(step if known is None else known, **changed)
        for attempt in change.attempts:
            self.attempt_rows[change.pk, attempt.seq, attempt.attempt] = structs.replace(attempt)
        for event in change.consumed:
            self.events.pop(event, None)
        row = self.instances.get(change.pk)
        if change.instance is not None and row is not None:
            _move(row, change.instance)
            if change.instance.status == row["status"] == "waiting" and self._hears_something(change.pk):
                row["due_at"] = 0
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        written.set_result(None)
        return written

    async def claim(self, workflows: Sequence[str], *, now: int, limit: int) -> Claim:
        due = sorted(
            (row["due_at"], pk)
            for pk, row in self.instances.items()
            if row["workflow"] in workflows and row["due_at"] is not None
        )
        claimed = []
        for due_at, pk in due[:limit]:
            if due_at > now:
                break
            row = self.instances[pk]
            started_at = now if row["started_at"] is None else row["started_at"]
            row.update(status="running", due_at=None, started_at=started_at)
            claimed.append(Claimed(InstanceRecord(**row), self._steps_of(pk), self._events_of(pk)))
        left = due[len(claimed) :]
        return Claim(claimed, left[0][0] if left else None)

    async def send_event(self, workflow: str, id: str, *, type: str, payload: str | None, now: int) -> SentEvent:
        row = self._live(workflow, id, "instance.cannot_receive")
        self.last_event += 1
        event = EventRecord(self.last_event, type, payload, now)
        self.events[event.id] = (row["pk"], event)
        woken = row["status"] == "waiting" and type in self._awaited(row["pk"])
        if woken:
            row["due_at"] = _earlier(row["due_at"], now)
        return SentEvent(row["pk"], event, woken)

    async def pause(self, workflow: str, id: str, *, now: int) -> Transition:
        row = self._live(workflow, id, "instance.cannot_pause")
        before = row["status"]
        if before in ("queued", "running", "waiting"):
            row.update(status="waitingForPause" if _owned(row) else "paused", due_at=None, paused_at=now)
        return Transition(row["pk"], before, row["status"])

    async def resume(self, workflow: str, id: str, *, now: int) -> Transition:
        row = self._existing(workflow, id)
        if not _contradicted(row):
            self._live(workflow, id, "instance.cannot_resume")
        before, paused_at = row["status"], row["paused_at"]
        if before in ("paused", "waitingForPause", "errored"):
            for step in self._open_steps(row["pk"]) if paused_at is not None and before != "errored" else ():
                if step.wake_at is not None and step.wake_at > paused_at and not step.absolute:
                    step.wake_at += max(0, now - paused_at)
            promised = before == "waitingForPause"
            row.update(status="running" if promised else "queued", due_at=None if promised else now)
            row.update(dict.fromkeys(("paused_at", "ended_at", "error")))
        return Transition(row["pk"], before, row["status"])

    async def terminate(self, workflow: str, id: str, *, now: int) -> Transition:
        row = self._live(workflow, id, "instance.cannot_terminate")
        before = row["status"]
        row.update(status="terminated", due_at=None, ended_at=now)
        for step in self._open_steps(row["pk"]):
            step.state, step.ended_at = "cancelled", now
        return Transition(row["pk"], before, "terminated")

    async def restart(self, workflow: str, id: str, *, now: int, version: str | None) -> Transition:
        row = self._existing(workflow, id)
        pk, before = row["pk"], row["status"]
        self.step_rows = {key: step for key, step in self.step_rows.items() if key[0] != pk}
        self.attempt_rows = {key: attempt for key, attempt in self.attempt_rows.items() if key[0] != pk}
        self.events = {key: sent for key, sent in self.events.items() if sent[0] != pk}
        row.update(status="queued", due_at=now, version=version, recoveries=0, recovered_position=-1)
        row.update(dict.fromkeys(("started_at", "ended_at", "paused_at", "output", "error")))
        return Transition(pk, before, "queued")

    async def find(self, workflow: str, id: str) -> InstanceRecord | None:
        pk = self._pk_of(workflow, id)
        return None if pk is None else InstanceRecord(**self.instances[pk])

    async def page(self, workflow: str, *, status: str | None, limit: int, cursor: int | None) -> list[InstanceRecord]:
        rows = [
            InstanceRecord(**row)
            for pk, row in sorted(self.instances.items(), reverse=True)
            if row["workflow"] == workflow
            and (status is None or row["status"] == status)
            and (cursor is None or pk < cursor)
        ]
        return rows[:limit]

    async def counts(self) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {}
        for row in self.instances.values():
            of_workflow = counts.setdefault(row["workflow"], {})
            of_workflow[row["status"]] = of_workflow.get(row["status"], 0) + 1
        return counts

    async def unclaimable(self, workflows: Sequence[str]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for row in self.instances.values():
            if row["due_at"] is not None and row["workflow"] not in workflows:
                counts[row["workflow"]] = counts.get(row["workflow"], 0) + 1
        return counts

    async def steps(self, pk: int) -> list[StepRecord]:
        return self._steps_of(pk)

    async def attempts(self, pk: int) -> list[AttemptRecord]:
        return [attempt for key, attempt in sorted(self.attempt_rows.items()) if key[0] == pk]

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

    def _steps_of(self, pk: int) -> list[StepRecord]:
        return [structs.replace(step) for key, step in sorted(self.step_rows.items()) if key[0] == pk]

    def _open_steps(self, pk: int) -> list[StepRecord]:
        return [step for key, step in self.step_rows.items() if key[0] == pk and step.state in OPEN]

    def _events_of(self, pk: int) -> list[EventRecord]:
        return [event for _, (owner, event) in sorted(self.events.items()) if owner == pk]

    def _awaited(self, pk: int) -> set[str | None]:
        return {step.event_type for step in self._open_steps(pk) if step.kind == "wait"}

    def _hears_something(self, pk: int) -> bool:
        return any(event.type in self._awaited(pk) for event in self._events_of(pk))


def _owned(row: dict[str, Any]) -> bool:
    return row["status"] == "running" and row["due_at"] is None


def _contradicted(row: dict[str, Any]) -> bool:
    return row["error"] is not None and error_info(row["error"]).code == NonDeterminismError.code


def _earlier(due_at: int | None, now: int) -> int:
    return now if due_at is None else min(due_at, now)


def _move(row: dict[str, Any], to: InstanceChange) -> None:
    """Move an instance to where its owner says it is: unless it ended, or another verb had its say meanwhile."""
    before = row["status"]
    if before in ENDED or (to.ended_at is None and before not in ("running", "waiting", "waitingForPause")):
        return
    row.update(output=to.output, error=to.error, ended_at=to.ended_at)
    if before == "waitingForPause":
        after = {"waiting": "paused", "running": "waitingForPause"}.get(to.status, to.status)
        row.update(status=after, due_at=None)
    elif to.status != "paused":
        row.update(status=to.status, due_at=to.due_at)
