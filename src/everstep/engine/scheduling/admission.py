"""So many at a time; of a long line, fewer."""

from __future__ import annotations

import asyncio
from collections import deque


class AdmissionLimiter:
    """Places for those who come together, and a line for those beyond, who are let in a few at a time, in their order.

    A thousand at once share their commits and are through soonest together. Of a hundred thousand, a thousand at a time
    are no sooner through than a hundred, and everybody else waits ten times as long for his turn in between.

    Args:
        limit: How many may come at once.
        low_watermark: Those who waited get in while fewer than these are inside.
    """

    def __init__(self, limit: int, *, low_watermark: int) -> None:
        self._limit = limit
        self._low_watermark = min(low_watermark, limit)
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.taken = 0
        self.waiting = 0

    async def acquire(self) -> None:
        """Take a place, now or in turn."""
        if self.taken < self._limit and not self._waiters:
            self.taken += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        self.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the place was handed over at the same moment
                self.release()
            raise
        finally:
            self.waiting -= 1

    def release(self) -> None:
        """Give a place back, and let in who is next."""
        self.taken -= 1
        while self._waiters and self.taken < self._low_watermark:
            turn = self._waiters.popleft()
            if not turn.done():  # else it left the line
                self.taken += 1
                turn.set_result(None)
