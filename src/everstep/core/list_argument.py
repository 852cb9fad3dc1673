"""Arguments that stand for several things: a list of ids, of tags, of classes. Text and mappings are none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

_SHOWN_CHARS = 60


def list_argument(given: object, what: str, *, most: int | None = None) -> list[Any]:
    """Return the items of a list, or of anything else that gives items one by one: a tuple, a set, a generator.

    Text would be taken for its letters, and a mapping for its keys: neither is ever what was meant.

    Args:
        given: The argument.
        what: What it is and what is in it, e.g. `"tags is a list of words"`.
        most: How many items are read; more than that may be endless.

    Raises:
        TypeError: for text, bytes, a mapping and what has no items; the message says what to give.

    Example:
        >>> list_argument("abc", "tags is a list of words")
        Traceback (most recent call last):
        ...
        TypeError: tags is a list of words, got the text 'abc'; write ['abc']
    """
    if isinstance(given, (str, bytes, bytearray)):
        kind, shown = ("text" if isinstance(given, str) else "bytes"), _shown(given)
        raise TypeError(f"{what}, got the {kind} {shown}" + (f"; write [{shown}]" if isinstance(given, str) else ""))
    if isinstance(given, type):
        raise TypeError(f"{what}, got the class {given.__name__}; write [{given.__name__}]")
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise TypeError(f"{what}, got {_shown(given)}; give a list")
    return list(given if most is None else islice(given, most))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
