"""Digests of a call's arguments: alike in every process, 8 bytes long, or none where arguments cannot be digested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import orjson

_SETS = ('"$":"set"', '"$":"frozenset"')


def digest_of_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int | None:
    """Return the digest of arguments that are plain data, or None: of an object it would be its address, or worse.

    Example:
        >>> digest_of_arguments(["a", 3], {}) == digest_of_arguments(["a", 3], {}) != digest_of_arguments(["b", 3], {})
        True
    """
    try:
        return _digest(orjson.dumps([args, kwargs]))
    except (TypeError, ValueError, RecursionError):
        return None


def digest_of_text(text: str) -> int | None:
    """Return the digest of an encoded value, or None where it contains a set, whose order differs between processes."""
    return None if any(tag in text for tag in _SETS) else _digest(text.encode())


def _digest(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big", signed=True)
