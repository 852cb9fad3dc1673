"""What may be tuned about an engine."""

from __future__ import annotations

from msgspec import Struct


class EngineOptions(Struct, frozen=True):
    """What may be tuned.

    Attributes:
        max_cached: Parked instances kept in memory, at about 9 KB each; further ones are evicted, oldest first.
        max_running: Instances at work at the same time; further ones stay due in the store.
        max_creating: Creations under way at the same time; further ones wait for their turn.
        max_threads: Plain functions running at the same time.
        max_lost_threads: Threads that are in plain functions whose attempts are over, and are replaced; each further is
            one thread less for the others.
        start_delay_ms: How long an attempt lasts before its start is written.
        drain_ms: How long a clean stop lets attempts finish.
    """

    max_cached: int = 1_000
    max_running: int = 10_000
    max_creating: int = 1_000
    max_threads: int = 64
    max_lost_threads: int = 256
    start_delay_ms: int = 5
    drain_ms: int = 2_000
