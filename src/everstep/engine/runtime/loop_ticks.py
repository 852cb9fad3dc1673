"""Callbacks after so many turns of the event loop, with one handle a turn for all of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

QUIET_TURNS = 12
"""Turns without activity after which every branch of an instance has come to where it waits: `gather` needs three."""


class Turns:
    """Counts the loop's turns while somebody waits for one.

    A handle a turn for each of ten thousand sleepers would be most of what it costs to put them to sleep.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._coming: deque[list[Callable[[], None]]] = deque()
        self._turning = False
        self.count = 0

    def after(self, turns: int, callback: Callable[[], None]) -> None:
        """Call `callback` once `turns` turns are over, not counting the one under way."""
        while len(self._coming) <= turns:
            self._coming.append([])
        self._coming[turns].append(callback)
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self.count += 1
        for callback in self._coming.popleft():
            callback()
        if self._coming:
            self._loop.call_soon(self._turn)
        else:
            self._turning = False
