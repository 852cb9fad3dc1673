"""Where events go: to whoever subscribed. Emitting never fails and never waits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from everstep.telemetry.events import Event

Subscriber: TypeAlias = Callable[[Event], None]

log = logging.getLogger("everstep.telemetry")


class Telemetry:
    """Hands each event to every subscriber. Check `listening` before making events on hot paths."""

    __slots__ = ("_subscribers", "listening")

    def __init__(self) -> None:
        self._subscribers: list[Subscriber] = []
        self.listening = False

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Send events to `subscriber` from now on; the returned function stops it."""
        self._subscribers.append(subscriber)
        self.listening = True

        def unsubscribe() -> None:
            self._subscribers.remove(subscriber)
            self.listening = bool(self._subscribers)

        return unsubscribe

    def emit(self, event: Event) -> None:
        """Hand `event` to every subscriber; one that fails is logged and the others still hear of it."""
        for subscriber in tuple(self._subscribers):
            try:
                subscriber(event)
            except Exception:
                log.exception("a telemetry subscriber failed on %s", type(event).__name__)
