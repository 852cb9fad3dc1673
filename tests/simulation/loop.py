"""An event loop without a world: time passes only when nothing else can happen, and a seed decides who goes first."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

START_MS = 1_700_000_000_000
"""Where simulated time begins."""


MOST_TURNS = 20_000
"""Turns without time passing after which a loop is taken to run in circles."""


class InCirclesError(RuntimeError):
    """There is always something to do, and time never passes."""


class NothingLeftError(RuntimeError):
    """Nothing is ready and no timer is set: whoever waits, waits for ever."""


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs callbacks turn by turn, those of one turn in an order of the seed's choosing.

    What was asked for in one turn runs in the next, as asyncio does it; callbacks of one task (or one object) stay in
    their order. What one callback asked for that is no task runs in one go, as in asyncio: the engine counts on it that
    nobody comes between the answers of a group of commits. There are no files and no threads: time jumps to the next
    timer when nothing is ready.

    Args:
        rng: Who goes first.
        seconds: The time.
        before_time_passes: Called whenever everything is at rest.
    """

    def __init__(self, rng: random.Random, *, seconds: float = 0.0, before_time_passes: Callable[[], None]) -> None:
        super().__init__()
        self._rng = rng
        self._seconds = seconds
        self._before_time_passes = before_time_passes
        self._turns = 0
        self._running: asyncio.Handle | None = None
        self._asked_by: dict[int, asyncio.Handle] = {}  # by handles that are ready

    def time(self) -> float:
        return self._seconds

    def turns(self, number: int) -> None:
        """Run a few turns."""
        for _ in range(number):
            self.call_soon(self.stop)
            self.run_forever()

    def _call_soon(self, callback: Any, args: Any, context: Any) -> asyncio.Handle:
        handle: asyncio.Handle = super()._call_soon(callback, args, context)  # type: ignore[misc]
        if self._running is not None and asyncio.current_task(self) is None:
            self._asked_by[id(handle)] = self._running
        return handle

    def run_in_executor(self, _: Any, function: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        """Carry out at once what would go to a thread: when that is done is nothing a seed could say."""
        done = self.create_future()
        try:
            done.set_result(function(*arguments))
        except Exception as error:  # whoever asked hears of it
            done.set_exception(error)
        return done

    def _run_once(self) -> None:
        if not self._ready:
            self._before_time_passes()
        self._drop_cancelled_timers()
        if not self._ready:
            if not self._scheduled:
                raise NothingLeftError
            self._seconds, self._turns = max(self._seconds, self._scheduled[0].when()), 0
        self._turns += 1
        if self._turns > MOST_TURNS:
            raise InCirclesError
        while self._scheduled and self._scheduled[0].when() <= self._seconds:
            timer = heapq.heappop(self._scheduled)
            timer._scheduled = False
            self._ready.append(timer)
        handles = self._shuffled(self._ready)
        self._ready.clear()
        for handle in handles:
            if not handle.cancelled():
                self._running = handle
                handle._run()
        self._running = None

    def _drop_cancelled_timers(self) -> None:
        while self._scheduled and self._scheduled[0].cancelled():
            heapq.heappop(self._scheduled)._scheduled = False

    def _shuffled(self, handles: deque[asyncio.Handle]) -> list[asyncio.Handle]:
        """Shuffle the owners of callbacks, each keeping its own in order, and what was asked for in one go together."""
        asked_by, self._asked_by = self._asked_by, {}
        if len(handles) == 1:
            return list(handles)
        of_owner: dict[int, deque[list[asyncio.Handle]]] = defaultdict(deque)
        in_one_go: dict[int, list[asyncio.Handle]] = {}
        turns = []
        for handle in handles:
            asker = asked_by.get(id(handle))
            if id(asker) in in_one_go:
                in_one_go[id(asker)].append(handle)
                continue
            owner = id(asker or getattr(handle._callback, "__self__", None) or handle)
            of_owner[owner].append([handle])
            if asker is not None:
                in_one_go[id(asker)] = of_owner[owner][-1]
            turns.append(owner)
        self._rng.shuffle(turns)
        return [handle for owner in turns for handle in of_owner[owner].popleft()]

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers leave when their time comes."""

    def _write_to_self(self) -> None:
        raise AssertionError("a thread called: there are none in a simulation")


class SimulatedClock:
    """The loop's time in milliseconds, as the engine asks for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> int:
        return START_MS + int(self._loop.time() * 1000 + 1e-3)

    def call_at(self, when: int, callback: Callable[[], None]) -> Any:
        return self._loop.call_at((when - START_MS) / 1000, callback)
