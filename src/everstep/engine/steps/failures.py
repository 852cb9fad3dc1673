"""What failed attempts lead to: a retry or the step's end, decided and recorded. Attempts nothing itself."""

from __future__ import annotations

import random

from everstep.core import decide
from everstep.core.errors import AttemptCutOffError, NotSerializableError, RetryDelayError
from everstep.core.journal import AttemptRecord, StepRecord
from everstep.core.step_policy import StepPolicy
from everstep.core.stored_error import decode_error, encode_error, error_info
from everstep.engine.execution.execution import Execution
from everstep.engine.steps import dynamic_delay
from everstep.engine.steps.attempt import context_of
from everstep.telemetry import events


async def record_failure(run: Execution, record: StepRecord, policy: StepPolicy, error: BaseException) -> None:
    """Record an attempt that has just failed; raise the step's error if it was the last."""
    now = run.host.clock.now()
    # Timers stand still from the moment a pause was asked for; on resuming they move by the time since then.
    delayed_from = now if run.paused_since is None else run.paused_since
    run.active += 1  # the attempt is not over before it is recorded: neither parked nor paused meanwhile
    try:
        decision, error = await _decide(run, record, policy, error, delayed_from)
    finally:
        run.active -= 1
    await _failed(run, record, policy, error, decision, now)


async def settle_cut(run: Execution, record: StepRecord, policy: StepPolicy) -> None:
    """Enter an attempt that was at work when its process died, and go on by the step's policy."""
    now = run.host.clock.now()
    error = AttemptCutOffError(f"attempt {record.attempt} was cut off: its process ended while it ran")
    decision, failure = await _decide(run, record, policy, error, now)
    await _failed(run, record, policy, failure, decision, now)


async def count_unseen_cuts(run: Execution, record: StepRecord, policy: StepPolicy, cuts: int) -> None:
    """Count crashes that left no trace of what they interrupted as attempts of this step.

    That is on disk before the next attempt begins: the next crash is counted on top of it, and an instance that leaves
    memory does not count the same ones, and wait for them, again and again.
    """
    now = run.host.clock.now()
    go_on = decide.after_unseen_cuts(policy, attempt=record.attempt, cuts=cuts, now=now)
    delayed = go_on.due > now and go_on.attempt > record.attempt
    if go_on.attempt == record.attempt:
        return
    record.attempt = go_on.attempt
    record.state, record.wake_at = "retrying", max(go_on.due, record.wake_at or 0)
    cut = None
    if delayed:  # a single crash most likely hit the instance between two steps, and is not worth a row
        error = encode_error(AttemptCutOffError("the process ended before the start of the attempt was recorded"))
        cut = AttemptRecord(record.seq, record.attempt, record.attempt_at or now, now, error, record.wake_at)
    await run.write(record, attempt=cut)


async def _decide(
    run: Execution, record: StepRecord, policy: StepPolicy, error: BaseException, now: int
) -> tuple[decide.RetryAt | decide.GiveUp, BaseException]:
    """Decide what a failed attempt leads to, asking the policy's delay function only if there is to be a retry."""
    chance = random.random() if policy.jitter else 0.0  # noqa: S311  # to spread retries, not to keep secrets

    def decided(policy: StepPolicy) -> decide.RetryAt | decide.GiveUp:
        if isinstance(error, AttemptCutOffError):
            return decide.after_cut(policy, attempt=record.attempt, now=now)
        return decide.after_failure(policy, attempt=record.attempt, error=error, now=now, chance=chance)

    decision = decided(policy)
    if isinstance(decision, decide.GiveUp) or policy.delay_function is None:
        return decision, error
    try:
        context = context_of(run.instance, record, record.attempt, policy)
        policy = await dynamic_delay.with_delay(policy, context, error)
    except RetryDelayError as failure:
        return decide.GiveUp(), failure
    return decided(policy), error


async def _failed(
    run: Execution,
    record: StepRecord,
    policy: StepPolicy,
    error: BaseException,
    decision: decide.RetryAt | decide.GiveUp,
    now: int,
) -> None:
    """Record a failed attempt; raise the step's error if it was the last."""
    text = encode_error(error)
    retry_at = decision.due if isinstance(decision, decide.RetryAt) else None
    failed = AttemptRecord(record.seq, record.attempt, record.attempt_at or now, now, text, retry_at)
    if retry_at is None:
        record.state, record.error, record.ended_at, record.wake_at = "errored", text, now, None
    else:
        record.state, record.wake_at = "retrying", retry_at
    await run.write(record, attempt=failed)
    if run.host.telemetry.listening:
        run.tell(
            events.AttemptFailed,
            record,
            attempt=record.attempt,
            allowed=policy.limit + 1,
            error=error_info(text),
            retry_at=retry_at,
        )
    if retry_at is not None:
        return
    if isinstance(error, NotSerializableError):
        await run.host.fail(run, error)
        run.check_alive()
    if run.paused_since is not None:
        await run.gate()
    rebuilt = decode_error(text)
    raise rebuilt from rebuilt.__cause__  # what a replay will raise: not `from error`, which is not stored
