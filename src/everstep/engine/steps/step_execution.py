"""A step on its way: the code's call, its policy and its row, passed whole from one function to the next."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from everstep.core.errors import InstanceLostError, LeaseLostError, NotSerializableError
from everstep.core.journal import AttemptRecord, Kind, StepRecord
from everstep.core.policy import transitions
from everstep.core.policy.step_policy import DEFAULT_POLICY, StepPolicy, pin_recorded, resolve_policy
from everstep.core.serialization import codec
from everstep.core.serialization.stored_error import decode_error
from everstep.engine.execution.calls import Call
from everstep.engine.execution.stream_summary import summary_of
from everstep.engine.steps import streams
from everstep.engine.steps.eager_task import begin_task
from everstep.engine.steps.outcome import Completed, Outcome
from everstep.engine.steps.return_types import declared_result
from everstep.sdk.step_decorator import StepCall

if TYPE_CHECKING:
    from everstep.engine.execution.execution import Execution
    from everstep.engine.steps.attempt import Attempt

_DEFAULT_CONFIG = DEFAULT_POLICY.as_config()


class StepExecution(Call):
    """A step to be executed: a call of `step.do`, a step inside a step, or a rollback handler.

    Attributes:
        call: What is to be called.
        policy: Its configuration; of a step that began before, the one it began with.
        crashes: How many crashes that left no trace may have interrupted it.
        stopped: Whether nobody waits for it any more: its code cancelled it, or is over.
        task: The task it runs in, once it has waited for something.
        attempt: The one in flight, while it waits for something.
        variables: The context that its attempts run in copies of, until it has ended.
        unstorable: The error of a result that cannot be stored, which ends the instance.
    """

    __slots__ = (
        "_works",
        "attempt",
        "call",
        "crashes",
        "outcome",
        "over",
        "policy",
        "stopped",
        "task",
        "unstorable",
        "variables",
    )

    kind: ClassVar[Kind] = "do"  # of a rollback handler it is another
    # There is a row as soon as anything is done for it.
    record: StepRecord  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(
        self,
        execution: Execution,
        call: StepCall,
        policy: StepPolicy | None = None,
    ) -> None:
        self.execution = execution
        self.name = call.name
        self.call = call
        self.count = self.asked_after = self.crashes = 0
        self.record = self.future = self.cancelled_after = None  # type: ignore[assignment]
        self.heard = self.stopped = self._works = False
        self.over = True
        self.unstorable: NotSerializableError | None = None
        self.attempt: Attempt | None = None
        self.task: asyncio.Task[None] | None = None
        self.variables: Context | None = None
        self.outcome: Completed | None = None
        self.policy = DEFAULT_POLICY
        if policy is not None:
            self.policy = policy
        elif call.config is not None:
            self.policy = resolve_policy(call.config, call.name)

    # Its row

    def resume(self, record: StepRecord) -> None:
        """Take over the row of a step that began before, with the configuration it began with."""
        self.record = record
        if not record.final:
            if times := transitions.uncounted_stops(record):
                self.execution.own_in_flight().uncounted[record.seq] = (record.attempt + 1, times)
            recorded = None if record.config is None else msgspec.json.decode(record.config)
            self.policy = pin_recorded(self.policy, recorded)

    def describe(self, record: StepRecord) -> None:
        """Note on a new row what the policy says, for views and for later activations."""
        self.record = record  # pyright: ignore[reportIncompatibleVariableOverride]
        policy = self.policy
        if policy is not DEFAULT_POLICY:
            record.sensitive = policy.sensitive
            record.compensable = policy.rollback is not None
            config = policy.as_config()
            record.config = None if config == _DEFAULT_CONFIG else msgspec.json.encode(config).decode()

    def value(self) -> Any:
        record = self.record
        if record.error is not None:
            error = decode_error(record.error)
            raise error from error.__cause__  # what every activation raises: not `from error`, which is not stored
        if self.outcome is None or self.outcome.value is msgspec.UNSET:
            return output_of(self.execution, record, self.call)
        value = self.outcome.value
        declared = declared_result(self.call.fn)
        return value if declared is Any else codec.coerce_result(value, declared)

    # Its task

    def procedure(self, outcome: Outcome | None) -> Coroutine[Any, Any, None]:
        """Return what executes it, from an outcome that it has already, or from its next attempt."""
        raise NotImplementedError

    def attempt_here(self) -> Attempt:
        """Return the attempt in flight."""
        assert self.attempt is not None
        return self.attempt

    def run(self, outcome: Outcome | None = None) -> None:
        """Execute it in a task of the application's loop, in the context of the code that asked for it."""
        execution = self.execution
        if not self._works:
            self._works = True
            execution.work += 1
        assert self.variables is not None  # until it has ended
        # A copy: what a function that outlives its timeout sets is no concern of the next attempt.
        task = begin_task(self.procedure(outcome), execution.host.loop, self.variables.copy())
        if task is None:
            return
        if self.stopped:  # by what its own beginning brought about
            task.cancel()
        else:
            self.task = task
            if not self.over or self.attempt is not None:  # one that is over at once is nobody's concern
                self.attempt_here().track(task)

    def stop(self) -> None:
        self.stopped = True
        self.end_work()
        task = self.task
        self.release()
        if task is not None:
            task.cancel()

    def release(self) -> None:
        """Let go of its task and of its context, which holds the steps before it."""
        self.task = self.variables = None

    def check_wanted(self) -> None:
        """Raise in its task if nobody waits for it any more: a commit made in this task may have brought that about."""
        if self.stopped or self.execution.phase.over:
            raise asyncio.CancelledError

    def begin_work(self) -> None:
        """Keep the execution at work from now on."""
        if not (self._works or self.stopped):
            self._works = True
            self.execution.work += 1

    def end_work(self) -> None:
        """Let the execution come to rest."""
        if self._works:
            self._works = False
            self.execution.work -= 1

    def settle(self, failed: AttemptRecord | None) -> None:
        """Record how it ended; the code hears of it once that is on disk."""
        raise NotImplementedError


class AwaitedStep(StepExecution):
    """A step that the engine awaits on the application's loop: one inside a step, or a rollback handler."""

    def __init__(
        self,
        execution: Execution,
        call: StepCall,
        policy: StepPolicy | None = None,
    ) -> None:
        super().__init__(execution, call, policy)
        self.variables = copy_context()
        self._ended: asyncio.Future[None] = execution.host.loop.create_future()

    def settle(self, failed: AttemptRecord | None) -> None:
        self.release()
        written = self.execution.journal.submit(self.record, failed)
        written.add_done_callback(self._written)

    def _written(self, written: asyncio.Future[None]) -> None:
        self.end_work()
        if written.cancelled() or self._ended.done():
            return
        error = written.exception()
        if isinstance(error, (InstanceLostError, LeaseLostError)):
            self.execution.host.evict(self.execution.pk)
        elif error is not None:
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)


def output_of(execution: Execution, record: StepRecord, call: StepCall) -> Any:
    """Return what a step that completed returned, as its code gets it, or None."""
    if record.state != "complete":
        return None
    summary = summary_of(record.result)
    if summary is not None:
        return streams.StoredStream(execution.host.store, execution.pk, record.seq, summary)
    declared = declared_result(call.fn)
    value = codec.decode(record.result or "null", declared, where=f"the result of step {record.name!r}")
    return value if declared is Any else codec.coerce_result(value, declared)
