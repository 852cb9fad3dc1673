"""The steps of one run: name it, look in the journal, attempt, decide, record, return or wait."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from msgspec import Struct

from everstep.api.declared import StepCall
from everstep.core import codec, decide
from everstep.core.durations import format_duration
from everstep.core.errors import (
    AttemptCutOffError,
    NonDeterminismError,
    NotSerializableError,
    Suspended,
    WorkflowTimeoutError,
)
from everstep.core.journal import AttemptRecord, StepRecord
from everstep.core.limits import VALUE_BYTES, WAIT_MS
from everstep.core.step_config import DEFAULT_POLICY, StepPolicy, resolve_policy
from everstep.core.stored_error import decode_error, encode_error, error_info
from everstep.core.types import StepContext, StepEvent, StepIdentity
from everstep.engine.declared_types import declared_result
from everstep.engine.run import Run
from everstep.engine.timestamps import utc
from everstep.store.protocol import EventRecord
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

    # do

    async def do(self, call: StepCall) -> Any:
        run = self._run
        run.check_alive()
        record = run.journal.find("do", call.name)
        if record is not None and record.final:
            return self._recorded(record, call)
        policy = resolve_policy(call.config, call.name)
        if record is None:
            await self._check_new("step.do", call.name)
            record = run.journal.begin("do", call.name, run.host.clock.now())
            record.sensitive = policy.sensitive
            record.config = _policy_text(policy)
        await self._make_ready(record, policy)
        while True:
            outcome = await self._attempt(record, call, policy)
            if isinstance(outcome, _Value):
                return outcome.value
            await self._wait_for_retry(record)

    def _recorded(self, record: StepRecord, call: StepCall) -> Any:
        if record.error is not None:
            raise decode_error(record.error)
        return _restored(record, call)

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
        decision = decide.after_cut(policy, attempt=record.attempt, now=now)
        await self._failed(record, policy, error, decision, now)

    def _count_unseen_cuts(self, record: StepRecord, policy: StepPolicy) -> None:
        now, cuts = self._run.host.clock.now(), self._run.unseen_cuts
        go_on = decide.after_unseen_cuts(policy, attempt=record.attempt, cuts=cuts, now=now)
        delayed = go_on.due > now and go_on.attempt > record.attempt
        record.attempt = go_on.attempt
        if delayed:
            record.state, record.wake_at = "retrying", max(go_on.due, record.wake_at or 0)
            # Recorded, or an instance that leaves memory would count the same crashes, and wait, again and again.
            self._run.write_soon(record)
            self._run.unseen_cuts = cuts  # of the branches beside this one, too

    async def _attempt(self, record: StepRecord, call: StepCall, policy: StepPolicy) -> _Value | None:
        """Make one attempt and record how it ended: with a value, or with another attempt to come."""
        run, host = self._run, self._run.host
        await run.gate()
        self._begin(record, policy)
        try:
            if decide.must_record_start(policy, record.attempt):
                await run.write(record)
            result = await host.attempts.run(call, self._context(record, policy), policy.timeout_ms)
            text, value = codec.encode(
                result, where=f"the result of step {record.name!r}", declared=declared_result(call.fn)
            )
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
        return _Value(text, _restored(record, call, value))

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
            self._emit(happened.AttemptStarted, record, attempt=record.attempt, allowed=policy.limit + 1)

    def _end(self, record: StepRecord) -> None:
        run = self._run
        run.active -= 1
        run.attempts.pop(record.seq, None)
        run.host.attempt_ended(record)

    def _leave_if_cancelled(self, record: StepRecord) -> None:
        """Tell a branch that its caller cancelled, or that is put away, from a function that cancelled itself."""
        run, task = self._run, asyncio.current_task()
        run.check_alive()
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
            self._emit(happened.StepCompleted, record, attempt=record.attempt, took_ms=took)

    async def _record_failure(self, record: StepRecord, policy: StepPolicy, error: BaseException) -> None:
        run, now = self._run, self._run.host.clock.now()
        # Timers stand still from the moment a pause was asked for; on resuming they move by the time since then.
        delayed_from = now if run.paused_since is None else run.paused_since
        decision = decide.after_failure(policy, attempt=record.attempt, error=error, now=delayed_from)
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
            self._emit(
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
        raise decode_error(text) from error

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

    # sleep

    async def sleep(self, name: str, duration_ms: int) -> None:
        await self._sleep(name, duration_ms, absolute=False)

    async def sleep_until(self, name: str, wake_at: int) -> None:
        if wake_at - self._run.host.clock.now() > WAIT_MS:
            raise ValueError(f"sleep_until {name!r} must be at most 365 days ahead, got {utc(wake_at).isoformat()}")
        await self._sleep(name, wake_at, absolute=True)

    async def _sleep(self, name: str, amount: int, *, absolute: bool) -> None:
        run, clock = self._run, self._run.host.clock
        run.check_alive()
        record = run.journal.find("sleep", name)
        if record is None:
            await self._check_new("step.sleep", name)
            await run.gate()
            record = run.journal.begin("sleep", name, clock.now())
            record.state, record.absolute = "waiting", absolute
            record.wake_at = amount if absolute else clock.now() + amount
            if run.host.telemetry.listening:
                self._emit(happened.SleepStarted, record, wake_at=record.wake_at)
            if record.wake_at > clock.now():
                run.write_soon(record)
        if record.final:
            return
        await run.gate()
        if (record.wake_at or 0) > clock.now():
            await run.wait(record, record.wake_at or 0)
        record.state, record.ended_at = "complete", clock.now()
        run.write_soon(record)

    # wait for event

    async def wait_for_event(self, name: str, type: str, timeout_ms: int, payload: Any) -> StepEvent[Any]:
        run, clock = self._run, self._run.host.clock
        run.check_alive()
        record = run.journal.find("wait", name)
        if record is not None and record.final:
            return _received(record, payload)
        event = None
        if record is None:
            await self._check_new("step.wait_for_event", name)
            await run.gate()
            record = run.journal.begin("wait", name, clock.now())
            record.state, record.event_type, record.wake_at = "waiting", type, clock.now() + timeout_ms
            if run.host.telemetry.listening:
                self._emit(happened.WaitStarted, record, type=type, times_out_at=record.wake_at)
            event = self._take(record)
            if event is None:
                run.write_soon(record)
        else:
            await run.gate()
            event = self._take(record)
        if event is None:
            event = await run.wait(record, record.wake_at or 0, type)
        record.ended_at = clock.now()
        if event is None:
            return await self._timed_out(record)
        sent = {"payload": codec.decode(event.payload) if event.payload else None, "timestamp": event.created_at}
        record.state = "complete"
        record.result, _ = codec.encode(sent, where=f"the event of step {name!r}", limit_bytes=_EVENT_BYTES)
        await run.write(record, consumed=(event.id,))
        if run.host.telemetry.listening:
            self._emit(happened.WaitEnded, record, type=type, timed_out=False)
        return _received(record, payload)

    def _take(self, record: StepRecord) -> EventRecord | None:
        """Take an early event, unless a wait of the same type that began earlier is open: then the run hands it out."""
        type = record.event_type or ""  # noqa: A001
        if any(step.event_type == type and step.seq < record.seq for step in self._run.stored_open.values()):
            return None
        return self._run.take(type)

    async def _timed_out(self, record: StepRecord) -> StepEvent[Any]:
        waited = format_duration((record.ended_at or 0) - record.started_at)
        error = WorkflowTimeoutError(f"no event {record.event_type!r} came for step {record.name!r} in {waited}")
        record.state, record.error = "errored", encode_error(error)
        await self._run.write(record)
        if self._run.host.telemetry.listening:
            self._emit(happened.WaitEnded, record, type=record.event_type or "", timed_out=True)
        raise decode_error(record.error)

    async def _check_new(self, call: str, name: str) -> None:
        """Stop the instance if its history says that another step comes first."""
        run = self._run
        if run.journal.unasked() is None or (expected := await run.replayed()) is None:
            return
        recorded = f"{_CALLS[expected.kind]}({expected.name!r})"
        number = f" (the {expected.count}. of that name)" if expected.count > 1 else ""
        await run.host.contradict(
            run,
            NonDeterminismError(
                f"the code asks for {call}({name!r}), where the history of instance {run.instance.id!r} has "
                f"{recorded}{number}; nothing was run. Bring the code back in line with it and resume the instance, "
                "or restart it"
            ),
        )
        raise Suspended

    def _emit(self, kind: type[happened.StepProgress], record: StepRecord, **facts: Any) -> None:
        instance, host = self._run.instance, self._run.host
        host.telemetry.emit(
            kind(
                workflow=instance.workflow,
                instance_id=instance.id,
                at=host.clock.now(),
                step=record.name,
                count=record.count,
                **facts,
            )
        )


_CALLS = {"do": "step.do", "sleep": "step.sleep", "wait": "step.wait_for_event"}

_EVENT_BYTES = VALUE_BYTES + 1024
"""An event's payload was within the limit when it was sent; this leaves room for its envelope."""


def _restored(record: StepRecord, call: StepCall, value: Any = msgspec.UNSET) -> Any:
    declared = declared_result(call.fn)
    if value is msgspec.UNSET:
        value = codec.decode(record.result or "null", declared, where=f"the result of step {record.name!r}")
    return codec.restore_result(value, declared)


def _received(record: StepRecord, payload: Any) -> StepEvent[Any]:
    if record.error is not None:
        raise decode_error(record.error)
    sent = codec.decode(record.result or "null", where=f"the event of step {record.name!r}")
    value = sent["payload"]
    if payload is not None:
        value = codec.restore(value, payload, where=f"the event {record.event_type!r} of step {record.name!r}")
    return StepEvent(value, utc(sent["timestamp"]), record.event_type or "")


def _policy_text(policy: StepPolicy) -> str | None:
    """Write a policy for views, or nothing for the default one."""
    return None if policy == DEFAULT_POLICY else msgspec.json.encode(policy.as_config()).decode()
