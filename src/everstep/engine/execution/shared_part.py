"""A part of an execution that most never need: until they do they share one, which nobody can change."""

from __future__ import annotations

from typing import Any, NoReturn


class SharedPart:
    """Mixed into a part: it is as it was made, for every execution that has no part of its own."""

    __slots__ = ()

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{name} of {type(self).__name__} is shared by all executions: make one of its own first")

    def let_go(self) -> None:
        """Do nothing: it belongs to no execution."""
