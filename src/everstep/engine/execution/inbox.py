"""Events of one instance that no wait has taken yet, in the order in which they came."""

from __future__ import annotations

import bisect

from everstep.store.protocol import EventRecord


class Inbox:
    """Events that no wait has taken yet, in the order in which they came."""

    __slots__ = ("_events", "_last")

    def __init__(self, events: list[EventRecord]) -> None:
        self._events = list(events)
        self._last = events[-1].id if events else 0

    def add(self, event: EventRecord) -> bool:
        """Take an event in; return whether it is new: the claim and the sender may both bring it."""
        if event.id <= self._last:
            return False
        self._last = event.id
        self._events.append(event)
        return True

    def put_back(self, event: EventRecord) -> None:
        """Take an event in again that a wait had taken."""
        if event not in self._events:
            bisect.insort(self._events, event, key=lambda one: one.id)

    def has_seen(self, event: int) -> bool:
        """Whether an event came before, whether or not it was taken since."""
        return event <= self._last

    def waiting(self) -> list[EventRecord]:
        """The events, oldest first."""
        return list(self._events)

    def remove(self, event: EventRecord) -> None:
        """Take an event out."""
        self._events.remove(event)

    def __bool__(self) -> bool:
        return bool(self._events)
