"""Rolling an instance back: its steps' handlers in reverse order of their start, each a durable step of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, ClassVar

import msgspec

from everstep.core.errors import InstanceLostError, LeaseLostError, RollbackMissingError, StepError, Suspended
from everstep.core.journal import Kind, StepRecord
from everstep.core.policy import transitions
from everstep.core.policy.step_policy import DEFAULT_POLICY
from everstep.core.serialization.stored_error import decode_error, encode_error, error_info
from everstep.core.types import ErrorInfo, RollbackContext, RollbackStatus, StepContext, StepIdentity
from everstep.engine.execution.branches import Compensation
from everstep.engine.execution.execution import Execution
from everstep.engine.steps.attempt import idempotency_key
from everstep.engine.steps.executor import run_step
from everstep.engine.steps.outcome import Outcome
from everstep.engine.steps.step_execution import AwaitedStep, output_of
from everstep.sdk.step_decorator import StepCall
from everstep.store.protocol import InstanceChange

MARKER = ""
"""The name of the row that says an instance is being rolled back; its error is why."""
_UNWIND_SECONDS = 1.0
"""How long attempts that were cancelled may take to end before the first handler runs."""


def reason(execution: Execution) -> str | None:
    """Return why an instance is being rolled back, as stored, or None if it is not."""
    marker = execution.journal.get("rollback", MARKER, 1)
    return None if marker is None else marker.error


TERMINATED = StepError("Terminated", "Instance terminated during rollback")
"""What handlers are told when the instance is terminated with a rollback (inventory §1.3.4)."""


def was_terminated(why: str) -> bool:
    """Whether a rollback's reason is that the instance was terminated."""
    return error_info(why).name == TERMINATED.name


async def roll_back(execution: Execution, error: BaseException | None) -> InstanceChange | None:
    """Run the handlers of an instance whose code is over, and describe its end; None where it left memory meanwhile.

    `error` is what its code raised just now; None where an earlier activation began the rollback.
    """
    attempts = list(execution.in_flight.attempts.values())
    execution.work_began()
    try:
        execution.end_code()
        if attempts:
            await asyncio.wait(attempts, timeout=_UNWIND_SECONDS)
        if error is not None and reason(execution) is None:
            await _begin(execution, error)
        _cancel_open_waits(execution)
        why = reason(execution) or ""
        status = await _run_handlers(execution, why)
    except (Suspended, InstanceLostError, LeaseLostError, asyncio.CancelledError):
        if execution.phase.over:
            return None
        raise
    finally:
        execution.work_ended()
    if execution.phase.over:  # while the last handler was being recorded
        return None
    if was_terminated(why):
        return InstanceChange("terminated", rollback=encoded(status))
    return InstanceChange("errored", error=why, rollback=encoded(status))


async def _begin(execution: Execution, error: BaseException) -> None:
    """Record that the instance is rolled back from now on, so that a crash half-way goes on with it.

    Steps that were cut short are recorded with it: some are not on disk yet, and they have handlers, too.
    """
    journal, now = execution.journal, execution.host.clock.now()
    for step in journal.steps():
        if not step.final and step.state != "cancelled":
            transitions.cancel(step, now)
            journal.touch(step)
    marker = journal.get_or_begin("rollback", MARKER, 1, now)
    marker.error = encode_error(error)
    await journal.write(marker)


def _cancel_open_waits(execution: Execution) -> None:
    """Close the sleeps and waits of branches that were ended: nothing that comes for them may wake the rollback."""
    now = execution.host.clock.now()
    for step in list(execution.journal.open_rows.values()):
        if step.kind in ("sleep", "wait", "child", "timer"):
            transitions.cancel(step, now)
            execution.journal.record_soon(step)


async def _run_handlers(execution: Execution, why: str) -> RollbackStatus:
    """Call the handlers of every step that has one; the first that fails for good ends the chain."""
    cause = decode_error(why)
    compensable = [step for step in execution.journal.steps() if step.kind == "do" and step.compensable]
    for step in sorted(compensable, key=lambda step: step.seq, reverse=True):
        compensation = execution.compensations.get(step.seq)
        try:
            if compensation is None:
                raise RollbackMissingError(
                    f"step {step.name!r} was to be rolled back, and today's code registers no handler for it"
                )
            await _compensate(execution, step, compensation, cause)
        except Exception as failure:  # noqa: BLE001  # whatever a handler ends with is the rollback's outcome
            execution.check_open()
            info = error_info(encode_error(failure))
            return RollbackStatus("failed", ErrorInfo(info.name, info.message))
    return RollbackStatus("complete")


class _Handler(AwaitedStep):
    """A rollback handler on its way."""

    kind: ClassVar[Kind] = "rollback"

    def __init__(self, execution: Execution, call: StepCall, compensation: Compensation, record: StepRecord) -> None:
        super().__init__(execution, call, compensation.policy)
        self.record = record

    def procedure(self, outcome: Outcome | None) -> Coroutine[Any, Any, None]:
        return run_step(self, outcome)

    async def execute(self) -> None:
        self.crashes, self.execution.crashes = self.execution.crashes, 0
        self.run()
        execution = self.execution
        execution.work_ended()  # while it waits for its retries the execution may park
        try:
            await self._ended
        except asyncio.CancelledError:
            self.stop()
            raise
        finally:
            execution.work_began()
        self.value()


async def _compensate(execution: Execution, step: StepRecord, compensation: Compensation, cause: BaseException) -> None:
    now = execution.host.clock.now()
    record = execution.journal.get_or_begin("rollback", step.name, step.count, now, step.parent)
    output = output_of(execution, step, compensation.call)
    identity = StepIdentity(step.name, step.count)
    config = DEFAULT_POLICY.as_config() if step.config is None else msgspec.json.decode(step.config)
    instance = execution.instance
    key = idempotency_key(instance, step)
    context = StepContext(identity, step.attempt, config, instance.id, instance.workflow, key)
    call = StepCall(step.name, None, compensation.handler, (RollbackContext(context, cause, output),))
    handler = _Handler(execution, call, compensation, record)
    if record.final:
        handler.value()
    else:
        await handler.execute()


def encoded(status: RollbackStatus) -> str:
    """Write how a rollback ended, for the store."""
    return msgspec.json.encode(status).decode()


def decoded(text: str) -> RollbackStatus:
    """Read how a rollback ended."""
    return msgspec.json.decode(text, type=RollbackStatus)
