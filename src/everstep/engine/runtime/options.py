"""What may be tuned about an engine."""

from __future__ import annotations

from msgspec import Struct


class EngineOptions(Struct, frozen=True):
    """What may be tuned.

    Attributes:
        resident: Parked instances kept in memory, at about 9 KB each; further ones are put away, oldest first.
        running: Instances at work at the same time; further ones stay due in the store.
        creating: Creations under way at the same time; further ones wait for their turn.
        threads: Plain functions running at the same time.
        lost_threads: Threads that are in plain functions whose attempts are over, and are replaced; each further one is
            one thread less for the others.
        start_delay_ms: How long an attempt lasts before its start is written.
        drain_ms: How long a clean stop lets attempts finish.
    """

    resident: int = 1_000
    running: int = 10_000
    creating: int = 1_000
    threads: int = 64
    lost_threads: int = 256
    start_delay_ms: int = 5
    drain_ms: int = 2_000
