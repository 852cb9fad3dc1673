"""The values users meet: events, statuses, steps and contexts. Data only; nothing here does anything.

Fields keep their names in JSON. Times are aware UTC datetimes; lengths of time carry their unit in the name.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, TypeAlias, get_args

from msgspec import UNSET, Struct, UnsetType
from typing_extensions import TypeVar

from everstep.core.call_forms import NamesInSnakeCase

Status: TypeAlias = Literal[
    "queued", "running", "waiting", "paused", "waitingForPause", "errored", "terminated", "complete", "unknown"
]
"""An instance's status, in the original's words (inventory §3.1)."""

STATUSES: tuple[str, ...] = get_args(Status)

TERMINAL: frozenset[str] = frozenset({"errored", "terminated", "complete"})
"""The statuses an instance never leaves by itself."""

Durability: TypeAlias = Literal["full", "relaxed"]
"""Whether what an instance records of itself outlives a loss of power, or only the death of its process."""

DURABILITIES: tuple[str, ...] = get_args(Durability)

StepType: TypeAlias = Literal["do", "sleep", "waitForEvent", "workflow", "rollback", "timer"]
StepStatus: TypeAlias = Literal["running", "retrying", "waiting", "complete", "errored", "cancelled"]

PayloadT = TypeVar("PayloadT", default=Any)


class View(NamesInSnakeCase, Struct, frozen=True):
    """A value to look at, by attribute or by key: `status.output`, `status["output"]`, `dict(status)`."""

    def __getitem__(self, name: str) -> Any:
        """Return a field by its name; raises KeyError for others."""
        if name not in self.keys():
            raise KeyError(name)
        return getattr(self, name)

    def keys(self) -> list[str]:
        """Return the names of the fields that are there."""
        return [name for name in self.__struct_fields__ if getattr(self, name) is not UNSET]


class Schedule(Struct, frozen=True):
    """Which schedule created an instance.

    Attributes:
        cron: The schedule's expression.
        scheduled_time: When it was due.
    """

    cron: str
    scheduled_time: datetime


class WorkflowEvent(NamesInSnakeCase, Struct, Generic[PayloadT], frozen=True):
    """What an instance was created with; the same on every replay.

    Attributes:
        payload: The params, as the declared `ParamsT`; `{}` when none were given and none are declared.
        timestamp: When the instance was created.
        instance_id: The instance's id.
        workflow_name: The workflow's name.
        schedule: The schedule that created the instance, or None; always None in this release, which runs no schedules.
    """

    payload: PayloadT
    timestamp: datetime
    instance_id: str
    workflow_name: str
    schedule: Schedule | None = None


class StepEvent(NamesInSnakeCase, Struct, Generic[PayloadT], frozen=True):
    """An event that `step.wait_for_event` received.

    Attributes:
        payload: What was sent, as the declared type.
        timestamp: When it was sent.
        type: The event's type.
    """

    payload: PayloadT
    timestamp: datetime
    type: str


class StepIdentity(Struct, frozen=True):
    """Which step: its name, and how many times that name came before, counted from 1."""

    name: str
    count: int


class StepContext(NamesInSnakeCase, Struct, frozen=True):
    """What a step's function may know of its own attempt.

    Attributes:
        step: `name` and `count` of the step.
        attempt: The attempt's number, counted from 1.
        config: The step's configuration with every default filled in.
        instance_id: The instance's id.
        workflow_name: The workflow's name.
        idempotency_key: 32 characters to send along with a call that changes something outside: the same in every
            attempt and replay of the step, another one for each step and instance, and after a `restart()`.
    """

    step: StepIdentity
    attempt: int
    config: dict[str, Any]
    instance_id: str
    workflow_name: str
    idempotency_key: str = ""


class RetryContext(Struct, frozen=True):
    """What a delay function may decide on.

    Attributes:
        ctx: The context of the attempt that failed.
        error: What it failed with.
    """

    ctx: StepContext
    error: BaseException


class RollbackContext(Struct, frozen=True):
    """What a rollback handler is told.

    Attributes:
        ctx: The context of the step to undo.
        error: Why the instance rolls back.
        output: What the step returned, or None if it did not complete.
    """

    ctx: StepContext
    error: BaseException
    output: Any


class ErrorInfo(View, frozen=True):
    """An error for people and programs.

    Attributes:
        name: The name of the exception's class.
        message: The exception's text.
        code: The stable code of an error of Everstep's own.
        traceback: The text of the traceback, where it is shown: see `status(steps=True)`.
        origin: The line of the program that raised it, where it is known.
    """

    name: str
    message: str
    code: str | UnsetType = UNSET
    traceback: str | UnsetType = UNSET
    origin: str | UnsetType = UNSET


class WaitingFor(View, frozen=True):
    """What an instance waits for.

    Attributes:
        kind: A sleep, an event, a step's next attempt, a child workflow, or a timer of asyncio.
        step: The step's name.
        type: The event's type, where it waits for one.
    """

    kind: Literal["sleep", "event", "retry", "workflow", "timer"]
    step: str
    type: str | None = None


class AttemptInfo(View, frozen=True):
    """One try of one step.

    Attributes:
        attempt: Its number, counted from 1.
        started_at: When it began.
        ended_at: When it ended; None while it runs.
        status: Whether it runs, gave a result, or failed.
        error: What it failed with.
        retry_at: When the next one was due, if there was to be one.
    """

    attempt: int
    started_at: datetime
    ended_at: datetime | None
    status: Literal["running", "complete", "errored"]
    error: ErrorInfo | None = None
    retry_at: datetime | None = None


class StepInfo(View, frozen=True):
    """One step of an instance as `status(steps=True)` shows it.

    Attributes:
        seq: Its number in the order in which steps started.
        name: Its name.
        count: How many times that name came, counted from 1.
        type: What kind of call it is.
        status: `retrying` between two attempts, `waiting` in a sleep, a wait or for a child.
        started_at: When it started.
        ended_at: When it ended; None before.
        wake_at: When a sleep ends, a wait times out, or the next attempt is due.
        output: What it returned; `[REDACTED]` where it is sensitive.
        error: What it ended with.
        config: The configuration it began with, every default filled in.
        event_type: The type of the event it waits for.
        attempts: Every attempt, the first one first.
        parent: The `seq` of the step whose function asked for this one; None outside of a step.
    """

    seq: int
    name: str
    count: int
    type: StepType
    status: StepStatus
    started_at: datetime
    ended_at: datetime | None
    wake_at: datetime | None
    output: Any
    error: ErrorInfo | None
    config: dict[str, Any] | None
    event_type: str | None
    attempts: list[AttemptInfo]
    parent: int | None = None


class StepPage(View, frozen=True):
    """Some steps of an instance.

    Attributes:
        steps: The steps, the first one first.
        cursor: Where the next page begins; None after the last.
    """

    steps: list[StepInfo]
    cursor: str | None


class SubscriptionEvent(View, frozen=True, omit_defaults=True):
    """One numbered event of an instance, as `subscribe` gives it; types and facts are the original's (inventory §2.7).

    Attributes:
        event_id: Its number: 1 for the first event of the instance, without gaps. After a restart they go on higher up.
        type: e.g. `"step_completed"`.
        timestamp: When it happened.
        instance_id: The instance.
        step_name: The step as `name-count`, for events of steps.
        attempt: The attempt, for events of attempts.
        params: What the instance was created with, in `workflow_started`.
        config: The configuration of a step that starts.
        output: The result of a step, or of the instance, that completed.
        error: What a step, an attempt or the instance failed with.
        retry_delay_ms: Milliseconds until the next attempt.
        duration_ms: How many milliseconds a sleep that starts will take.
        event_type: The type of the event that is waited for.
    """

    event_id: int
    type: str
    timestamp: datetime
    instance_id: str
    step_name: str | None = None
    attempt: int | None = None
    params: Any = None
    config: dict[str, Any] | None = None
    output: Any = None
    error: ErrorInfo | None = None
    retry_delay_ms: int | None = None
    duration_ms: int | None = None
    event_type: str | None = None


class BatchError(View, frozen=True):
    """One instance of a batch that was not created, or not deleted.

    Attributes:
        index: Its place in the batch, counted from 0.
        id: The id that was asked for.
        code: The error's stable code.
        message: The error's text.
    """

    index: int
    id: str | None
    code: str
    message: str


class RollbackStatus(View, frozen=True):
    """How the rollback of an instance ended.

    Attributes:
        outcome: `failed` where a handler failed for good, or was missing.
        error: What it failed with.
    """

    outcome: Literal["complete", "failed"]
    error: ErrorInfo | None = None


class InstanceLink(View, frozen=True):
    """Another instance: the parent that started this one, or a child.

    Attributes:
        workflow: The name of its workflow.
        id: Its id.
    """

    workflow: str
    id: str


class InstanceStatus(View, frozen=True, omit_defaults=False):
    """An instance at one moment.

    Attributes:
        status: See `Status`.
        error: Why it ended as `errored`; its traceback only with `status(steps=True)`.
        output: What `run` returned, once `complete`.
        rollback: How its rollback ended, or None.
        current_step: The name of the step it is in: running, retrying, sleeping or waiting.
        waiting_for: What it waits for while nothing runs.
        wake_at: When it goes on by itself: the end of a sleep, the next attempt, a wait's timeout.
        step_count: Steps started so far, sleeps and waits included.
        attempt: The attempt of the current step, counted from 1.
        created_at: When it was created.
        started_at: When its code first ran.
        ended_at: When it ended.
        elapsed_ms: Milliseconds from its start (its creation, while it is queued) to its end, or until now.
        version: The version of the program it runs, where one is known.
        parent: The instance that started it with `step.run_workflow`, or None.
        children: The instances it started with `step.run_workflow`.
        tags: What it was tagged with when it was created.
        steps: Every step with its attempts, oldest first; only with `status(steps=True)`.
    """

    status: Status
    error: ErrorInfo | None
    output: Any
    rollback: RollbackStatus | None
    current_step: str | None
    waiting_for: WaitingFor | None
    wake_at: datetime | None
    step_count: int
    attempt: int | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    elapsed_ms: int
    version: str | None
    parent: InstanceLink | None = None
    children: list[InstanceLink] = []
    tags: list[str] = []
    steps: list[StepInfo] | UnsetType = UNSET
