"""How the store tries again what may pass: pauses that grow, each a little different, and patience that ends."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

OUTAGE_TIMEOUT_SECONDS = 5.0
"""How long whoever asks from outside waits for a database in trouble before they hear of it."""
SOONEST_SECONDS, LATEST_SECONDS = 0.05, 2.0

_chance = random.Random()  # noqa: S311  # nothing to guess


class Retry:
    """The tries of one operation.

    Args:
        patience: Seconds after the first failure at which `exhausted` becomes true.
        latest: The longest pause, in seconds.
        clock: Seconds of a clock that only rises; the machine's if omitted.
        jitter: The part of a pause that is left to chance. Two that collided would collide again without it; one that
            is alone needs none.
    """

    def __init__(
        self,
        *,
        patience: float = OUTAGE_TIMEOUT_SECONDS,
        latest: float = LATEST_SECONDS,
        clock: Callable[[], float] | None = None,
        jitter: float = 0.5,
    ) -> None:
        self._timeout = patience
        self._latest = latest
        self._clock = clock or time.monotonic
        self._jitter = jitter
        self._next = SOONEST_SECONDS
        self._failed_at: float | None = None

    def failed(self) -> float:
        """Take note of a failure; return how many seconds to pause."""
        if self._failed_at is None:
            self._failed_at = self._clock()
        pause, self._next = self._next, min(self._next * 2, self._latest)
        return pause * (1 - self._jitter * _chance.random()) if self._jitter else pause

    @property
    def exhausted(self) -> bool:
        """Whether patience is over: whoever asked from outside hears of the trouble."""
        return self._failed_at is not None and self._clock() - self._failed_at >= self._timeout
