"""The branches of an instance's code: what one waits for, what undoes a step, how far they have come. Values only."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

from msgspec import Struct

from everstep.api.declared import StepCall
from everstep.core.journal import StepRecord
from everstep.core.step_config import RollbackFunction
from everstep.core.step_policy import StepPolicy
from everstep.core.types import WaitingFor
from everstep.store.protocol import EventRecord

NEVER = 1 << 62
"""When a wait is due that only something else can end: a child workflow's end."""


class Wait(Struct, eq=False):
    """One branch that waits: for `due`, and for an event if `event_type` is set. The future gives the event or None."""

    record: StepRecord
    future: asyncio.Future[EventRecord | None]
    due: int
    event_type: str | None = None


running_instance: ContextVar[int | None] = ContextVar("everstep_instance", default=None)
"""The pk of the instance whose code runs here."""


class Compensation(Struct, frozen=True):
    """A step's rollback handler, its policy and the step's own call, as today's code registered them."""

    handler: RollbackFunction
    policy: StepPolicy
    call: StepCall


class Inbox:
    """Events that no wait has taken yet, in the order they came."""

    __slots__ = ("_events", "_last")

    def __init__(self, events: list[EventRecord]) -> None:
        self._events = list(events)
        self._last = events[-1].id if events else 0

    def add(self, event: EventRecord) -> bool:
        """Take an event in; return whether it is new: the claim and the sender may both bring it."""
        if event.id <= self._last:
            return False
        self._last = event.id
        self._events.append(event)
        return True

    def has_heard_of(self, event: int) -> bool:
        """Whether an event came before, whether or not it was taken since."""
        return event <= self._last

    def take(self, event_type: str) -> EventRecord | None:
        """Take out the oldest event of a type."""
        for event in self._events:
            if event.type == event_type:
                self._events.remove(event)
                return event
        return None

    def __bool__(self) -> bool:
        return bool(self._events)


def waiting_for(record: StepRecord) -> WaitingFor:
    """Describe what an open step waits for."""
    kind = {"sleep": "sleep", "wait": "event", "child": "workflow"}.get(record.kind, "retry")
    return WaitingFor(kind, record.name, record.event_type)  # type: ignore[arg-type]  # the three literals above


def hush(task: asyncio.Task[Any] | None) -> None:
    """Keep a branch that nobody awaits any more from reporting that it was put away."""
    if task is not None:
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())


def position_of(steps: list[StepRecord]) -> int:
    """How far a journal has come, as `recover_running` in the store counts it."""
    return sum(2 * step.attempt + 1 + (step.state == "retrying") + 2 * (step.ended_at is not None) for step in steps)
