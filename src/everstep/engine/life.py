"""One life of one instance: calls its `run` from the top, and records how that ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from everstep.api.env import use_env
from everstep.api.step import StepRunner, WorkflowStep
from everstep.core import codec
from everstep.core.stored_error import encode_error
from everstep.core.types import WorkflowEvent
from everstep.engine.program import WorkflowDefinition
from everstep.engine.run import Run
from everstep.engine.timestamps import utc
from everstep.store.protocol import InstanceChange

if TYPE_CHECKING:
    from typing import Any

    from everstep.store.protocol import InstanceRecord


async def live(run: Run, workflow: WorkflowDefinition, steps: StepRunner) -> InstanceChange | None:
    """Run an instance's code until it ends or is put away.

    Returns:
        How the instance ended, or None when it was put away.
    """
    try:
        with use_env(workflow.env):
            event = _event(run.instance, workflow)
            output = await workflow.instantiate().run(event, WorkflowStep(steps))
        if run.dropped:
            return None
        text, _ = codec.encode(output, where=f"the output of instance {run.instance.id!r}", declared=workflow.output)
    except asyncio.CancelledError as error:
        return None if run.dropped else errored(error)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  # the workflow's own, or the group a TaskGroup makes of Suspended
        return None if run.dropped else errored(error)
    return InstanceChange("complete", output=text)


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
