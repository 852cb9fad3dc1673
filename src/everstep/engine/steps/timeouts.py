"""Timeouts of attempts, on a coarse wheel: an exact timer for each would halve the engine's throughput.

Timeouts of ten seconds and more are noticed up to a second late, shorter ones at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from everstep.engine.runtime.clock import Alarm, Clock, Timer

if TYPE_CHECKING:
    from everstep.engine.steps.attempt import Attempt

EXACT_BELOW_MS = 10_000
_SLOT_MS = 1_000


class Deadline:
    """The end of one attempt's time. When it comes the attempt's task is cancelled, and `expired` tells why."""

    __slots__ = ("_task", "expired", "slot", "timer")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task
        self.slot: set[Deadline] | None = None
        self.timer: Timer | None = None
        self.expired = False

    def expire(self) -> None:
        """Cancel the attempt."""
        self.expired = True
        self._task.cancel()

    def clear(self) -> None:
        """Forget the deadline: the attempt has ended."""
        if self.slot is not None:
            self.slot.discard(self)
        elif self.timer is not None:
            self.timer.cancel()


class Deadlines:
    """Every deadline of an engine."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._slots: dict[int, set[Deadline]] = {}
        self._alarm = Alarm(clock, self._turn)

    def start(self, attempt: Attempt, *, began_at: int | None = None) -> None:
        """Give an attempt its policy's time, from now or from when it began."""
        deadline = attempt.deadline = Deadline(attempt.task)
        timeout_ms = attempt.policy.timeout_ms
        due = (self._clock.now() if began_at is None else began_at) + timeout_ms
        if timeout_ms < EXACT_BELOW_MS:
            deadline.timer = self._clock.call_at(due, deadline.expire)
            return
        slot = due // _SLOT_MS + 1
        members = self._slots.get(slot)
        if members is None:
            members = self._slots[slot] = set()
            self._alarm.set(slot * _SLOT_MS)
        members.add(deadline)
        deadline.slot = members

    def _turn(self) -> None:
        now = self._clock.now() // _SLOT_MS
        for slot in [slot for slot in self._slots if slot <= now]:
            for deadline in self._slots.pop(slot):
                deadline.expire()
        if self._slots:
            self._alarm.set(min(self._slots) * _SLOT_MS)
