"""How long to wait before the next attempt. Pure arithmetic on milliseconds."""

from __future__ import annotations

from typing import Literal, TypeAlias

from everstep.core.limits import WAIT_MS

Backoff: TypeAlias = Literal["constant", "linear", "exponential"]


def retry_delay_ms(base_ms: int, backoff: Backoff, failures: int, max_ms: int | None = None) -> int:
    """Milliseconds to wait after `failures` failed attempts (1 or more).

    constant: base; linear: base × failures; exponential: base × 2^(failures - 1). Capped at `max_ms`, and at 365 days.

    Example:
        >>> [retry_delay_ms(10_000, "exponential", n) for n in (1, 2, 3)]
        [10000, 20000, 40000]
    """
    cap = WAIT_MS if max_ms is None else min(max_ms, WAIT_MS)
    match backoff:
        case "constant":
            delay = base_ms
        case "linear":
            delay = base_ms * failures
        case "exponential":
            # Past 2^40 every base is beyond the cap; a bounded exponent keeps the numbers small.
            delay = base_ms << min(failures - 1, 40)
    return min(delay, cap)
