"""Workflows, instances and steps in the shapes of Cloudflare's v4 API, with what it lacks added. Data in, JSON out.

Added to the original: current_step, waiting_for, wake_at, elapsed_ms and attempt of an instance; seq, status and
wake_at of a step; attempt, retry_at of an attempt; traceback and code of an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET

from everstep.control.status import CutText
from everstep.core.errors import NotSerializableError, StoredValueError
from everstep.core.serialization import codec
from everstep.core.serialization.stored_error import error_info
from everstep.core.timestamps import utc
from everstep.core.types import AttemptInfo, ErrorInfo, InstanceLink, InstanceStatus, StepInfo, StepType
from everstep.engine.runtime.registry import WorkflowDefinition
from everstep.store.protocol import InstanceRecord

STATUSES = (
    "queued",
    "running",
    "waiting",
    "paused",
    "waitingForPause",
    "rollingBack",
    "complete",
    "errored",
    "terminated",
)
"""Every status the API knows, in the order people read them."""

PREVIEW_CHARS = 1024
"""Characters of a step's output that an instance's answer shows."""
TRUNCATED = "[truncated output]"

_STEP_TYPES = {
    "do": "step",
    "sleep": "sleep",
    "waitForEvent": "waitForEvent",
    "workflow": "workflow",
    "rollback": "rollback",
    "timer": "sleep",  # the original has no other word for one
}
_SUCCESS = {"complete": True, "errored": False, "terminated": False, "cancelled": False}


def iso(moment: datetime | None) -> str | None:
    """Write a UTC moment with its milliseconds: `2026-11-22T13:11:16.075Z`."""
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def all_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Return counts by status with a zero for every status that has none."""
    return {**dict.fromkeys(STATUSES, 0), **counts}


def workflow_shape(definition: WorkflowDefinition, counts: Mapping[str, int], script: str) -> dict[str, Any]:
    return {
        "id": definition.name,
        "name": definition.name,
        "class_name": definition.cls.__name__,
        "script_name": script,
        "created_on": None,
        "modified_on": None,
        "triggered_on": None,
        "instances": all_counts(counts),
    }


def row_shape(instance: InstanceRecord, parents: Mapping[int, InstanceLink]) -> dict[str, Any]:
    """An instance as a line of a list, with its parent among those of the list."""
    ended = utc(instance.ended_at)
    started = utc(instance.started_at)
    created = utc(instance.created_at)
    return {
        "id": instance.id,
        "status": instance.status,
        "created_on": iso(created),
        "started_on": iso(started),
        "ended_on": iso(ended),
        "modified_on": iso(ended or started or created),
        "version_id": instance.version,
        "workflow_id": instance.workflow,
        "trigger_source": instance.trigger,
        "parent": None if instance.parent is None else plain(parents.get(instance.parent)),
    }


def instance_shape(
    instance: InstanceRecord, status: InstanceStatus, steps: Sequence[StepInfo], *, newest_first: bool = False
) -> dict[str, Any]:
    """An instance with everything that is known about it, and with steps of it in the order they started."""
    shapes = [step_shape(step) for step in steps]
    return {
        "id": instance.id,
        "status": status.status,
        "params": shown(instance.params),
        "output": plain(status.output),
        "error": None if instance.error is None else error_shape(error_info(instance.error)),
        "rollback": plain(status.rollback),
        "queued": iso(status.created_at),
        "start": iso(status.started_at),
        "end": iso(status.ended_at),
        "success": _SUCCESS.get(status.status),
        "step_count": status.step_count,
        "steps": shapes[::-1] if newest_first else shapes,
        "trigger": {"source": instance.trigger},
        "versionId": status.version,
        "current_step": status.current_step,
        "waiting_for": plain(status.waiting_for),
        "wake_at": iso(status.wake_at),
        "elapsed_ms": status.elapsed_ms,
        "attempt": status.attempt,
        "parent": plain(status.parent),
        "children": plain(status.children),
        "tags": status.tags,
    }


def step_shape(step: StepInfo) -> dict[str, Any]:
    """A step as a part of its instance, a long output cut to a preview."""
    shape: dict[str, Any] = {
        "type": _STEP_TYPES[step.type],
        "name": step_name(step),
        "start": iso(step.started_at),
        "end": iso(step.ended_at),
        "error": None if step.error is None else error_shape(step.error),
        "seq": step.seq,
        "status": step.status,
        "wake_at": iso(step.wake_at),
        "parent": step.parent,
    }
    if step.type in ("do", "rollback"):
        attempts = [attempt_shape(attempt) for attempt in step.attempts]
        shape |= {"success": _SUCCESS.get(step.status), "config": step.config, "attempts": attempts}
    else:
        shape["finished"] = step.status in ("complete", "errored")
    if step.type == "waitForEvent":
        shape["event_type"] = step.event_type
    if step.type != "sleep":
        shape |= _output_preview(step.output)
    return shape


def whole_step_shape(step: StepInfo) -> dict[str, Any]:
    """A step by itself, with its whole output."""
    shape = {
        "status": step.status,
        "error": None if step.error is None else error_shape(step.error),
        "output": plain(step.output),
    }
    return {**shape, "event_type": step.event_type} if step.type == "waitForEvent" else shape


def attempt_shape(attempt: AttemptInfo) -> dict[str, Any]:
    return {
        "attempt": attempt.attempt,
        "start": iso(attempt.started_at),
        "end": iso(attempt.ended_at),
        "success": _SUCCESS.get(attempt.status),
        "error": None if attempt.error is None else error_shape(attempt.error),
        "retry_at": iso(attempt.retry_at),
    }


def error_shape(error: ErrorInfo) -> dict[str, Any]:
    shape: dict[str, Any] = msgspec.structs.asdict(error)
    return {key: plain(value) for key, value in shape.items() if value is not UNSET}


def step_name(step: StepInfo) -> str:
    """A step's name with how many times it came: `charge-1`."""
    return f"{step.name}-{step.count}"


def step_type(type: StepType) -> str:
    """The original's word for a step's type."""
    return _STEP_TYPES[type]


def shown(text: str | None) -> Any:
    """Read a stored value for people; one that today's code cannot rebuild is shown as it is stored."""
    if text is None:
        return None
    try:
        return plain(codec.decode(text))
    except StoredValueError:
        return msgspec.json.decode(text)


def plain(value: object) -> Any:
    """Turn a value into JSON; one that resists must not keep the rest of an instance from being seen."""
    if isinstance(value, CutText):
        return value + TRUNCATED
    try:
        return codec.plain(value)
    except NotSerializableError:
        return repr(value)


def _output_preview(output: object) -> dict[str, Any]:
    if isinstance(output, CutText):
        return {"output": output[:PREVIEW_CHARS] + TRUNCATED, "output_truncated": True}
    value = plain(output)
    text = codec.plain_json(value).decode()
    if len(text) <= PREVIEW_CHARS:
        return {"output": value}
    return {"output": text[:PREVIEW_CHARS] + TRUNCATED, "output_truncated": True}
