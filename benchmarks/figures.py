"""The arithmetic: percentiles, medians with their spread, ratios of rounds. Knows nothing of works and peers."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Spread:
    """A median and what it lies between."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of one value or more."""
        return cls(statistics.median(values), min(values), max(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of all are not above (nearest rank)."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(0, int(rank) - 1)]


def latencies_ms(seconds: Sequence[float]) -> dict[str, float]:
    """The figures of works that measure a latency."""
    return {"p50_ms": percentile(seconds, 50) * 1000, "p99_ms": percentile(seconds, 99) * 1000}


def advantage(ours: Mapping[int, float], theirs: Mapping[int, float], better: Literal["more", "less"]) -> Spread | None:
    """How many times better `ours` is, round by round: rounds are alternated, so both halves met the same machine.

    Args:
        ours: Values by round.
        theirs: The other's values by round; rounds that only one of them has do not count.
        better: Whether more or less is better.

    Returns:
        None without a round in common, or where the worse value is 0.
    """
    rounds = sorted(set(ours) & set(theirs))
    pairs = [(ours[n], theirs[n]) if better == "more" else (theirs[n], ours[n]) for n in rounds]
    ratios = [good / bad for good, bad in pairs if bad > 0]
    return Spread.of(ratios) if ratios else None
