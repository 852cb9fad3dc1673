"""Facts about an instance's branches: what undoes a step, how far they have come, what one waits for."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar

from msgspec import Struct

from everstep.core.journal import StepRecord
from everstep.core.policy.step_config import RollbackFunction
from everstep.core.policy.step_policy import StepPolicy
from everstep.core.types import WaitingFor
from everstep.sdk.step_decorator import StepCall

running_instance: ContextVar[int | None] = ContextVar("everstep_instance", default=None)
"""The pk of the instance whose code runs here."""


class Compensation(Struct, frozen=True):
    """A step's rollback handler, its policy and the step's own call, as today's code registered them."""

    handler: RollbackFunction
    policy: StepPolicy
    call: StepCall


def waiting_for(record: StepRecord) -> WaitingFor:
    """Describe what an open step waits for."""
    kind = {"sleep": "sleep", "wait": "event", "child": "workflow", "timer": "timer"}.get(record.kind, "retry")
    return WaitingFor(kind, record.name, record.event_type)  # type: ignore[arg-type]  # the five literals above


def position_of(steps: Sequence[StepRecord]) -> int:
    """How far a journal has come, as `recover_running` in the store counts it."""
    return sum(2 * step.attempt + 1 + (step.state == "retrying") + 2 * (step.ended_at is not None) for step in steps)
