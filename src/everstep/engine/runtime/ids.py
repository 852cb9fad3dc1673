"""Ids of instances that nobody named: they sort by time, and cannot be guessed."""

from __future__ import annotations

import os

from everstep.core.names import time_ordered_id

_RANDOM_BYTES = 10
_pool = b""
"""Chance from the operating system that no id has used: to ask for it once for many costs a call less each time."""


def new_instance_id(now_ms: int) -> str:
    """Return an id from the time in milliseconds since 1970 and 80 random bits."""
    global _pool
    drawn, _pool = _pool[:_RANDOM_BYTES], _pool[_RANDOM_BYTES:]
    if not drawn:
        _pool = os.urandom(64 * _RANDOM_BYTES)
        return new_instance_id(now_ms)
    return time_ordered_id(now_ms, int.from_bytes(drawn, "big"))


def _forget() -> None:
    global _pool
    _pool = b""


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)  # or parent and child would draw the same
