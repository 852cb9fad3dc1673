"""Events as readable lines, one each, for the terminal of `everstep dev`."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import UNSET

from everstep.core.durations import format_duration
from everstep.core.types import ErrorInfo
from everstep.telemetry import events


def describe(event: events.Event) -> str | None:
    """Write what happened, or None for events not worth a line.

    Example:
        >>> describe(events.EventSent(workflow="order", instance_id="o-1", at=0, type="order.approval"))
        'order/o-1  event order.approval received'
    """
    text = _text(event)
    if text is None:
        return None
    step = f"  {_step_name(event)}" if isinstance(event, events.StepProgress) else ""
    return f"{event.workflow}/{event.instance_id}{step}  {text}"


def _text(event: events.Event) -> str | None:  # one line per kind of event
    match event:
        case events.InstanceCreated():
            return "created"
        case events.InstanceStarted(replayed=replayed, recovered=recovered):
            return _started_text(replayed, recovered)
        case events.InstancePaused():
            return "paused"
        case events.InstanceResumed():
            return "resumed"
        case events.InstanceRestarted():
            return "restarted from the beginning"
        case events.InstanceEnded(status=status, elapsed_ms=elapsed_ms, error=error):
            why = f": {_error_text(error)}" if error else ""
            return f"{status} after {format_duration(elapsed_ms)}{why}"
        case events.EventSent(type=type):
            return f"event {type} received"
        case _:
            return _step_text(event)


def _step_text(event: events.Event) -> str | None:
    match event:
        case events.AttemptStarted(attempt=attempt, max_attempts=max_attempts):
            return f"attempt {attempt}/{max_attempts}"
        case events.AttemptFailed(attempt=attempt, max_attempts=max_attempts, error=error, retry_at=retry_at):
            then = "no attempt left" if retry_at is None else f"retry in {format_duration(retry_at - event.at)}"
            return f"attempt {attempt}/{max_attempts} failed: {_error_text(error)} · {then}"
        case events.StepCompleted(attempt=attempt, duration_ms=duration_ms):
            tries = f" on attempt {attempt}" if attempt > 1 else ""
            return f"done in {format_duration(duration_ms)}{tries}"
        case events.SleepStarted(wake_at=wake_at):
            return f"sleeps until {_clock_time(wake_at)} ({format_duration(wake_at - event.at)})"
        case events.WaitStarted(type=type, timeout_at=timeout_at):
            return f"waits for event {type}, at most {format_duration(timeout_at - event.at)}"
        case events.WaitEnded(type=type, timed_out=timed_out):
            return f"no event {type} came in time" if timed_out else f"took event {type}"
        case _:
            return None


def _error_text(error: ErrorInfo) -> str:
    text = f"{error.name}: {error.message}"
    return text if error.origin is UNSET else f"{text} ({' · '.join(str(error.origin).splitlines())})"


def _started_text(replayed: int, recovered: int) -> str | None:
    if recovered:
        return f"recovered after a crash with {replayed} steps behind it"
    return None if replayed else "started"


def _step_name(event: events.StepProgress) -> str:
    return event.step if event.count == 1 else f"{event.step} #{event.count}"


def _clock_time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
