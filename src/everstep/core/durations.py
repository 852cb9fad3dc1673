"""Durations as users write them, turned into whole milliseconds. Knows nothing of clocks."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from fractions import Fraction
from functools import lru_cache
from typing import Literal, TypeAlias

from everstep.core.limits import LONGEST_LEASE_MS, SHORTEST_LEASE_MS

Duration: TypeAlias = str | timedelta | Literal[0]
"""`"10 seconds"` (second … year, singular or plural, any positive number), short `"10s"`, a `timedelta`, or `0`."""

_UNIT_MS = {
    "second": 1_000,
    "minute": 60_000,
    "hour": 3_600_000,
    "day": 86_400_000,
    "week": 604_800_000,
    "month": 2_592_000_000,
    "year": 31_536_000_000,
}
_SHORT_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_PATTERN = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*(?:(second|minute|hour|day|week|month|year)s?|(ms|s|m|h|d))\s*")
_EXAMPLE = 'write it like "10 seconds", "1.5 hours", "10s" or timedelta(seconds=10)'


def duration_ms(value: Duration | float, *, what: str = "duration") -> int:
    """Turn a duration into milliseconds, rounded up so that nothing is ever early.

    Args:
        value: `"30 seconds"`, `"30s"` (ms, s, m, h, d), `timedelta(seconds=30)` or `0`.
        what: How messages call it, e.g. `"retries.delay of step 'charge'"`.

    Raises:
        TypeError: for a bare number other than 0, whose unit would be a guess.
        ValueError: for text that is not a duration, and for negative or infinite ones.

    Example:
        >>> duration_ms("1.5 minutes")
        90000
    """
    if isinstance(value, str):
        return _parse(value, what)
    if isinstance(value, timedelta):
        if value < timedelta(0):
            raise ValueError(f"{what} must not be negative, got {value!r}")
        whole, rest = divmod(value, timedelta(milliseconds=1))
        return whole + bool(rest)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value == 0:
            return 0
        raise TypeError(
            f"{what} is the bare number {value!r}: seconds in Python's habits, milliseconds in JavaScript's, "
            f'so it is not guessed; write "{value} seconds", or "{value}ms" where it is in milliseconds'
        )
    raise TypeError(f"{what} must be a string or a timedelta, got {type(value).__name__}; {_EXAMPLE}")


def bounded_ms(value: Duration, most_ms: int, *, what: str) -> int:
    """Turn a duration into milliseconds, and refuse one that is longer than `most_ms`.

    Raises:
        TypeError, ValueError: as `duration_ms` does, and where it is too long.

    Example:
        >>> bounded_ms("1 week", 31_536_000_000, what="timeout")
        604800000
    """
    ms = duration_ms(value, what=what)
    if ms > most_ms:
        days = most_ms // _UNIT_MS["day"]
        raise ValueError(f"{what} must be at most {days:,} days, got {value!r}")
    return ms


def lease_ms(value: Duration) -> int:
    """Turn the length of a lease into milliseconds.

    Raises:
        ValueError: for text that is not a duration, and for less than 2 seconds or more than a day.

    Example:
        >>> lease_ms("15 seconds")
        15000
    """
    ms = duration_ms(value, what="lease")
    if not SHORTEST_LEASE_MS <= ms <= LONGEST_LEASE_MS:
        raise ValueError(f"a lease must be from 2 seconds to 1 day, got {value!r}")
    return ms


def format_duration(ms: float) -> str:
    """Write milliseconds for people, in the largest unit that keeps it short.

    Example:
        >>> format_duration(90_000)
        '1.5 min'
    """
    for unit_ms, unit in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")):
        if ms >= unit_ms:
            return f"{ms / unit_ms:.1f}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{ms:.0f} ms"


@lru_cache(maxsize=1024)
def _parse(text: str, what: str) -> int:
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise ValueError(f"{what} {text!r} is not a duration; {_EXAMPLE}")
    unit_ms = _UNIT_MS[match[2]] if match[2] else _SHORT_UNIT_MS[match[3]]
    return math.ceil(Fraction(match[1]) * unit_ms)  # exact: a float would round tiny ones to nothing
