"""Instances and steps as people and programs see them: stored rows in, public values out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, structs

from everstep.core.errors import StoredValueError
from everstep.core.journal import AttemptRecord, StepRecord
from everstep.core.policy.step_policy import DEFAULT_POLICY
from everstep.core.serialization import codec
from everstep.core.serialization.stored_error import error_info
from everstep.core.timestamps import utc
from everstep.core.types import AttemptInfo, ErrorInfo, InstanceLink, InstanceStatus, StepInfo, StepType
from everstep.engine.execution.branches import waiting_for
from everstep.engine.execution.stream_summary import summary_of
from everstep.engine.steps.rollback import decoded
from everstep.store.protocol import InstanceRecord

REDACTED = "[REDACTED]"


class CutText(str):
    """The beginning of a stored value that is too long to be shown whole: JSON text as it is stored."""

    __slots__ = ()


_TYPES: dict[str, StepType] = {
    "do": "do",
    "sleep": "sleep",
    "wait": "waitForEvent",
    "child": "workflow",
    "rollback": "rollback",
    "timer": "timer",
}


def shown_steps(steps: Iterable[StepRecord]) -> list[StepRecord]:
    """Return the steps that views show: recorded values and the mark of a rollback are none."""
    return [step for step in steps if step.kind != "value" and step.name]


def instance_status(
    instance: InstanceRecord,
    shown: Sequence[StepRecord],
    *,
    now: int,
    traceback: bool,
    parent: InstanceLink | None = None,
) -> InstanceStatus:
    """Describe an instance at `now`, given the steps that are shown of it; no values of theirs are needed."""
    current = None if instance.ended else _current(shown)
    waiting = current is not None and current.state != "running" and instance.status == "waiting"
    began = instance.started_at or instance.created_at
    return InstanceStatus(
        status=instance.status,
        error=None if instance.error is None else _own_error(instance.error, traceback=traceback),
        output=None if instance.output is None else _value(instance.output),
        rollback=None if instance.rollback is None else decoded(instance.rollback),
        current_step=None if current is None else current.name,
        waiting_for=waiting_for(current) if current is not None and waiting else None,
        wake_at=utc(current.wake_at) if current is not None and _goes_on(instance, current) else None,
        step_count=len(shown),
        attempt=current.attempt if current is not None and current.kind == "do" else None,
        created_at=utc(instance.created_at),
        started_at=utc(instance.started_at),
        ended_at=utc(instance.ended_at),
        elapsed_ms=max(0, (instance.ended_at or now) - began),
        version=instance.version,
        parent=parent,
        children=[InstanceLink(*step.child.split("/", 1)) for step in shown if step.child is not None],
        tags=[] if instance.tags is None else msgspec.json.decode(instance.tags, type=list[str]),
    )


def _goes_on(instance: InstanceRecord, current: StepRecord) -> bool:
    """Whether an instance goes on by itself when its current step is due: not while that runs, and not while paused."""
    return current.state != "running" and instance.status != "paused"


def _current(steps: Sequence[StepRecord]) -> StepRecord | None:
    """The step an instance is in: one that runs before one that waits, and of those the one that goes on first."""
    open_steps = [step for step in steps if not step.final and step.state != "cancelled"]
    running = [step for step in open_steps if step.state == "running"]
    if running:
        return running[-1]
    return min(open_steps, key=lambda step: step.wake_at or 0, default=None)


def step_infos(
    instance: InstanceRecord,
    steps: Sequence[StepRecord],
    attempts: Sequence[AttemptRecord],
    *,
    chars: int | None = None,
) -> list[StepInfo]:
    """Describe steps of an instance. Results of more than `chars` characters are shown as `CutText`."""
    failed: dict[int, list[AttemptRecord]] = {}
    for attempt in attempts:
        failed.setdefault(attempt.seq, []).append(attempt)
    return [_step_info(step, failed.get(step.seq, []), ended=instance.ended, chars=chars) for step in steps]


def _step_info(step: StepRecord, failed: Sequence[AttemptRecord], *, ended: bool, chars: int | None) -> StepInfo:
    return StepInfo(
        seq=step.seq,
        name=step.name,
        count=step.count,
        type=type_of(step),
        status="cancelled" if ended and not step.final else step.state,
        started_at=utc(step.started_at),
        ended_at=utc(step.ended_at),
        wake_at=utc(step.wake_at),
        output=output_of(step, chars),
        error=None if step.error is None else error_info(step.error),
        config=config_of(step),
        event_type=step.event_type,
        attempts=_attempt_infos(step, failed),
        parent=step.parent,
    )


def type_of(step: StepRecord) -> StepType:
    """Return what views call a step's kind."""
    return _TYPES[step.kind]


def output_of(step: StepRecord, chars: int | None = None) -> Any:
    """Return what a step's views show of its result: all of it, or its beginning where it has more than `chars`."""
    if step.result is None or step.sensitive:
        return None if step.result is None else REDACTED
    if chars is not None and len(step.result) > chars:
        return CutText(step.result[:chars])
    return shown_output(step.result, of_wait=step.kind == "wait")


def shown_output(text: str, *, of_wait: bool) -> Any:
    """Return a stored result as views show it; of a wait it is the event's payload."""
    output = _value(text)
    return output["payload"] if of_wait and isinstance(output, dict) else output


def _attempt_infos(step: StepRecord, failed: Sequence[AttemptRecord]) -> list[AttemptInfo]:
    """Every attempt of a step: the failed ones as recorded, and the latest from the step itself.

    A number without a record is an attempt that a crash may have interrupted before its start was written.
    """
    if step.kind not in ("do", "rollback"):
        return []
    records = {attempt.attempt: attempt for attempt in failed}
    infos = [_attempt_info(number, records.get(number), step) for number in range(1, step.attempt + 1)]
    return [info for info in infos if info is not None]


def _attempt_info(number: int, record: AttemptRecord | None, step: StepRecord) -> AttemptInfo | None:
    if record is not None:
        error, retry_at = error_info(record.error), utc(record.retry_at)
        return AttemptInfo(number, utc(record.started_at), utc(record.ended_at), "errored", error, retry_at)
    began = utc(step.attempt_at or step.started_at)
    if number == step.attempt and step.state in ("running", "complete"):
        return AttemptInfo(number, began, utc(step.ended_at), step.state)
    if number == step.attempt and step.state == "cancelled":
        return None
    cut = ErrorInfo("AttemptInterruptedError", "a crash may have cut this attempt off before its start was recorded")
    return AttemptInfo(number, utc(step.started_at), utc(step.started_at), "errored", cut)


def config_of(step: StepRecord) -> dict[str, Any] | None:
    """Return the configuration a step began with, with every default filled in."""
    if step.kind not in ("do", "rollback"):
        return None
    return DEFAULT_POLICY.as_config() if step.config is None else msgspec.json.decode(step.config, type=dict[str, Any])


def _value(text: str) -> Any:
    summary = summary_of(text)
    if summary is not None:
        return summary.shown()
    try:
        return codec.decode(text)
    except StoredValueError:  # its class is gone: show what is stored
        return msgspec.json.decode(text)


def _own_error(text: str, *, traceback: bool) -> ErrorInfo:
    """Return what an instance ended with. Its traceback is for who asks for every step: apps hand a status on."""
    error = error_info(text)
    return error if traceback else plain_error(error)


def plain_error(error: ErrorInfo) -> ErrorInfo:
    """Return an error without where it came from."""
    return structs.replace(error, traceback=UNSET, origin=UNSET)
