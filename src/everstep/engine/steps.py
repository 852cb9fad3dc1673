"""The steps of one run: name it, look in the journal, attempt, decide, record, return or wait for the next attempt.

Sleeps and waits are in `waits.py`, children in `children.py`, recorded values in `values.py`.
"""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from everstep.api.declared import StepCall
from everstep.api.step import RunsAsChild, ValueKind
from everstep.core import codec, decide
from everstep.core.errors import (
    AttemptCutOffError,
    NotSerializableError,
    RetryDelayError,
)
from everstep.core.journal import AttemptRecord, StepRecord
from everstep.core.step_policy import DEFAULT_POLICY, StepPolicy, keep_first_seen, resolve_policy
from everstep.core.stored_error import decode_error, encode_error, error_info
from everstep.core.types import StepContext, StepEvent, StepIdentity
from everstep.engine import children, delays, streams, values, waits
from everstep.engine.branch import Compensation
from everstep.engine.declared_types import declared_result
from everstep.engine.guard import check_limits, check_new
from everstep.engine.run import Run
from everstep.engine.stream_summary import StreamSummary, encoded, summary_of
from everstep.telemetry import events as happened


class _Value(Struct, frozen=True):
    """What an attempt returned, as stored and as everybody sees it."""

    text: str
    value: Any


class Steps:
    """Carries out the step calls of one run."""

    __slots__ = ("_run",)

    def __init__(self, run: Run) -> None:
        self._run = run

    async def do(self, call: StepCall) -> Any:
        run = self._run
        run.check_alive()
        record = run.journal.find("do", call.name)
        if record is not None and record.final:
            values.asked(record)
            if record.compensable:
                self._register(record, call, resolve_policy(call.config, call.name))
            return self._recorded(record, call)
        policy = resolve_policy(call.config, call.name)
        if record is None:
            run.enter()
            await check_limits(run, call.name)
            await check_new(run, "step.do", call.name)
            record = self._begin_step(call.name, policy)
        else:
            policy = keep_first_seen(policy, None if record.config is None else msgspec.json.decode(record.config))
        values.asked(record)
        self._register(record, call, policy)
        run.enter()
        return await self.carry_out(record, call, policy)

    async def carry_out(self, record: StepRecord, call: StepCall, policy: StepPolicy) -> Any:
        """Attempt a step until it ends, going on where an earlier life left it."""
        if record.final:
            return self._recorded(record, call)
        await self._make_ready(record, policy)
        while True:
            outcome = await self._attempt(record, call, policy)
            if isinstance(outcome, _Value):
                return outcome.value
            await self._wait_for_retry(record)

    def _begin_step(self, name: str, policy: StepPolicy) -> StepRecord:
        record = self._run.journal.begin("do", name, self._run.host.clock.now())
        record.sensitive = policy.sensitive
        record.compensable = policy.rollback is not None
        record.config = _policy_text(policy)
        return record

    def output_of(self, record: StepRecord, call: StepCall) -> Any:
        """Return what a step returned, as its code got it, or None if it did not complete."""
        return None if record.state != "complete" else self._restored(record, call)

    def _register(self, record: StepRecord, call: StepCall, policy: StepPolicy) -> None:
        if policy.rollback is not None:
            self._run.compensations[record.seq] = Compensation(
                policy.rollback, policy.rollback_policy or DEFAULT_POLICY, call
            )

    def _recorded(self, record: StepRecord, call: StepCall) -> Any:
        if record.error is not None:
            raise decode_error(record.error)
        return self._restored(record, call)

    async def _make_ready(self, record: StepRecord, policy: StepPolicy) -> None:
        """Bring a step that has a past to its next attempt: count what a crash cut off, wait out a delay."""
        run = self._run
        if record.state == "running" and record.attempt > 0 and record.seq in run.stored_open:
            await self._settle_cut(record, policy)
        elif run.unseen_cuts:
            self._count_unseen_cuts(record, policy)
        if record.state == "retrying":
            await self._wait_for_retry(record)

    async def _settle_cut(self, record: StepRecord, policy: StepPolicy) -> None:
        """Enter an attempt that was at work when its process died, and go on by the step's policy."""
        now = self._run.host.clock.now()
        error = AttemptCutOffError(f"attempt {record.attempt} was cut off: its process ended while it ran")
        decision, failure = await self._decide(record, policy, error, now)
        await self._failed(record, policy, failure, decision, now)

    def _count_unseen_cuts(self, record: StepRecord, policy: StepPolicy) -> None:
        run, now, cuts = self._run, self._run.host.clock.now(), self._run.unseen_cuts
        go_on = decide.after_unseen_cuts(policy, attempt=record.attempt, cuts=cuts, now=now)
        delayed = go_on.due > now and go_on.attempt > record.attempt
        record.attempt = go_on.attempt
        if not delayed:
            return
        record.state, record.wake_at = "retrying", max(go_on.due, record.wake_at or 0)
        error = encode_error(AttemptCutOffError("the process ended before the start of the attempt was recorded"))
        cut = AttemptRecord(record.seq, record.attempt, record.attempt_at or now, now, error, record.wake_at)
        # Recorded, or an instance that leaves memory would count the same crashes, and wait, again and again.
        run.write_soon(record, attempt=cut)
        run.unseen_cuts = cuts  # of the branches beside this one, too

    async def _attempt(self, record: StepRecord, call: StepCall, policy: StepPolicy) -> _Value | None:
        """Make one attempt and record how it ended: with a value, or with another attempt to come."""
        run, host = self._run, self._run.host
        await run.gate()
        self._begin(record, policy)
        try:
            if decide.must_record_start(policy, record.attempt):
                await run.write(record)
            result = await host.attempts.run(
                call, self._context(record, policy), policy.timeout_ms, partial(streams.keep, run, record)
            )
            text, value = self._encoded(record, call, result)
        except asyncio.CancelledError as error:
            self._end(record)
            self._leave_if_cancelled(record)
            await self._record_failure(record, policy, error)
            return None
        except (Exception, SystemExit) as error:  # noqa: BLE001  # the step's own error, decided on below
            self._end(record)
            run.check_alive()
            await self._record_failure(record, policy, error)
            return None
        except BaseException:
            self._end(record)
            raise
        self._end(record)
        await self._record_value(record, text)
        if run.paused_since is not None:
            await run.gate()
        return _Value(text, self._restored(record, call, value))

    def _encoded(self, record: StepRecord, call: StepCall, result: Any) -> tuple[str, Any]:
        if record.kind == "rollback":  # what a handler returns is of no use to anybody
            return "null", None
        if isinstance(result, StreamSummary):
            return encoded(result), msgspec.UNSET
        where = f"the result of step {record.name!r}"
        return codec.encode(result, where=where, declared=declared_result(call.fn))

    def _restored(self, record: StepRecord, call: StepCall, value: Any = msgspec.UNSET) -> Any:
        declared = declared_result(call.fn)
        if value is msgspec.UNSET:
            summary = summary_of(record.result)
            if summary is not None:
                return streams.StoredStream(self._run.host.store, self._run.pk, record.seq, summary)
            value = codec.decode(record.result or "null", declared, where=f"the result of step {record.name!r}")
        return codec.restore_result(value, declared)

    def _begin(self, record: StepRecord, policy: StepPolicy) -> None:
        run, host = self._run, self._run.host
        run.check_alive()
        record.attempt += 1
        record.attempt_at = host.clock.now()
        record.state, record.wake_at = "running", None
        run.attempts[record.seq] = asyncio.current_task()  # type: ignore[assignment]  # steps run in tasks
        run.active += 1
        host.attempt_began(run, record)
        if host.telemetry.listening:
            self._run.tell(happened.AttemptStarted, record, attempt=record.attempt, allowed=policy.limit + 1)

    def _end(self, record: StepRecord) -> None:
        run = self._run
        run.active -= 1
        run.attempts.pop(record.seq, None)
        run.host.attempt_ended(record)

    def _leave_if_cancelled(self, record: StepRecord) -> None:
        """Tell a branch that its caller cancelled, or that is put away, from a function that cancelled itself."""
        run, task = self._run, asyncio.current_task()
        run.check_alive()
        if run.sealed and task is not run.task:
            run.enter()
        if task is not None and task.cancelling():
            record.state, record.attempt = "cancelled", record.attempt - 1
            record.ended_at = run.host.clock.now()
            run.write_soon(record)
            run.settle()
            raise asyncio.CancelledError

    async def _record_value(self, record: StepRecord, text: str) -> None:
        run = self._run
        record.state, record.result, record.ended_at = "complete", text, run.host.clock.now()
        await run.write(record)
        if run.host.telemetry.listening:
            took = record.ended_at - (record.attempt_at or record.ended_at)
            self._run.tell(happened.StepCompleted, record, attempt=record.attempt, took_ms=took)

    async def _decide(
        self, record: StepRecord, policy: StepPolicy, error: BaseException, now: int
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
            policy = await delays.with_delay(policy, self._context(record, policy), error)
        except RetryDelayError as failure:
            return decide.GiveUp(), failure
        return decided(policy), error

    async def _record_failure(self, record: StepRecord, policy: StepPolicy, error: BaseException) -> None:
        run, now = self._run, self._run.host.clock.now()
        # Timers stand still from the moment a pause was asked for; on resuming they move by the time since then.
        delayed_from = now if run.paused_since is None else run.paused_since
        run.active += 1  # the attempt is not over before it is recorded: neither parked nor paused meanwhile
        try:
            decision, error = await self._decide(record, policy, error, delayed_from)
        finally:
            run.active -= 1
        await self._failed(record, policy, error, decision, now)

    async def _failed(
        self,
        record: StepRecord,
        policy: StepPolicy,
        error: BaseException,
        decision: decide.RetryAt | decide.GiveUp,
        now: int,
    ) -> None:
        """Record a failed attempt; raise the step's error if it was the last."""
        run = self._run
        text = encode_error(error)
        retry_at = decision.due if isinstance(decision, decide.RetryAt) else None
        failed = AttemptRecord(record.seq, record.attempt, record.attempt_at or now, now, text, retry_at)
        if retry_at is None:
            record.state, record.error, record.ended_at, record.wake_at = "errored", text, now, None
        else:
            record.state, record.wake_at = "retrying", retry_at
        await run.write(record, attempt=failed)
        if run.host.telemetry.listening:
            self._run.tell(
                happened.AttemptFailed,
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

    async def _wait_for_retry(self, record: StepRecord) -> None:
        run, due = self._run, record.wake_at or 0
        if due > run.host.clock.now():
            if record.seq not in run.stored_open:
                run.write_soon(record)
            await run.wait(record, due)

    def _context(self, record: StepRecord, policy: StepPolicy) -> StepContext:
        instance = self._run.instance
        identity = StepIdentity(record.name, record.count)
        return StepContext(identity, record.attempt, policy.as_config(), instance.id, instance.workflow)

    # what else a workflow may ask for

    async def sleep(self, name: str, duration_ms: int) -> None:
        await waits.sleep(self._run, name, duration_ms)

    async def sleep_until(self, name: str, wake_at: int) -> None:
        await waits.sleep_until(self._run, name, wake_at)

    async def wait_for_event(self, name: str, type: str, timeout_ms: int, payload: Any) -> StepEvent[Any]:
        return await waits.wait_for_event(self._run, name, type, timeout_ms, payload)

    async def run_workflow(self, name: str, workflow: type[RunsAsChild] | str, params: Any, id: str | None) -> Any:
        child = self._run.host.workflow_name(workflow)
        return await children.run_workflow(self._run, name, child, params, id)

    def value(self, kind: ValueKind) -> Any:
        return values.recorded(self._run, kind)


def _policy_text(policy: StepPolicy) -> str | None:
    """Write a policy for views, or nothing for the default one."""
    config = policy.as_config()
    return None if config == _DEFAULT_CONFIG else msgspec.json.encode(config).decode()


_DEFAULT_CONFIG = DEFAULT_POLICY.as_config()
