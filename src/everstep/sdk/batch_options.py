"""The items of a batch, and the options of one instance in it, checked before anything is created or deleted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from typing import Any, TypeVar

from everstep.core.limits import BATCH
from everstep.core.list_argument import list_argument
from everstep.core.suggest import did_you_mean

T = TypeVar("T")

_OPTIONS = ("id", "params", "retention", "tags")


def checked_batch(batch: Iterable[T], what: str) -> list[T]:
    """Return the items of a batch. Raises TypeError for no collection, ValueError for none or more than 100 items."""
    items = list_argument(batch, what, most=BATCH + 1)
    if not 1 <= len(items) <= BATCH:
        size = len(batch) if isinstance(batch, Sized) else f"{BATCH} or more"
        raise ValueError(f"a batch has 1 to {BATCH} instances, this one has {size if items else 'none'}")
    return items


def checked_options(one: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options of one instance. Raises TypeError for no mapping, ValueError for an unknown key."""
    if not isinstance(one, Mapping):
        raise TypeError(f"a batch takes dicts like {{'id': ..., 'params': ...}}, got {type(one).__name__}")
    for key in one:
        if key not in _OPTIONS:
            raise ValueError(
                f"a batch knows no {key!r}{did_you_mean(str(key), _OPTIONS)}; known: {', '.join(_OPTIONS)}"
            )
    return one
