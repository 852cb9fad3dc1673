"""FIFO limiter: at most `limit` holders; once a queue has formed, fewer."""

from __future__ import annotations

import asyncio
from collections import deque


class AdmissionLimiter:
    """Admits at most `limit` holders; waiters are admitted in order while fewer than `low_watermark` hold a slot.

    Up to 1,000 concurrent creates share commits. With a longer queue, 128 at a time take as long in total, and let the
    steps that are running commit in between.

    Args:
        limit: The number of holders while nothing waits.
        low_watermark: The number of holders below which a waiter is admitted.
    """

    def __init__(self, limit: int, *, low_watermark: int) -> None:
        self._limit = limit
        self._low_watermark = min(low_watermark, limit)
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.taken = 0
        self.waiting = 0

    async def acquire(self) -> None:
        """Acquire a slot; wait for one if there is none, or if others wait already."""
        if self.taken < self._limit and not self._waiters:
            self.taken += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(turn)
        self.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the slot was assigned at the same moment
                self.release()
            raise
        finally:
            self.waiting -= 1

    def release(self) -> None:
        """Release a slot, and admit waiters."""
        self.taken -= 1
        while self._waiters and self.taken < self._low_watermark:
            turn = self._waiters.popleft()
            if not turn.done():  # else it was cancelled
                self.taken += 1
                turn.set_result(None)
