"""Looks at the disk after every commit, and at everything whenever it is at rest, and says what must never be."""

from __future__ import annotations

from collections import Counter

import msgspec

from everstep.core.types import TERMINAL
from everstep.engine.engine import Engine

from .store import Disk

_OPEN = ("running", "retrying", "waiting")


class ViolationError(AssertionError):
    """Something that must never be."""


class _Row(msgspec.Struct):
    pk: int
    id: str
    status: str
    due_at: int | None
    ended_at: int | None
    output: str | None
    error: str | None
    rollback: str | None


class _Step(msgspec.Struct):
    instance: int
    seq: int
    kind: str
    name: str
    state: str
    attempt: int
    wake_at: int | None
    event_type: str | None
    child: str | None
    result: str | None
    error: str | None


class Witness:
    """Remembers what was final and whose events were taken, and complains when that changes."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._final: dict[tuple[int, int], _Step] = {}
        self._ended: dict[int, _Row] = {}
        self._ids: dict[int, str] = {}
        self._taken: dict[str, tuple[int, str]] = {}
        self.begun: Counter[tuple[str, str]] = Counter()
        self._under_way: set[tuple[str, str]] = set()

    # What is on the disk

    def instances(self) -> list[_Row]:
        rows = self._disk.rows("select pk, id, status, due_at, ended_at, output, error, rollback from instance")
        return [_Row(*row) for row in rows]

    def steps(self) -> list[_Step]:
        columns = "instance, seq, kind, name, state, attempt, wake_at, event_type, child, result, error"
        return [_Step(*row) for row in self._disk.rows(f"select {columns} from step order by instance, seq")]

    # After each commit

    def look(self, asked: list[str], now: int) -> None:
        """Check what a commit changed, and what it left."""
        instances, steps = self.instances(), self.steps()
        self._forget({pk for pk, id in self._ids.items() if f"delete {id}" in asked})
        self._ids = {one.pk: one.id for one in instances}
        restarted = {one.pk for one in instances if f"restart {one.id}" in asked}
        self._forget(restarted)
        self._finals_stay(steps)
        self._ends_stay(instances)
        self._events_are_taken_once(steps)
        by_instance: dict[int, list[_Step]] = {}
        for step in steps:
            if step.state in _OPEN:
                by_instance.setdefault(step.instance, []).append(step)
        for one in instances:
            self._will_be_found(one, by_instance.get(one.pk, []), instances, now)
            if one.error is not None and "NonDeterminism" in one.error:
                raise ViolationError(f"{one.id} contradicts itself, though its code never changed: {one.error}")

    def _forget(self, restarted: set[int]) -> None:
        self._final = {key: step for key, step in self._final.items() if key[0] not in restarted}
        self._ended = {pk: row for pk, row in self._ended.items() if pk not in restarted}

    def _finals_stay(self, steps: list[_Step]) -> None:
        now_there = {(step.instance, step.seq): step for step in steps}
        for key, final in self._final.items():
            if now_there.get(key) != final:
                raise ViolationError(f"a step that had ended changed:\n{final}\n{now_there.get(key)}")
        self._final = {key: step for key, step in now_there.items() if step.state in {"complete", "errored"}}

    def _ends_stay(self, instances: list[_Row]) -> None:
        now_there = {one.pk: one for one in instances}
        for pk, ended in self._ended.items():
            if now_there.get(pk) != ended:
                raise ViolationError(f"an instance that had ended moved:\n{ended}\n{now_there.get(pk)}")
        self._ended = {one.pk: one for one in instances if one.status in TERMINAL}
        for one in instances:
            if (one.ended_at is not None) != (one.status in TERMINAL):
                raise ViolationError(f"half ended: {one}")

    def _events_are_taken_once(self, steps: list[_Step]) -> None:
        for step in steps:
            if step.kind == "wait" and step.state == "complete" and step.result is not None:
                number = msgspec.json.decode(step.result)["payload"]
                taker = (step.instance, step.name)
                if self._taken.setdefault(number, taker) != taker:
                    raise ViolationError(f"event {number} was taken by {self._taken[number]} and by {taker}")
        unread = self._disk.rows("select payload from event")
        for (payload,) in unread:
            if msgspec.json.decode(payload) in self._taken:
                raise ViolationError(f"event {payload} was taken and is still there")

    def _will_be_found(self, one: _Row, steps: list[_Step], instances: list[_Row], now: int) -> None:
        """Whatever goes on by itself has a due time, and one that is early enough for everything it waits for."""
        if one.status == "queued" and one.due_at is None:
            raise ViolationError(f"queued, and nobody will find it: {one}")
        if one.status != "waiting":
            return
        if undoing := [step for step in steps if step.kind == "rollback"]:
            steps = undoing
        dues = [step.wake_at for step in steps if step.wake_at is not None]
        heard = self._disk.rows("select type from event where instance = ?", one.pk)
        if {type for (type,) in heard} & {step.event_type for step in steps if step.kind == "wait"}:
            dues.append(now)
        ended = {f"told/{other.id}" for other in instances if other.status in TERMINAL}
        children = [step for step in steps if step.kind == "child"]
        if any(step.child in ended for step in children):
            dues.append(now)
        if one.due_at is None and (dues or not children):
            raise ViolationError(f"waiting, and nobody will find it: {one} {steps}")
        if dues and one.due_at is not None and one.due_at > max(now, min(dues)):
            raise ViolationError(f"due too late: {one} {steps}")

    # What programs do (Effects)

    def began(self, instance: str, step: str, attempt: int) -> None:
        """Check that a step may run: it has not ended, and does not run beside itself."""
        kind, name = ("rollback", step.removeprefix("undo ")) if step.startswith("undo ") else ("do", step)
        rows = self._disk.rows(
            "select s.state from step as s join instance as i on i.pk = s.instance "
            "where i.id = ? and s.kind = ? and s.name = ?",
            instance,
            kind,
            name,
        )
        if rows and rows[0][0] in {"complete", "errored"}:
            raise ViolationError(f"{step} of {instance} runs again")
        if (instance, step) in self._under_way:
            raise ViolationError(f"{step} of {instance} runs beside itself")
        self._under_way.add((instance, step))
        self.begun[instance, step] += 1

    def ended(self, instance: str, step: str) -> None:
        self._under_way.discard((instance, step))

    # When nothing is ready and nothing is being written

    def look_around(self, engine: Engine) -> None:
        """Check that what is owned is in memory, and that memory and disk say the same."""
        for one in self.instances():
            run = engine.cache.get(one.pk)
            owned = one.status in {"running", "waitingForPause"} and one.due_at is None
            if owned and run is None and not engine.cache.is_barred(one.pk):  # else a restart, say, is under way
                raise ViolationError(f"at work, and nobody is at it: {one}")
            if run is not None and run.waits.parked and one.status != "waiting":
                raise ViolationError(f"parked in memory, and its row says otherwise: {one}")
            if run is not None and one.status in TERMINAL:
                raise ViolationError(f"ended, and still in memory: {one}")
            due = (
                one.due_at is not None and one.due_at <= engine.clock.now()
            )  # it will be claimed, and finds itself there
            if run is not None and not run.waits.parked and one.status in {"waiting", "paused"} and not due:
                raise ViolationError(f"at work in memory, and its row says otherwise: {one}")
