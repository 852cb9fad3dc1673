"""Rolling an instance back: its steps' handlers in reverse order of their start, each a durable step of its own."""

from __future__ import annotations

import msgspec

from everstep.api.declared import StepCall
from everstep.core.errors import RollbackMissingError, StepError
from everstep.core.journal import StepRecord
from everstep.core.step_policy import DEFAULT_POLICY
from everstep.core.stored_error import decode_error, encode_error, error_info
from everstep.core.types import ErrorInfo, RollbackContext, RollbackStatus, StepContext, StepIdentity
from everstep.engine.execution.branches import Compensation
from everstep.engine.execution.execution import Execution
from everstep.engine.steps import recorded_values
from everstep.engine.steps.executor import carry_out, output_of

MARKER = ""
"""The name of the row that says an instance is being rolled back; its error is why."""


def reason(run: Execution) -> str | None:
    """Return why an instance is being rolled back, as stored, or None if it is not."""
    marker = run.journal.row("rollback", MARKER, 1)
    return None if marker is None else marker.error


TERMINATED = StepError("Terminated", "Instance terminated during rollback")
"""What handlers are told when the instance is terminated with a rollback (inventory §1.3.4)."""


def was_terminated(why: str) -> bool:
    """Whether a rollback's reason is that the instance was terminated."""
    return error_info(why).name == TERMINATED.name


async def begin(run: Execution, error: BaseException) -> None:
    """Record that the instance is rolled back from now on, so that a crash half-way goes on with it.

    Steps that were cut short are recorded with it: some are not on disk yet, and they have handlers, too.
    """
    now = run.host.clock.now()
    for step in run.journal.steps():
        if not step.final:
            step.state, step.ended_at = "cancelled", now
            run.write_soon(step)
    marker = run.journal.place("rollback", MARKER, 1, now)
    marker.error = encode_error(error)
    await run.write(marker)


def give_up_waiting(run: Execution) -> None:
    """Close the sleeps and waits of branches that were ended: nothing that comes for them may wake the rollback."""
    for step in [step for step in run.stored_open.values() if step.kind in ("sleep", "wait", "child")]:
        step.state, step.ended_at = "cancelled", run.host.clock.now()
        run.write_soon(step)
        del run.stored_open[step.seq]


async def roll_back(run: Execution, error: str) -> RollbackStatus:
    """Call the handlers of every step that has one; the first that fails for good ends the chain."""
    cause = decode_error(error)
    compensable = [step for step in run.journal.steps() if step.kind == "do" and step.compensable]
    for step in sorted(compensable, key=lambda step: step.seq, reverse=True):
        compensation = run.compensations.get(step.seq)
        try:
            if compensation is None:
                raise RollbackMissingError(
                    f"step {step.name!r} was to be rolled back, and today's code registers no handler for it"
                )
            await _compensate(run, step, compensation, cause)
        except Exception as failure:  # noqa: BLE001  # whatever a handler ends with is the rollback's outcome
            info = error_info(encode_error(failure))
            return RollbackStatus("failed", ErrorInfo(info.name, info.message))
    return RollbackStatus("complete")


async def _compensate(run: Execution, step: StepRecord, compensation: Compensation, cause: BaseException) -> None:
    record = run.journal.place("rollback", step.name, step.count, run.host.clock.now())
    output = output_of(run, step, compensation.call)
    identity = StepIdentity(step.name, step.count)
    config = DEFAULT_POLICY.as_config() if step.config is None else msgspec.json.decode(step.config)
    context = StepContext(identity, step.attempt, config, run.instance.id, run.instance.workflow)
    call = StepCall(step.name, None, compensation.handler, (RollbackContext(context, cause, output),))
    cuts = run.unseen_cuts.of(recorded_values.last_asked())
    recorded_values.asked(record)
    await carry_out(run, record, call, compensation.policy, cuts)


def encoded(status: RollbackStatus) -> str:
    """Write how a rollback ended, for the store."""
    return msgspec.json.encode(status).decode()


def decoded(text: str) -> RollbackStatus:
    """Read how a rollback ended."""
    return msgspec.json.decode(text, type=RollbackStatus)
