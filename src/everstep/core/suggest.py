"""The nearest known name to a wrong one, for messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """Return `", did you mean 'limit'?"`, or nothing when no known name is near.

    Example:
        >>> did_you_mean("limt", ["limit", "delay"])
        ", did you mean 'limit'?"
    """
    near = nearest(wrong, known)
    return f", did you mean {near!r}?" if near else ""


def nearest(wrong: str, known: Iterable[str]) -> str | None:
    """Return the known name that is near a wrong one, or None.

    Example:
        >>> nearest("order.approval", {"order.approved", "order.paid"})
        'order.approved'
    """
    near = get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return near[0] if near else None
