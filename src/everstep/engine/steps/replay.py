"""An instance's code from the top: the task of `run`, and how it ended."""

from __future__ import annotations

from typing import Any

from everstep.core.serialization import codec
from everstep.core.serialization.stored_error import encode_error
from everstep.core.timestamps import utc
from everstep.core.types import WorkflowEvent
from everstep.engine.execution.branches import running_instance
from everstep.engine.runtime.registry import WorkflowDefinition
from everstep.sdk.env import set_env
from everstep.sdk.step import StepRunner, WorkflowStep
from everstep.store.protocol import InstanceChange, InstanceRecord


async def run_code(
    instance: InstanceRecord, workflow: WorkflowDefinition, steps: StepRunner
) -> tuple[InstanceChange, BaseException | None]:
    """Run an instance's code from the top, whether or not it ran before.

    Returns:
        How the instance ends with that, and the error, if it raised one.
    """
    running_instance.set(instance.pk)
    set_env(workflow.env)
    try:
        output = await workflow.instantiate().run(_event(instance, workflow), WorkflowStep(steps))
        text, _ = codec.encode(output, where=f"the output of instance {instance.id!r}", declared=workflow.output)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  # the workflow's own, a SystemExit and a CancelledError included
        return errored(error), error
    return InstanceChange("complete", output=text), None


def errored(error: BaseException) -> InstanceChange:
    """Describe an instance that ended with an error."""
    return InstanceChange("errored", error=encode_error(error))


def _event(instance: InstanceRecord, workflow: WorkflowDefinition) -> WorkflowEvent[Any]:
    where = f"the params of instance {instance.id!r}"
    payload = {} if instance.params is None else codec.decode(instance.params, workflow.params, where=where)
    return WorkflowEvent(
        payload=codec.coerce(payload, workflow.params, where=where),
        timestamp=utc(instance.created_at),
        instance_id=instance.id,
        workflow_name=instance.workflow,
    )
