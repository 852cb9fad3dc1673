"""What happens to instances, as values. One class per kind of event; times are milliseconds since 1970."""

from __future__ import annotations

from msgspec import Struct

from everstep.core.types import ErrorInfo


class Event(Struct, frozen=True, kw_only=True):
    """Something that happened to one instance of `workflow`."""

    workflow: str
    instance_id: str
    at: int


class InstanceCreated(Event, frozen=True):
    """An instance was created and will run."""


class InstanceStarted(Event, frozen=True):
    """An instance's code begins. `recovered` counts crashes in a row; `replayed` is how many steps it has behind it."""

    replayed: int
    recovered: int


class InstanceParked(Event, frozen=True):
    """Every branch of the instance waits; `due_at` is when it goes on by itself."""

    due_at: int | None


class InstancePaused(Event, frozen=True):
    """The instance is paused."""


class InstanceResumed(Event, frozen=True):
    """The instance goes on after a pause."""


class InstanceRestarted(Event, frozen=True):
    """The instance starts again from nothing."""


class InstanceEnded(Event, frozen=True):
    """The instance ended: `status` is complete, errored or terminated."""

    status: str
    elapsed_ms: int
    error: ErrorInfo | None = None


class StepProgress(Event, frozen=True, kw_only=True):
    """Something that happened to one step."""

    step: str
    count: int


class AttemptStarted(StepProgress, frozen=True):
    """An attempt begins; `max_attempts` is how many the step may have."""

    attempt: int
    max_attempts: int


class AttemptFailed(StepProgress, frozen=True):
    """An attempt failed. `retry_at` is None when it was the last."""

    attempt: int
    max_attempts: int
    error: ErrorInfo
    retry_at: int | None


class StepCompleted(StepProgress, frozen=True):
    """A step's result is on disk."""

    attempt: int
    duration_ms: int


class SleepStarted(StepProgress, frozen=True):
    """A sleep begins."""

    wake_at: int


class WaitStarted(StepProgress, frozen=True):
    """A wait for an event begins."""

    type: str
    timeout_at: int


class WaitEnded(StepProgress, frozen=True):
    """A wait received its event, or timed out."""

    type: str
    timed_out: bool


class EventSent(Event, frozen=True):
    """An event was queued for the instance."""

    type: str
