"""Sleeps and waits for events: calls whose end comes from outside."""

from __future__ import annotations

from typing import Any, ClassVar

from everstep.core.durations import format_duration
from everstep.core.errors import WorkflowTimeoutError
from everstep.core.journal import Kind, StepRecord
from everstep.core.limits import VALUE_BYTES, WAIT_MS
from everstep.core.policy import transitions
from everstep.core.serialization import codec
from everstep.core.serialization.stored_error import decode_error, encode_error
from everstep.core.suggest import nearest
from everstep.core.timestamps import utc
from everstep.core.types import StepEvent
from everstep.engine.execution.calls import Call
from everstep.engine.execution.execution import Execution
from everstep.engine.execution.open_waits import Wait
from everstep.store.protocol import EventRecord
from everstep.telemetry import events

_EVENT_BYTES = VALUE_BYTES + 1024
"""An event's payload was within the limit when it was sent; this leaves room for its envelope."""


class SleepCall(Call):
    """A call of `step.sleep` or `step.sleep_until`: `amount` is how long, or until when, in milliseconds."""

    kind: ClassVar[Kind] = "sleep"

    def __init__(self, execution: Execution, name: str, amount: int, *, absolute: bool) -> None:
        super().__init__(execution, name)
        self._amount = amount
        self._absolute = absolute
        self._wait: Wait | None = None

    def begin(self) -> None:
        execution = self.execution
        record = self.begin_row(execution.host.clock.now())
        begin_sleep(execution, record, self._amount, absolute=self._absolute)

    def start(self, crashes: int) -> None:
        execution, record = self.execution, self.record
        assert record is not None
        if (record.wake_at or 0) <= execution.host.clock.now() and self._absolute:
            self._elapsed()
            return
        self._wait = Wait(record.wake_at or 0, self._elapsed, record)
        execution.own_waits().add(self._wait)
        execution.journal.flush_soon()

    def stop(self) -> None:
        if self._wait is not None:
            self.execution.waits.close(self._wait)

    def value(self) -> None:
        return None

    def _elapsed(self) -> None:
        execution, record = self.execution, self.record
        assert record is not None
        transitions.complete(record, execution.host.clock.now())
        execution.journal.settle(record, alone=False)


def begin_sleep(execution: Execution, record: StepRecord, amount: int, *, absolute: bool) -> None:
    """Fix when a sleep ends."""
    record.is_absolute = absolute
    transitions.wait(record, amount if absolute else _begins_at(execution) + amount)
    if execution.host.telemetry.listening:
        execution.emit(events.SleepStarted, record, wake_at=record.wake_at)


def _begins_at(execution: Execution) -> int:
    """When a sleep or a wait that begins now is taken to begin: a pause moves timers from when it was asked for."""
    return execution.host.clock.now() if execution.pause.since is None else execution.pause.since


def check_moment(name: str, wake_at: int, now: int) -> None:
    """Raise ValueError for a moment that is too far away."""
    if wake_at - now > WAIT_MS:
        raise ValueError(f"sleep_until {name!r} must be at most 365 days ahead, got {utc(wake_at).isoformat()}")


class EventCall(Call):
    """A call of `step.wait_for_event`."""

    kind: ClassVar[Kind] = "wait"
    counts = True

    def __init__(self, execution: Execution, name: str, type: str, timeout_ms: int, payload: Any) -> None:
        super().__init__(execution, name)
        self._type = type
        self._timeout_ms = timeout_ms
        self._payload = payload
        self._wait: Wait | None = None
        self._event: EventRecord | None = None

    def difference(self, record: StepRecord) -> str | None:
        if record.event_type == self._type:
            return None
        return (
            f"the code waits in {self.name!r} for events of type {self._type!r}, where its history waits for "
            f"{record.event_type!r}"
        )

    def begin(self) -> None:
        execution = self.execution
        record = self.begin_row(execution.host.clock.now())
        begin_wait(execution, record, self._type, self._timeout_ms)

    def start(self, crashes: int) -> None:
        execution, record = self.execution, self.record
        assert record is not None
        self._wait = Wait(record.wake_at or 0, self._timed_out, record, event_type=self._type, on_event=self._received)
        execution.own_waits().add(self._wait)
        execution.journal.flush_soon()

    def stop(self) -> None:
        if self._wait is not None:
            self.execution.waits.close(self._wait)

    def value(self) -> StepEvent[Any]:
        assert self.record is not None
        return received(self.record, self._payload)

    def discard(self) -> None:
        execution, record = self.execution, self.record
        if record is None or record.state != "complete":
            return
        event = event_of(record)
        if event is not None and event.id:
            execution.journal.restore(event)
            execution.waits.inbox.put_back(event)
        transitions.cancel(record, execution.host.clock.now(), self.cancelled_after)
        record.result = record.settlement = record.sent_after = None
        execution.journal.record_soon(record)

    def _received(self, event: EventRecord) -> None:
        execution, record = self.execution, self.record
        assert record is not None
        consume(execution, record, event)
        execution.journal.settle(record, consumed=(event.id,), alone=False)

    def _timed_out(self) -> None:
        assert self.record is not None
        time_out(self.execution, self.record)
        self.execution.journal.settle(self.record, alone=False)


def begin_wait(execution: Execution, record: StepRecord, type: str, timeout_ms: int) -> None:
    """Fix what a wait waits for, and until when."""
    record.event_type = type
    transitions.wait(record, _begins_at(execution) + timeout_ms)
    if execution.host.telemetry.listening:
        execution.emit(events.WaitStarted, record, type=type, timeout_at=record.wake_at)


def consume(execution: Execution, record: StepRecord, event: EventRecord) -> None:
    """End a wait with its event."""
    payload = codec.decode(event.payload) if event.payload else None
    sent = {"payload": payload, "timestamp": event.created_at, "id": event.id}
    text, _ = codec.encode(sent, where=f"the event of step {record.name!r}", limit_bytes=_EVENT_BYTES)
    transitions.complete(record, execution.host.clock.now(), text)
    if execution.host.telemetry.listening:
        execution.emit(events.WaitEnded, record, type=record.event_type or "", timed_out=False)


def time_out(execution: Execution, record: StepRecord) -> None:
    """End a wait without an event."""
    now = execution.host.clock.now()
    waited = format_duration(now - record.started_at)
    untaken = sorted({event.type for event in execution.waits.inbox.waiting()})
    near = nearest(record.event_type or "", untaken)
    hint = f"; an event {near!r} came that nothing waited for: is that its type?" if near else ""
    error = WorkflowTimeoutError(f"no event {record.event_type!r} came for step {record.name!r} in {waited}{hint}")
    wake_at = record.wake_at
    transitions.fail(record, now, encode_error(error))
    record.wake_at = wake_at
    if execution.host.telemetry.listening:
        execution.emit(events.WaitEnded, record, type=record.event_type or "", timed_out=True)


def received(record: StepRecord, payload: Any) -> StepEvent[Any]:
    """Return the event that ended a wait, or raise its error."""
    if record.error is not None:
        raise decode_error(record.error)
    sent = codec.decode(record.result or "null", where=f"the event of step {record.name!r}")
    value = sent["payload"]
    if payload is not None:
        value = codec.coerce(value, payload, where=f"the event {record.event_type!r} of step {record.name!r}")
    return StepEvent(value, utc(sent["timestamp"]), record.event_type or "")


def event_of(record: StepRecord) -> EventRecord | None:
    """Rebuild the event that a wait consumed."""
    sent = codec.decode(record.result or "null")
    if not isinstance(sent, dict) or "id" not in sent:
        return None
    text = None if sent["payload"] is None else codec.encode(sent["payload"], where="an event")[0]
    return EventRecord(sent["id"], record.event_type or "", text, sent["timestamp"])
