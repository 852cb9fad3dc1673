"""When to log an error that lasts: at once, then at growing intervals."""

from __future__ import annotations

FIRST_SECONDS = 2.0
LATEST_SECONDS = 60.0


class LogThrottle:
    """Says whether to log an error again: 2 seconds after the first time, then 4, 8 …, at most once a minute.

    Example:
        >>> throttle = LogThrottle()
        >>> [second for second in range(200) if throttle.should_log(second)]
        [0, 2, 6, 14, 30, 62, 122, 182]
    """

    def __init__(self) -> None:
        self._distance = FIRST_SECONDS
        self._next: float | None = None

    def should_log(self, now: float) -> bool:
        """Return whether to log it at `now`, in seconds of a monotonic clock."""
        if self._next is None:
            self._next = now
        if now < self._next:
            return False
        self._next = now + self._distance
        self._distance = min(self._distance * 2, LATEST_SECONDS)
        return True

    def reset(self) -> None:
        """Start again: the error is over."""
        self._distance, self._next = FIRST_SECONDS, None
