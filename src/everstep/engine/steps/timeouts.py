"""Timeouts of attempts, on a coarse wheel: an exact timer for each would halve the engine's throughput.

Timeouts of ten seconds and more are noticed up to a second late, shorter ones at once.
"""

from __future__ import annotations

from collections.abc import Callable

from everstep.engine.runtime.clock import Alarm, Clock, Timer

EXACT_BELOW_MS = 10_000
_SLOT_MS = 1_000


class Deadline:
    """The end of one attempt's time, when `expire` is called."""

    __slots__ = ("expire", "slot", "timer")

    def __init__(self, expire: Callable[[], None]) -> None:
        self.expire = expire
        self.slot: set[Deadline] | None = None
        self.timer: Timer | None = None

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

    def start(self, timeout_ms: int, expire: Callable[[], None], *, began_at: int | None = None) -> Deadline:
        """Call `expire` after `timeout_ms`, from now or from when an attempt began."""
        deadline = Deadline(expire)
        due = (self._clock.now() if began_at is None else began_at) + timeout_ms
        if timeout_ms < EXACT_BELOW_MS:
            deadline.timer = self._clock.call_at(due, expire)
            return deadline
        slot = due // _SLOT_MS + 1
        members = self._slots.get(slot)
        if members is None:
            members = self._slots[slot] = set()
            self._alarm.set(slot * _SLOT_MS)
        members.add(deadline)
        deadline.slot = members
        return deadline

    def _turn(self) -> None:
        now = self._clock.now() // _SLOT_MS
        for slot in [slot for slot in self._slots if slot <= now]:
            for deadline in list(self._slots.pop(slot)):  # it is cleared as it expires
                deadline.expire()
        if self._slots:
            self._alarm.set(min(self._slots) * _SLOT_MS)
