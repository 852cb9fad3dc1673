"""What a step's function says it returns, looked up once per function."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_type_hints
from weakref import WeakKeyDictionary

_known: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def declared_result(fn: Callable[..., Any]) -> Any:
    """Return the return annotation of `fn`, or `Any` where it has none that can be resolved."""
    while isinstance(fn, partial):
        fn = fn.func
    annotations = getattr(fn, "__annotations__", None)
    if not annotations or "return" not in annotations:
        return Any
    fn = getattr(fn, "__func__", fn)
    found = _known.get(fn)
    if found is None:
        try:
            found = get_type_hints(fn).get("return", Any)
        except (NameError, TypeError, AttributeError):  # names that only a type checker can resolve
            found = Any
        _known[fn] = found
    return found
