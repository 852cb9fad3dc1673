"""Sleeps and waits for events: steps whose end comes from outside. How a run waits is in `execution.py`."""

from __future__ import annotations

from typing import Any

from everstep.core import codec
from everstep.core.durations import format_duration
from everstep.core.errors import WorkflowTimeoutError
from everstep.core.journal import StepRecord
from everstep.core.limits import VALUE_BYTES, WAIT_MS
from everstep.core.stored_error import decode_error, encode_error
from everstep.core.timestamps import utc
from everstep.core.types import StepEvent
from everstep.engine.execution.execution import Execution
from everstep.engine.steps import recorded_values
from everstep.engine.steps.determinism import check_limits, check_new
from everstep.store.protocol import EventRecord
from everstep.telemetry import events


async def sleep(run: Execution, name: str, duration_ms: int) -> None:
    """Sleep for a while, from the moment the sleep first began."""
    await _sleep(run, name, duration_ms, absolute=False)


async def sleep_until(run: Execution, name: str, wake_at: int) -> None:
    """Sleep until a moment."""
    if wake_at - run.host.clock.now() > WAIT_MS:
        raise ValueError(f"sleep_until {name!r} must be at most 365 days ahead, got {utc(wake_at).isoformat()}")
    await _sleep(run, name, wake_at, absolute=True)


async def _sleep(run: Execution, name: str, amount: int, *, absolute: bool) -> None:
    clock = run.host.clock
    run.check_alive()
    record = run.journal.find("sleep", name)
    if record is not None and record.final:
        recorded_values.asked(record)
        return
    run.enter()
    if record is None:
        await check_new(run, "step.sleep", name)
        await run.gate()
        record = run.journal.begin("sleep", name, clock.now())
        record.state, record.absolute = "waiting", absolute
        record.wake_at = amount if absolute else clock.now() + amount
        if run.host.telemetry.listening:
            run.tell(events.SleepStarted, record, wake_at=record.wake_at)
        if record.wake_at > clock.now():
            run.write_soon(record)
    run.unseen_cuts.slept(record, recorded_values.last_asked())
    recorded_values.asked(record)
    await run.gate()
    if (record.wake_at or 0) > clock.now():
        await run.wait(record, record.wake_at or 0)
    record.state, record.ended_at = "complete", clock.now()
    run.write_soon(record)


async def wait_for_event(run: Execution, name: str, type: str, timeout_ms: int, payload: Any) -> StepEvent[Any]:
    """Wait for an event of a type, or for the timeout."""
    clock = run.host.clock
    run.check_alive()
    record = run.journal.find("wait", name)
    if record is not None and record.final:
        recorded_values.asked(record)
        return _received(record, payload)
    run.enter()
    event = None
    if record is None:
        await check_limits(run, name)
        await check_new(run, "step.wait_for_event", name)
        await run.gate()
        record = run.journal.begin("wait", name, clock.now())
        record.state, record.event_type, record.wake_at = "waiting", type, clock.now() + timeout_ms
        if run.host.telemetry.listening:
            run.tell(events.WaitStarted, record, type=type, times_out_at=record.wake_at)
        event = _take(run, record)
        if event is None:
            run.write_soon(record)
    else:
        await run.gate()
        event = _take(run, record)
    recorded_values.asked(record)
    if event is None:
        event = await run.wait(record, record.wake_at or 0, type)
    record.ended_at = clock.now()
    if event is None:
        return await _timed_out(run, record)
    sent = {"payload": codec.decode(event.payload) if event.payload else None, "timestamp": event.created_at}
    record.state = "complete"
    record.result, _ = codec.encode(sent, where=f"the event of step {name!r}", limit_bytes=_EVENT_BYTES)
    await run.write(record, consumed=(event.id,))
    if run.host.telemetry.listening:
        run.tell(events.WaitEnded, record, type=type, timed_out=False)
    return _received(record, payload)


def _take(run: Execution, record: StepRecord) -> EventRecord | None:
    """Take an early event, unless a wait of the same type that began earlier is open: then the run hands it out."""
    type = record.event_type or ""
    if any(step.event_type == type and step.seq < record.seq for step in run.stored_open.values()):
        return None
    return run.inbox.take(type)


async def _timed_out(run: Execution, record: StepRecord) -> StepEvent[Any]:
    waited = format_duration((record.ended_at or 0) - record.started_at)
    error = WorkflowTimeoutError(f"no event {record.event_type!r} came for step {record.name!r} in {waited}")
    record.state, record.error = "errored", encode_error(error)
    await run.write(record)
    if run.host.telemetry.listening:
        run.tell(events.WaitEnded, record, type=record.event_type or "", timed_out=True)
    raise decode_error(record.error)


def _received(record: StepRecord, payload: Any) -> StepEvent[Any]:
    if record.error is not None:
        raise decode_error(record.error)
    sent = codec.decode(record.result or "null", where=f"the event of step {record.name!r}")
    value = sent["payload"]
    if payload is not None:
        value = codec.restore(value, payload, where=f"the event {record.event_type!r} of step {record.name!r}")
    return StepEvent(value, utc(sent["timestamp"]), record.event_type or "")


_EVENT_BYTES = VALUE_BYTES + 1024
"""An event's payload was within the limit when it was sent; this leaves room for its envelope."""
