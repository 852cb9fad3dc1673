"""Events as readable lines, one each, for the terminal of `everstep dev`."""

from __future__ import annotations

from datetime import UTC, datetime

from everstep.core.durations import format_duration
from everstep.telemetry import events as happened


def describe(event: happened.Event) -> str | None:
    """Write what happened, or None for events not worth a line.

    Example:
        >>> describe(happened.EventSent(workflow="order", instance_id="o-1", at=0, type="order.approval"))
        'order/o-1  event order.approval received'
    """
    text = _text(event)
    if text is None:
        return None
    step = f"  {_step_name(event)}" if isinstance(event, happened.StepProgress) else ""
    return f"{event.workflow}/{event.instance_id}{step}  {text}"


def _text(event: happened.Event) -> str | None:  # one line per kind of event
    match event:
        case happened.InstanceCreated():
            return "created"
        case happened.InstanceStarted(replayed=replayed, recovered=recovered):
            return _started_text(replayed, recovered)
        case happened.InstancePaused():
            return "paused"
        case happened.InstanceResumed():
            return "resumed"
        case happened.InstanceRestarted():
            return "restarted from the beginning"
        case happened.InstanceEnded(status=status, elapsed_ms=elapsed_ms, error=error):
            why = f": {error.name}: {error.message}" if error else ""
            return f"{status} after {format_duration(elapsed_ms)}{why}"
        case happened.EventSent(type=type):
            return f"event {type} received"
        case _:
            return _step_text(event)


def _step_text(event: happened.Event) -> str | None:
    match event:
        case happened.AttemptStarted(attempt=attempt, allowed=allowed):
            return f"attempt {attempt}/{allowed}"
        case happened.AttemptFailed(attempt=attempt, allowed=allowed, error=error, retry_at=retry_at):
            then = "no attempt left" if retry_at is None else f"retry in {format_duration(retry_at - event.at)}"
            return f"attempt {attempt}/{allowed} failed: {error.name}: {error.message} · {then}"
        case happened.StepCompleted(attempt=attempt, took_ms=took_ms):
            tries = f" on attempt {attempt}" if attempt > 1 else ""
            return f"done in {format_duration(took_ms)}{tries}"
        case happened.SleepStarted(wake_at=wake_at):
            return f"sleeps until {_clock_time(wake_at)} ({format_duration(wake_at - event.at)})"
        case happened.WaitStarted(type=type, times_out_at=times_out_at):
            return f"waits for event {type}, at most {format_duration(times_out_at - event.at)}"
        case happened.WaitEnded(type=type, timed_out=timed_out):
            return f"no event {type} came in time" if timed_out else f"took event {type}"
        case _:
            return None


def _started_text(replayed: int, recovered: int) -> str | None:
    if recovered:
        return f"recovered after a crash with {replayed} steps behind it"
    return None if replayed else "started"


def _step_name(event: happened.StepProgress) -> str:
    return event.step if event.count == 1 else f"{event.step} #{event.count}"


def _clock_time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
