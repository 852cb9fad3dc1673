"""Who waits for an instance to end, or to change, in this process."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

from everstep.store.protocol import InstanceChange


class Watchers:
    """Futures and events by instance, for those who wait without asking again and again.

    Attributes:
        followed: Whether anybody may follow an instance, here.
    """

    def __init__(self) -> None:
        self._watchers: dict[int, list[asyncio.Future[InstanceChange | None]]] = {}
        self._changes: WeakValueDictionary[int, asyncio.Event] = WeakValueDictionary()
        self.followed = False

    def watch(self, pk: int) -> asyncio.Future[InstanceChange | None]:
        """Return a future that is done when the instance ends, here, with how it ended where that is known."""
        future: asyncio.Future[InstanceChange | None] = asyncio.get_running_loop().create_future()
        self._watchers.setdefault(pk, []).append(future)
        return future

    def watched(self) -> list[int]:
        """Return the instances whose end somebody waits for, here."""
        return list(self._watchers)

    def unwatch(self, pk: int, future: asyncio.Future[InstanceChange | None]) -> None:
        """Forget a future of `watch`."""
        watchers = self._watchers.get(pk)
        if watchers and future in watchers:
            watchers.remove(future)
            if not watchers:
                del self._watchers[pk]

    def changed(self, pk: int) -> asyncio.Event:
        """Return what is set when something is written about an instance, here; kept only while somebody has it."""
        event = self._changes.get(pk)
        if event is None:
            event = self._changes[pk] = asyncio.Event()
            self.followed = True
        return event

    def notify_changed(self, pk: int) -> None:
        """Wake the subscribers of an instance."""
        if self.followed:
            event = self._changes.pop(pk, None)
            self.followed = bool(self._changes)
            if event is not None:
                event.set()

    def notify_ended(self, pk: int, outcome: InstanceChange | None = None) -> None:
        """Wake the waiters for an instance's end, and its subscribers."""
        self.notify_changed(pk)
        for future in self._watchers.pop(pk, ()):
            if not future.done():
                future.set_result(outcome)

    def fail_all(self, error: Exception) -> None:
        """Fail every pending waiter with `error`."""
        for future in [future for watchers in self._watchers.values() for future in watchers if not future.done()]:
            future.set_exception(error)
