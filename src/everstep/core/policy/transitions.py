"""How a step's row changes with what was decided of it: the only place that moves a step from state to state."""

from __future__ import annotations

from everstep.core.journal import AttemptRecord, StepRecord
from everstep.core.limits import STOPS_IN_A_ROW


def begin_attempt(record: StepRecord, now: int) -> None:
    """Count another attempt, which begins now."""
    record.attempt += 1
    record.attempt_at = now
    record.state, record.wake_at = "running", None


def complete(record: StepRecord, now: int, result: str | None = None) -> None:
    """End a step, a sleep, a wait or a timer as complete."""
    record.state, record.ended_at = "complete", now
    if result is not None:
        record.result = result


def fail(record: StepRecord, now: int, error: str) -> None:
    """End a step with its error, for good."""
    record.state, record.error, record.ended_at, record.wake_at = "errored", error, now, None
    record.result = None


def retry(record: StepRecord, due: int, attempt: int | None = None) -> None:
    """Have a step attempted again, not before `due`; `attempt` attempts are behind it then."""
    record.state, record.wake_at = "retrying", due
    if attempt is not None:
        record.attempt = attempt


def cancel_uncounted(record: StepRecord, times: int) -> None:
    """Make an attempt that a stop interrupted again, uncounted; `times` counts the stops in a row that did so.

    It is due before it began, by a millisecond for each of them: so the next life can tell (`times_given_back`).
    """
    assert record.attempt_at is not None
    retry(record, record.attempt_at - times, attempt=record.attempt - 1)


def uncounted_stops(record: StepRecord) -> int:
    """Return how many stops in a row have interrupted the attempt that a step is to make next."""
    if record.state != "retrying" or record.attempt_at is None or record.wake_at is None:
        return 0
    times = record.attempt_at - record.wake_at
    return times if 0 < times <= STOPS_IN_A_ROW else 0  # a clock that was set back meanwhile says nothing


def wait(record: StepRecord, due: int | None) -> None:
    """Have a sleep, a wait, a child or a timer wait until `due`."""
    record.state, record.wake_at = "waiting", due


def cancel(record: StepRecord, now: int, after: int | None = None) -> None:
    """End a step that its code, or its instance's end, cancelled; `after` is the last settlement the code had heard."""
    record.state, record.ended_at = "cancelled", now
    if after is not None:
        record.cancelled_after = after


def restart(record: StepRecord) -> None:
    """Let a step inside a step begin anew with another attempt of the outer one."""
    record.state, record.attempt, record.ended_at, record.error, record.wake_at = "running", 0, None, None, None


def failed_attempt(record: StepRecord, now: int, error: str, retry_at: int | None) -> AttemptRecord:
    """Describe the latest attempt, which failed just now."""
    return AttemptRecord(record.seq, record.attempt, record.attempt_at or now, now, error, retry_at)
