"""What every store refuses, in the same words. Looks nothing up."""

from __future__ import annotations

from everstep.core.errors import InstanceExistsError, InstanceNotFoundError, InstanceStateError, NonDeterminismError
from everstep.store.protocol import InstanceRecord, NewInstance, StepKey


def already_exists(new: NewInstance) -> InstanceExistsError:
    """Say that an id is taken."""
    return InstanceExistsError(
        f"an instance {new.id!r} of workflow {new.workflow!r} exists already; use another id, or get() it"
    )


def not_found(workflow: str, id: str) -> InstanceNotFoundError:
    """Say that there is no such instance."""
    return InstanceNotFoundError(f"workflow {workflow!r} has no instance {id!r}")


def no_such_step(instance: InstanceRecord, step: StepKey) -> InstanceStateError:
    """Say that a history has no such step to restart from."""
    return InstanceStateError(
        f"instance {instance.id!r} of {instance.workflow!r} cannot be restarted from step {step.name!r} "
        f"({step.kind} #{step.count}): its history has no such step",
        "instance.cannot_restart",
    )


def check_live(instance: InstanceRecord, what: str, code: str) -> None:
    """Raise InstanceStateError if an instance has ended: it cannot do `what` any more."""
    if instance.ended:
        raise InstanceStateError(
            f"instance {instance.id!r} of {instance.workflow!r} cannot {what}: it is {instance.status}", code
        )


def failed_nondeterministically(instance: InstanceRecord) -> bool:
    """Whether an instance ended only because its code contradicted its history: it may go on with other code."""
    return instance.error is not None and f'"{NonDeterminismError.code}"' in instance.error
