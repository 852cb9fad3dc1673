"""Time as the engine sees it: the only place that asks what time it is, and the only source of timers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

LONGEST_TIMER_SECONDS = 60.0
"""Timers never trust one measurement for longer: the wall clock may be set, and machines sleep."""


class Timer(Protocol):
    """A callback that is due."""

    def cancel(self) -> None:
        """Forget the callback."""
        ...


class Clock(Protocol):
    """The time, and timers on it. Replaced in tests by one that stands still until it is moved."""

    def now(self) -> int:
        """Milliseconds since 1970."""
        ...

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        """Call `callback` at `when` or a moment earlier: whoever is called looks at `now()`."""
        ...


class SystemClock:
    """The machine's clock and the running event loop's timers."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        seconds = min(max(0.0, when / 1000 - time.time()), LONGEST_TIMER_SECONDS)
        return asyncio.get_running_loop().call_later(seconds, callback)


class SharedClock:
    """The time by a clock that many machines share, kept between two looks at it by this machine's monotonic one."""

    def __init__(self) -> None:
        self._offset_ms = (time.time() - time.monotonic()) * 1000
        self._latest = 0

    def now(self) -> int:
        now = int(time.monotonic() * 1000 + self._offset_ms)
        if now < self._latest:  # never backwards: a machine's own moments stay in their order when it is corrected
            return self._latest
        self._latest = now
        return now

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        seconds = min(max(0.0, (when - self.now()) / 1000), LONGEST_TIMER_SECONDS)
        return asyncio.get_running_loop().call_later(seconds, callback)

    def correct(self, now: int, *, asked_at: float) -> None:
        """Take over the shared time, read between `asked_at`, by the monotonic clock in seconds, and this moment.

        Only as far as it is certain: an answer that was long under way, as when a commit waits for a standby, says
        little about when it was read, and what is known already is mostly better.
        """
        earliest_ms, latest_ms = now - time.monotonic() * 1000, now - asked_at * 1000
        self._offset_ms = min(max(self._offset_ms, earliest_ms), latest_ms)


class Alarm:
    """One timer for the earliest of many moments. Setting a later one than is set changes nothing."""

    __slots__ = ("_callback", "_clock", "_due", "_timer")

    def __init__(self, clock: Clock, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._callback = callback
        self._due: int | None = None
        self._timer: Timer | None = None

    def set(self, due: int) -> None:
        """Ring at `due`, or earlier if an earlier moment is set."""
        if self._due is not None and self._due <= due:
            return
        self.clear()
        self._due = due
        self._timer = self._clock.call_at(due, self._ring)

    def clear(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
        self._due = self._timer = None

    def _ring(self) -> None:
        due = self._due
        self._due = self._timer = None
        if due is not None and self._clock.now() < due:  # a long timer looks again
            self.set(due)
        else:
            self._callback()
