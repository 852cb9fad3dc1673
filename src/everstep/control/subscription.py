"""What happened to an instance as numbered events: history first, then live, until the terminal one.

The numbers are ranks in the order in which things were written, so they never change and have no gaps. The events of a
life that a restart began are numbered above all that came before it, the kept ones of steps before `from_step` too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from typing import TYPE_CHECKING, Any

from everstep.control.status import REDACTED, config_of, plain_error
from everstep.core.journal import StepRecord
from everstep.core.list_argument import list_argument
from everstep.core.serialization import codec
from everstep.core.serialization.stored_error import error_info
from everstep.core.suggest import did_you_mean
from everstep.core.timestamps import utc
from everstep.core.types import SubscriptionEvent
from everstep.engine.execution.stream_summary import summary_of
from everstep.engine.steps.rollback import decoded
from everstep.store.protocol import HistoryEntry, InstanceRecord

if TYPE_CHECKING:
    from everstep.engine.engine import Engine

_POLL_SECONDS = 0.5
"""How often to look without having been told: what another process writes is seen this late."""
_BEFORE_THE_START = ("restarted", "workflow_paused")
_ENDS = {"complete": "workflow_completed", "errored": "workflow_errored", "terminated": "workflow_terminated"}


async def follow(
    engine: Engine, instance: InstanceRecord, cursor: int, wanted: Collection[str] | None
) -> AsyncIterator[SubscriptionEvent]:
    """Yield the events numbered above `cursor`, of the wanted types, and end after the terminal one."""
    history = _History(instance)
    while True:
        changed = engine.watchers.changed(instance.pk)
        found = await engine.store.history(instance.pk, after=history.position)
        current = await engine.store.by_pk(instance.pk)
        if history.sent and any(happening.event == "restarted" for happening in found):
            history = _History(instance)  # the life that was followed is over, and this one is told from its beginning
            continue
        for event in history.extend(found, current):
            if event.event_id > cursor and (wanted is None or event.type in wanted):
                yield event
        if history.ended or current is None:
            return
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                await changed.wait()
        except TimeoutError:
            pass


_TYPES = frozenset(
    [
        *(f"workflow_{what}" for what in ("queued", "started", "running", "paused", "waiting_for_pause", "waiting")),
        *_ENDS.values(),
        *(f"{kind}step_{what}" for kind in ("", "rollback_") for what in ("started", "completed", "errored")),
        *(f"{kind}attempt_{what}" for kind in ("", "rollback_") for what in ("started", "completed", "errored")),
        *("sleep_started", "sleep_completed", "wait_started", "wait_completed", "wait_timed_out"),
        *("rollback_started", "rollback_completed", "rollback_errored"),
    ]
)


def checked_subscription(cursor: int, filter: Iterable[str] | None) -> frozenset[str] | None:
    """Return the wanted types. Raises `TypeError` and `ValueError` for a cursor or a filter that means nothing."""
    if not isinstance(cursor, int) or isinstance(cursor, bool) or cursor < 0:
        raise ValueError(f"cursor must be a whole number from 0, got {cursor!r}")
    if filter is None:
        return None
    wanted = list_argument(filter, "filter is a list of event types")
    for type in wanted:
        if not isinstance(type, str) or type not in _TYPES:
            raise ValueError(f"there are no events of type {type!r}{did_you_mean(str(type), _TYPES)}")
    return frozenset(wanted)


class _History:
    """Turns rows in the order they were written into numbered events."""

    def __init__(self, instance: InstanceRecord) -> None:
        self._instance = instance
        self._number: int | None = None
        self._attempts: dict[int, int] = {}
        self._names: dict[int, str] = {}
        self._limits: dict[int, StepRecord] = {}
        self._begun = False
        self.position = 0
        self.ended = False

    @property
    def sent(self) -> bool:
        """Whether anything has been told of it."""
        return self._number is not None

    def extend(self, found: list[HistoryEntry], current: InstanceRecord | None) -> list[SubscriptionEvent]:
        events: list[SubscriptionEvent] = []
        if self._number is None:
            self._number = max((one.number for one in found), default=0)
            events.append(self._event("workflow_queued", self._instance.created_at))
        for happening in found:
            self.position = max(self.position, happening.position)
            if happening.event not in _BEFORE_THE_START:
                events += self._start(current, happening)
            events += self._told(happening, current)
        return events + self._start(current)

    def _start(self, current: InstanceRecord | None, first: HistoryEntry | None = None) -> list[SubscriptionEvent]:
        """Return the event of the start, once. It has no row, and comes before the `first` that is of no earlier time.

        After a restart from a step that is a kept one, whether the instance has begun again yet or not.
        """
        if self._begun or current is None:
            return []
        moments = [] if current.started_at is None else [current.started_at]
        if first is not None and first.event != "ended":
            moments.append(first.at)
        if not moments:
            return []
        self._begun = True
        params = None if current.params is None else codec.plain(codec.decode(current.params))
        return [self._event("workflow_started", min(moments), params=params)]

    def _told(self, happening: HistoryEntry, current: InstanceRecord | None) -> list[SubscriptionEvent]:
        if happening.event == "restarted":
            return []
        if happening.event == "ended":
            return self._end(current)
        if happening.step is not None:
            return self._step(happening, happening.step)
        if happening.attempt is not None:
            return self._failed_attempt(happening)
        return [self._event(happening.event, happening.at)]

    def _end(self, current: InstanceRecord | None) -> list[SubscriptionEvent]:
        if current is None or not current.ended:
            return []
        self.ended = True
        events = []
        if current.rollback is not None:
            status = decoded(current.rollback)
            outcome = "completed" if status.outcome == "complete" else "errored"
            events.append(self._event(f"rollback_{outcome}", current.ended_at or 0, error=status.error))
        facts: dict[str, Any] = {}
        if current.output is not None:
            facts["output"] = codec.plain(codec.decode(current.output))
        if current.error is not None:
            facts["error"] = plain_error(error_info(current.error))
        return [*events, self._event(_ENDS[current.status], current.ended_at or 0, **facts)]

    def _step(self, happening: HistoryEntry, step: StepRecord) -> list[SubscriptionEvent]:
        name = f"{step.name}-{step.count}"
        self._names[step.seq] = name
        self._limits[step.seq] = step
        began = happening.event == "step"
        match step.kind:
            case "do" | "child":
                return self._began(step, "") if began else self._ended(step, "")
            case "rollback" if not step.name:
                return [self._event("rollback_started", happening.at)] if began else []
            case "rollback":
                return self._began(step, "rollback_") if began else self._ended(step, "rollback_")
            case "sleep" if began:
                duration = (step.wake_at or step.started_at) - step.started_at
                return [self._event("sleep_started", step.started_at, step_name=name, duration_ms=max(0, duration))]
            case "sleep":
                return [self._event("sleep_completed", happening.at, step_name=name)]
            case "wait" if began:
                return [self._event("wait_started", step.started_at, step_name=name, event_type=step.event_type)]
            case "wait":
                kind = "wait_completed" if step.state == "complete" else "wait_timed_out"
                return [self._event(kind, happening.at, step_name=name)]
        return []

    def _began(self, step: StepRecord, prefix: str) -> list[SubscriptionEvent]:
        name = self._names[step.seq]
        events = [self._event(f"{prefix}step_started", step.started_at, step_name=name, config=config_of(step))]
        if step.kind != "child":
            events.append(self._attempt_began(step.seq, prefix, 1, step.started_at))
        return events

    def _ended(self, step: StepRecord, prefix: str) -> list[SubscriptionEvent]:
        name, at, events = self._names[step.seq], step.ended_at or 0, []
        if step.state == "complete" and step.kind != "child":
            if self._attempts.get(step.seq, 0) < step.attempt:
                events.append(self._attempt_began(step.seq, prefix, step.attempt, step.attempt_at or at))
            events.append(self._event(f"{prefix}attempt_completed", at, step_name=name, attempt=step.attempt))
        if step.state == "complete":
            events.append(self._event(f"{prefix}step_completed", at, step_name=name, output=_output(step)))
        elif step.state == "errored":
            error = None if step.error is None else plain_error(error_info(step.error))
            events.append(self._event(f"{prefix}step_errored", at, step_name=name, error=error))
        return events

    def _failed_attempt(self, happening: HistoryEntry) -> list[SubscriptionEvent]:
        attempt = happening.attempt
        assert attempt is not None
        step = self._limits.get(attempt.seq)
        prefix = "rollback_" if step is not None and step.kind == "rollback" else ""
        events = []
        if self._attempts.get(attempt.seq, 0) < attempt.attempt:
            events.append(self._attempt_began(attempt.seq, prefix, attempt.attempt, attempt.started_at))
        delay = None if attempt.retry_at is None else attempt.retry_at - attempt.ended_at
        events.append(
            self._event(
                f"{prefix}attempt_errored",
                attempt.ended_at,
                step_name=self._names.get(attempt.seq),
                attempt=attempt.attempt,
                retry_delay_ms=delay,
                error=plain_error(error_info(attempt.error)),
            )
        )
        return events

    def _attempt_began(self, seq: int, prefix: str, number: int, at: int) -> SubscriptionEvent:
        self._attempts[seq] = number
        return self._event(f"{prefix}attempt_started", at, step_name=self._names.get(seq), attempt=number)

    def _event(self, type: str, at: int, **facts: Any) -> SubscriptionEvent:
        self._number = (self._number or 0) + 1
        given = {name: value for name, value in facts.items() if value is not None}
        return SubscriptionEvent(self._number, type, utc(at), self._instance.id, **given)


def _output(step: StepRecord) -> Any:
    if step.sensitive:
        return REDACTED
    summary = summary_of(step.result)
    if summary is not None:
        return summary.shown()
    return codec.plain(codec.decode(step.result or "null"))
