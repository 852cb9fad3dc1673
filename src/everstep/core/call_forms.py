"""How a call is written here that was written as in the original: names in camel case, arguments in one dict.

Knows forms only; it costs something where a name or an argument is wrong.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

from everstep.core.suggest import did_you_mean

P = ParamSpec("P")
T = TypeVar("T")

_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class NamesInSnakeCase:
    """Has the message of a missing attribute name the one that was meant: `sendEvent` is `send_event`."""

    __slots__ = ()

    if not TYPE_CHECKING:  # a type checker that saw it would take any misspelt member for one

        def __getattr__(self, name: str) -> NoReturn:
            """Say what was meant; only called for attributes that are not there."""
            missing = f"{type(self).__name__!r} object has no attribute {name!r}"
            if name.startswith("_"):
                raise AttributeError(missing, name=name, obj=self)
            raise AttributeError(missing + _meant(name, type(self)))


def _meant(name: str, cls: type) -> str:
    snake = _CAPITAL.sub("_", name).lower()
    public = [one for one in dir(cls) if not one.startswith("_")]
    return f", did you mean {snake!r}?" if snake in public else did_you_mean(snake, public)


def arguments_by_name(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Have a method that takes no argument by position say how it is called when it is given one."""
    names = [one.name for one in inspect.signature(method).parameters.values() if one.kind is one.KEYWORD_ONLY]
    form = ", ".join(f"{name}=…" for name in names)

    @wraps(method)
    async def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        if len(args) > 1:
            kind = type(args[1]).__name__
            raise TypeError(f"{method.__name__} takes its arguments by name, got a {kind}: {method.__name__}({form})")
        return await method(*args, **kwargs)

    return checked
