"""One step executed: attempted until it ends, each failure recorded before anything follows from it.

Which step it is was decided before (`step_runner.py`); how a function is called is in `attempt.py`.
"""

from __future__ import annotations

import asyncio
import logging
from types import CoroutineType
from typing import Any

import msgspec

from everstep.core.errors import (
    AttemptInterruptedError,
    InstanceLostError,
    LeaseLostError,
    NotSerializableError,
    Suspended,
)
from everstep.core.journal import AttemptRecord
from everstep.core.policy import retry_decision, transitions
from everstep.core.serialization import codec
from everstep.core.serialization.stored_error import encode_error, error_info
from everstep.engine.execution.stream_summary import StreamSummary, encoded
from everstep.engine.steps.attempt import PLAIN, Attempt, call_function, finished, runs_in_thread
from everstep.engine.steps.failures import decide_failure
from everstep.engine.steps.outcome import Completed, Failed, Outcome
from everstep.engine.steps.return_types import declared_result
from everstep.engine.steps.step_execution import StepExecution
from everstep.sdk.step_scope import StepScope, current_scope
from everstep.telemetry import events

log = logging.getLogger("everstep.engine")


async def run_step(step: StepExecution, outcome: Outcome | None = None) -> None:
    """Attempt a step until it ends, and settle it. `outcome` is that of an attempt which is over already."""
    try:
        if outcome is None and (step.record.attempt or step.crashes):
            outcome = await resume_pending(step)
        while True:
            if outcome is None:
                outcome = await attempt_once(step)
            if isinstance(outcome, Completed):
                failed = None
                complete(step, outcome)
                break
            failed = await record_failure(step, outcome)
            if step.record.final:
                break
            await step.execution.journal.write(step.record, attempt=failed)
            step.check_wanted()
            await wait_for_retry(step)
            outcome = None
    except (Suspended, asyncio.CancelledError, InstanceLostError, LeaseLostError):
        return  # the code cancelled it, the instance left memory, or another task goes on after a timeout
    except Exception as error:
        # Ours, not the step's, whose errors are its end. A step that nobody executes would look as if it ran.
        log.exception("step %r of instance %s could not be executed", step.name, step.execution.instance.id)
        step.execution.host.fail(step.execution, error)
        return
    step.settle(failed)


async def resume_pending(step: StepExecution) -> Outcome | None:
    """Bring a step that has a past to its next attempt: charge what a crash interrupted, wait out a delay."""
    record = step.record
    if record.state == "running" and record.attempt > 0:
        return Failed(
            AttemptInterruptedError(f"attempt {record.attempt} was interrupted: its process ended while it ran")
        )
    if step.crashes:
        await charge_unrecorded_crashes(step)
    if record.state == "retrying":
        await wait_for_retry(step)
    return None


async def attempt_once(step: StepExecution) -> Outcome:
    """Make one attempt, once nothing stands in its way."""
    execution = step.execution
    lease = execution.host.lease
    if lease is not None and lease.lease_uncertain:
        await lease.lease_confirmed()  # otherwise a worker that resumes late would repeat what another has completed
    if execution.pause.since is not None:
        await wait_while_paused(step)
    attempt = begin_attempt(step)
    try:
        if must_be_recorded(step, attempt):
            await execution.journal.write(step.record)
            step.check_wanted()
        result = await invoke(attempt)
        check_awaited(step, attempt)
        return completed(step, result)
    except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001  # the function's own
        check_awaited(step, attempt)
        return Failed(error)
    finally:
        attempt.end()


def must_be_recorded(step: StepExecution, attempt: Attempt) -> bool:
    """Whether the start of an attempt is on disk before it runs.

    A crash must not lead to one more attempt than is allowed; and whoever terminates the instance with a rollback, from
    another process, must know of every step that may have had an effect.
    """
    if attempt.number > step.policy.limit:
        return True
    return step.policy.rollback is not None and step.record.seq not in step.execution.journal.open_rows


def is_awaited(step: StepExecution, attempt: StepScope | StepExecution) -> bool:
    """Whether an attempt counts: not once it timed out, for another task goes on then, nor if its step was given up."""
    return not (attempt.over or step.stopped or step.execution.phase.over)


def check_awaited(step: StepExecution, attempt: StepScope) -> None:
    """Raise CancelledError in the task of an attempt that does not count any more."""
    if not is_awaited(step, attempt):
        raise asyncio.CancelledError


async def invoke(attempt: Attempt) -> Any:
    """Call the function of an attempt where it has to run; return what it returned, awaited or stored."""
    invoker = attempt.step.execution.host.attempts
    if runs_in_thread(attempt.step.call.fn):
        return await invoker.run_in_thread(attempt)
    invoker.begin(attempt)
    result = call_function(attempt)
    kind = type(result)
    if kind is CoroutineType:
        result = await result
        kind = type(result)
    return result if kind in PLAIN else await finished(attempt.step.execution, attempt.record, result)


def begin_attempt(step: StepExecution) -> Attempt:
    """Count an attempt, and make it what `current_step()` tells of."""
    execution, record = step.execution, step.record
    if step.stopped or execution.phase.over:
        raise asyncio.CancelledError
    transitions.begin_attempt(record, execution.host.clock.now())
    attempt = step.attempt = Attempt(step)
    current_scope.set(attempt)
    if step.task is not None:
        attempt.track(step.task)
    if execution.host.telemetry.listening:
        execution.emit(events.AttemptStarted, record, attempt=record.attempt, max_attempts=step.policy.limit + 1)
    return attempt


def completed(step: StepExecution, result: object) -> Completed:
    """Write down what an attempt returned. Raises NotSerializableError, ValueTooLargeError."""
    if step.record.kind == "rollback":  # what a handler returns is of no use to anybody
        return Completed("null", None)
    if isinstance(result, StreamSummary):
        return Completed(encoded(result), msgspec.UNSET)
    # In two, so that what messages call it is written only where there may be one.
    plain = codec.encode_plain(result)
    if plain is None:
        plain = codec.encode_tagged(result, f"the result of step {step.name!r}", declared_result(step.call.fn))
    return Completed(*plain)


def complete(step: StepExecution, outcome: Completed) -> None:
    """Enter what an attempt returned into the row."""
    execution, record = step.execution, step.record
    host = execution.host
    transitions.complete(record, host.clock.now(), outcome.text)
    step.outcome = outcome
    if host.telemetry.listening:
        took = (record.ended_at or 0) - (record.attempt_at or 0)
        execution.emit(events.StepCompleted, record, attempt=record.attempt, duration_ms=took)


async def record_failure(step: StepExecution, outcome: Failed) -> AttemptRecord:
    """Decide what a failed attempt leads to, and enter it into the row."""
    execution, record = step.execution, step.record
    now = execution.host.clock.now()
    # Timers stand still from the moment a pause was asked for; on resuming they move by the time since then.
    since = execution.pause.since
    decision, error = await decide_failure(step, outcome.error, now if since is None else since)
    text = encode_error(error)
    retry_at = decision.due if isinstance(decision, retry_decision.RetryAt) else None
    failed = transitions.failed_attempt(record, now, text, retry_at)
    if retry_at is None:
        transitions.fail(record, now, text)
        step.unstorable = error if isinstance(error, NotSerializableError) else None
    else:
        transitions.retry(record, retry_at)
    if execution.host.telemetry.hears_trouble:
        execution.emit(
            events.AttemptFailed,
            record,
            attempt=record.attempt,
            max_attempts=step.policy.limit + 1,
            error=error_info(text),
            retry_at=retry_at,
        )
    return failed


async def charge_unrecorded_crashes(step: StepExecution) -> None:
    """Count crashes that left no trace of what they interrupted as attempts of this step.

    That is on disk before the next attempt begins: the next crash is counted on top of it, and an instance that leaves
    memory does not count the same ones, and wait for them, again and again.
    """
    record, now = step.record, step.execution.host.clock.now()
    go_on = retry_decision.after_unrecorded_crashes(step.policy, attempt=record.attempt, cuts=step.crashes, now=now)
    step.crashes = 0
    if go_on.attempt == record.attempt:
        return
    transitions.retry(record, max(go_on.due, record.wake_at or 0), attempt=go_on.attempt)
    interrupted = None
    if go_on.due > now:  # a single crash most likely hit the instance between two steps, and is not worth a row
        error = encode_error(AttemptInterruptedError("the process ended before the start of the attempt was recorded"))
        interrupted = transitions.failed_attempt(record, now, error, record.wake_at)
    await step.execution.journal.write(record, attempt=interrupted)
    step.check_wanted()


async def wait_for_retry(step: StepExecution) -> None:
    """Wait until the next attempt is due; the execution is not at work meanwhile."""
    execution, record = step.execution, step.record
    due = record.wake_at or 0
    if due <= execution.host.clock.now():
        return
    if record.seq not in execution.journal.open_rows:
        execution.journal.record_soon(record)
    step.end_work()
    try:
        await execution.own_waits().until(due, record)
    finally:
        step.begin_work()


async def wait_while_paused(step: StepExecution) -> None:
    """Wait while the execution is being paused."""
    step.end_work()
    try:
        await step.execution.pause.wait()
    finally:
        step.begin_work()
