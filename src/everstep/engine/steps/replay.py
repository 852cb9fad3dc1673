"""One life of one instance: calls its `run` from the top, and records how that ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from everstep.api.current import place
from everstep.api.env import set_env
from everstep.api.step import StepRunner, WorkflowStep
from everstep.core import codec
from everstep.core.errors import Suspended
from everstep.core.journal import StepRecord
from everstep.core.stored_error import encode_error
from everstep.core.timestamps import utc
from everstep.core.types import WorkflowEvent
from everstep.engine.execution.branches import running_instance
from everstep.engine.execution.execution import Execution
from everstep.engine.runtime.registry import WorkflowDefinition
from everstep.engine.steps import rollback
from everstep.store.protocol import InstanceChange

if TYPE_CHECKING:
    from typing import Any

    from everstep.store.protocol import InstanceRecord


async def live(run: Execution, workflow: WorkflowDefinition, steps: StepRunner) -> InstanceChange | None:
    """Run an instance's code until it ends, is rolled back, or is put away.

    Returns:
        How the instance ended, or None when it was put away.
    """
    # A task's context is its own: branches inherit what is set here, nobody else sees it.
    running_instance.set(run.pk)
    if place.get() is not None:  # it was created by the code of another instance
        place.set(None)
    if rollback.reason(run) is not None:
        run.gathering = True
    change: InstanceChange | None
    set_env(workflow.env)
    change, error = await _run_code(run, workflow, steps)
    if run.evicted or (change is None and error is None):
        return None
    if error is not None and not run.gathering and run.compensations:
        await run.seal()
        await rollback.begin(run, error)
    if rollback.reason(run) is None:
        return change
    return await _rolled_back(run)


async def _run_code(
    run: Execution, workflow: WorkflowDefinition, steps: StepRunner
) -> tuple[InstanceChange | None, BaseException | None]:
    try:
        event = _event(run.instance, workflow)
        output = await workflow.instantiate().run(event, WorkflowStep(steps))
        if run.evicted:
            return None, None
        text, _ = codec.encode(output, where=f"the output of instance {run.instance.id!r}", declared=workflow.output)
    except asyncio.CancelledError as error:
        return (None, None) if run.evicted else (errored(error), error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  # the workflow's own, or the group a TaskGroup makes of Suspended
        return (None, None) if run.evicted else (errored(error), error)
    return InstanceChange("complete", output=text), None


async def _rolled_back(run: Execution) -> InstanceChange | None:
    """Call the rollback handlers and describe the end."""
    run.gathering = False
    await run.seal()
    rollback.give_up_waiting(run)
    why = rollback.reason(run) or ""
    try:
        status = await rollback.roll_back(run, why)
    except (Suspended, asyncio.CancelledError):
        if run.evicted:
            return None
        raise
    if run.evicted:  # while the last handler was being recorded
        return None
    ended: Literal["errored", "terminated"] = "terminated" if rollback.was_terminated(why) else "errored"
    error = why if ended == "errored" else None
    return InstanceChange(ended, error=error, rollback=rollback.encoded(status))


def leftovers(run: Execution, now: int) -> list[StepRecord]:
    """Return the stored steps of an instance that will never end, marked as cancelled."""
    for step in run.stored_open.values():
        step.state, step.ended_at = "cancelled", now
    return list(run.stored_open.values())


def errored(error: BaseException) -> InstanceChange:
    """Describe an instance that ended with an error."""
    return InstanceChange("errored", error=encode_error(error))


def _event(instance: InstanceRecord, workflow: WorkflowDefinition) -> WorkflowEvent[Any]:
    where = f"the params of instance {instance.id!r}"
    payload = {} if instance.params is None else codec.decode(instance.params, workflow.params, where=where)
    return WorkflowEvent(
        payload=codec.restore(payload, workflow.params, where=where),
        timestamp=utc(instance.created_at),
        instance_id=instance.id,
        workflow_name=instance.workflow,
    )
