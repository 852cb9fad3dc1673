"""One step carried out: attempted until it ends, each end recorded before anything follows from it.

Which step it is was settled before (`step_runner.py`); what a failed attempt leads to is in `failures.py`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from everstep.api.current import place
from everstep.api.declared import StepCall
from everstep.core import codec, decide
from everstep.core.journal import StepRecord
from everstep.core.step_policy import StepPolicy
from everstep.core.stored_error import decode_error
from everstep.engine.execution.execution import Execution
from everstep.engine.execution.stream_summary import StreamSummary, encoded, summary_of
from everstep.engine.steps import failures, streams
from everstep.engine.steps.attempt import Attempt
from everstep.engine.steps.return_types import declared_result
from everstep.telemetry import events


async def carry_out(run: Execution, record: StepRecord, call: StepCall, policy: StepPolicy, cuts: int) -> Any:
    """Attempt a step until it ends, going on where an earlier life left it; `cuts` crashes left no trace of it.

    Raises:
        Exception: the step's error, once no attempt is left.
    """
    if record.attempt or cuts:
        if record.final:
            return recorded(run, record, call)
        await _make_ready(run, record, policy, cuts)
    while True:
        value = await _attempt(run, record, call, policy)
        if record.state == "complete":
            break
        await _wait_for_retry(run, record)
    await run.write(record)
    if run.host.telemetry.listening:
        took = (record.ended_at or 0) - (record.attempt_at or 0)
        run.tell(events.StepCompleted, record, attempt=record.attempt, took_ms=took)
    if run.paused_since is not None:
        await run.gate()
    return value


def recorded(run: Execution, record: StepRecord, call: StepCall) -> Any:
    """Return what a step that has ended returned, or raise its error."""
    if record.error is not None:
        raise decode_error(record.error)
    return _restored(run, record, declared_result(call.fn))


def output_of(run: Execution, record: StepRecord, call: StepCall) -> Any:
    """Return what a step returned, as its code got it, or None if it did not complete."""
    return None if record.state != "complete" else _restored(run, record, declared_result(call.fn))


async def _make_ready(run: Execution, record: StepRecord, policy: StepPolicy, cuts: int) -> None:
    """Bring a step that has a past to its next attempt: count what a crash cut off, wait out a delay."""
    if record.state == "running" and record.attempt > 0 and record.seq in run.stored_open:
        await failures.settle_cut(run, record, policy)
    elif cuts:
        await failures.count_unseen_cuts(run, record, policy, cuts)
    if record.state == "retrying":
        await _wait_for_retry(run, record)


async def _wait_for_retry(run: Execution, record: StepRecord) -> None:
    due = record.wake_at or 0
    if due > run.host.clock.now():
        if record.seq not in run.stored_open:
            run.write_soon(record)
        await run.wait(record, due)


async def _attempt(run: Execution, record: StepRecord, call: StepCall, policy: StepPolicy) -> Any:
    """Make one attempt. A value it returned is in the record and yet to be written; a failure is written."""
    lease = run.host.lease
    if lease is not None and lease.lease_uncertain:
        await lease.lease_confirmed()  # else one that comes back to life does again what others have done
    if run.halted:
        await run.gate()
    attempt = _begin(run, record, call, policy)
    declared = declared_result(call.fn)
    try:
        if decide.must_record_start(policy, record.attempt):
            await run.write(record)
        result = await run.host.attempts.run(attempt)
        record.result, value = _encoded(record, declared, result)
    except asyncio.CancelledError as error:
        _end(run, attempt)
        _leave_if_cancelled(run, record)
        await failures.record_failure(run, record, policy, error)
        return None
    except (Exception, SystemExit) as error:  # noqa: BLE001  # the step's own error, decided on below
        _end(run, attempt)
        run.check_alive()
        await failures.record_failure(run, record, policy, error)
        return None
    except BaseException:
        _end(run, attempt)
        raise
    _end(run, attempt)
    record.state, record.ended_at = "complete", run.host.clock.now()
    return _restored(run, record, declared, value)


def _begin(run: Execution, record: StepRecord, call: StepCall, policy: StepPolicy) -> Attempt:
    host = run.host
    run.check_alive()
    record.attempt += 1
    record.attempt_at = host.clock.now()
    record.state, record.wake_at = "running", None
    task = asyncio.current_task(host.loop)
    assert task is not None  # steps run in tasks
    run.attempts[record.seq] = task
    run.active += 1
    attempt = Attempt(run, record, call, policy, task)
    place.set(attempt)
    host.start_recorder.track(attempt)
    if host.telemetry.listening:
        run.tell(events.AttemptStarted, record, attempt=record.attempt, allowed=policy.limit + 1)
    return attempt


def _end(run: Execution, attempt: Attempt) -> None:
    run.active -= 1
    run.attempts.pop(attempt.record.seq, None)
    run.host.start_recorder.untrack(attempt)
    attempt.end()


def _leave_if_cancelled(run: Execution, record: StepRecord) -> None:
    """Tell a branch that its caller cancelled, or that is put away, from a function that cancelled itself."""
    task = asyncio.current_task()
    run.check_alive()
    if run.sealed and task is not run.task:
        run.enter()
    if task is not None and task.cancelling():
        record.state, record.attempt = "cancelled", record.attempt - 1
        record.ended_at = run.host.clock.now()
        run.write_soon(record)
        run.settle()
        raise asyncio.CancelledError


def _encoded(record: StepRecord, declared: Any, result: Any) -> tuple[str, Any]:
    if record.kind == "rollback":  # what a handler returns is of no use to anybody
        return "null", None
    if isinstance(result, StreamSummary):
        return encoded(result), msgspec.UNSET
    # In two, so that what messages call it is written only where there may be one.
    return codec.encode_plain(result) or codec.encode_tagged(result, f"the result of step {record.name!r}", declared)


def _restored(run: Execution, record: StepRecord, declared: Any, value: Any = msgspec.UNSET) -> Any:
    """Return a result as its code gets it; `value` is what was read back already."""
    if value is msgspec.UNSET:
        summary = summary_of(record.result)
        if summary is not None:
            return streams.StoredStream(run.host.store, run.pk, record.seq, summary)
        value = codec.decode(record.result or "null", declared, where=f"the result of step {record.name!r}")
    return value if declared is Any else codec.restore_result(value, declared)
