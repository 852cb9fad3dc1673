"""Time as the engine sees it: the only place that asks what time it is, and the only source of timers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

log = logging.getLogger("everstep.engine")

LONGEST_TIMER_SECONDS = 60.0
"""Timers never trust one measurement for longer: the wall clock may be set, and machines sleep."""
DRIFT_MS = 1_000
"""Wall clocks that are further away than this were set; nearer ones drifted."""
SLEW = 0.005
"""How much faster or slower the time passes while it follows a wall clock that drifted: NTP's own is a tenth of it."""
CERTAIN_MS = 15 * 60_000
"""How long a wall clock that was set has to stay so: a second correction mostly comes within minutes."""
LOOK_MS = 50.0
"""How often to look at the wall clock."""


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


class _LoopClock:
    """A clock whose timers are the running event loop's."""

    def now(self) -> int:
        """Milliseconds since 1970."""
        raise NotImplementedError

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        seconds = min(max(0.0, (when - self.now()) / 1000), LONGEST_TIMER_SECONDS)
        return asyncio.get_running_loop().call_later(seconds, callback)


class SteadyClock(_LoopClock):
    """The time of this machine, in steps that no setting of its clock makes longer or shorter.

    Between two looks at the wall clock the time is kept by one that nobody sets and that goes on while the machine is
    suspended. A wall clock that drifts is followed slowly. One that was set is followed once it has stood as it was set
    for so long that it is certain: what is due meanwhile comes neither early nor late.
    """

    def __init__(self) -> None:
        self._seen_at = _running_ns() / 1_000_000
        self._offset_ms = time.time_ns() / 1_000_000 - self._seen_at
        self._look_at = 0.0
        self._set_by_ms: float | None = None
        self._set_at = 0.0

    def now(self) -> int:
        running = _running_ns() / 1_000_000
        if running >= self._look_at:
            self._look(running)
        return int(running + self._offset_ms)

    def _look(self, running: float) -> None:
        """Compare with the wall clock: not at every step, which would take as long as much of the step."""
        gap = time.time_ns() / 1_000_000 - running - self._offset_ms
        if abs(gap) > DRIFT_MS:
            self._follow_setting(gap, running)
        else:
            if self._set_by_ms is not None:
                log.warning("the machine's clock was set back to what it was")
                self._set_by_ms = None
            most = (running - self._seen_at) * SLEW
            self._offset_ms += min(max(gap, -most), most)
        self._seen_at = running
        self._look_at = running + LOOK_MS

    def _follow_setting(self, gap: float, running: float) -> None:
        if self._set_by_ms is None or abs(gap - self._set_by_ms) > DRIFT_MS:
            self._set_by_ms, self._set_at = gap, running
            log.warning(
                "the machine's clock was set by %+.1f s; it is followed in %d minutes if it stays so",
                gap / 1000,
                CERTAIN_MS // 60_000,
            )
        elif running - self._set_at >= CERTAIN_MS:
            log.warning("the time now follows the machine's clock, which was set by %+.1f s", gap / 1000)
            self._offset_ms += gap
            self._set_by_ms = None


_BOOT_TIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)
_running_ns: Callable[[], int] = time.monotonic_ns if _BOOT_TIME is None else partial(time.clock_gettime_ns, _BOOT_TIME)
"""Nanoseconds of a clock that nobody sets, suspended or not; only Linux goes on counting while suspended.

A step asks three times: a function of Python's own around it would take longer than the clock.
"""


class SharedClock(_LoopClock):
    """Database time, extrapolated between heartbeats with the local monotonic clock."""

    def __init__(self) -> None:
        self._offset_ms = (time.time() - time.monotonic()) * 1000
        self._latest = 0

    def now(self) -> int:
        now = int(time.monotonic() * 1000 + self._offset_ms)
        if now < self._latest:  # never backwards: a correction must not reorder the times of this process
            return self._latest
        self._latest = now
        return now

    def correct(self, now: int, *, asked_at: float) -> None:
        """Clamp the offset to the interval implied by a reading taken between `asked_at` and now.

        A slow round trip, as when a commit waits for a standby, gives a wide interval and changes little. `asked_at` is
        in seconds of the monotonic clock, `now` in milliseconds since 1970.
        """
        earliest_ms, latest_ms = now - time.monotonic() * 1000, now - asked_at * 1000
        self._offset_ms = min(max(self._offset_ms, earliest_ms), latest_ms)


class Alarm:
    """One timer for the earliest of several times. Setting a later time than the one set changes nothing."""

    __slots__ = ("_callback", "_clock", "_due", "_timer")

    def __init__(self, clock: Clock, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._callback = callback
        self._due: int | None = None
        self._timer: Timer | None = None

    def set(self, due: int) -> None:
        """Fire at `due`, or earlier if an earlier time is set."""
        if self._due is not None and self._due <= due:
            return
        self.clear()
        self._due = due
        self._timer = self._clock.call_at(due, self._fire)

    def clear(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
        self._due = self._timer = None

    def _fire(self) -> None:
        due = self._due
        self._due = self._timer = None
        if due is not None and self._clock.now() < due:  # a long timer looks again
            self.set(due)
        else:
            self._callback()
