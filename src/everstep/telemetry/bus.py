"""Where events go: to whoever subscribed. Emitting never fails and never waits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from everstep.telemetry.events import Event

Subscriber: TypeAlias = Callable[[Event], None]

log = logging.getLogger("everstep.telemetry")


class Telemetry:
    """Hands each event to every subscriber.

    Attributes:
        listening: Whether somebody hears of everything. Check it before making events on hot paths.
        hears_trouble: Whether somebody hears at least of failures and recoveries, which are on no hot path.
    """

    __slots__ = ("_subscribers", "hears_trouble", "listening")

    def __init__(self) -> None:
        self._subscribers: list[tuple[Subscriber, bool]] = []
        self.listening = self.hears_trouble = False

    def subscribe(self, subscriber: Subscriber, *, trouble_only: bool = False) -> Callable[[], None]:
        """Send events to `subscriber` from now on; the returned function stops it.

        Args:
            subscriber: Called with each event.
            trouble_only: It wants failures and recoveries; it need not get other events, and may.
        """
        entry = (subscriber, trouble_only)
        self._subscribers.append(entry)
        self._settle()

        def unsubscribe() -> None:
            self._subscribers.remove(entry)
            self._settle()

        return unsubscribe

    def _settle(self) -> None:
        self.listening = not all(trouble_only for _, trouble_only in self._subscribers)
        self.hears_trouble = bool(self._subscribers)

    def emit(self, event: Event) -> None:
        """Hand `event` to every subscriber; one that fails is logged and the others still hear of it."""
        for subscriber, _ in tuple(self._subscribers):
            try:
                subscriber(event)
            except Exception:
                log.exception("a telemetry subscriber failed on %s", type(event).__name__)
