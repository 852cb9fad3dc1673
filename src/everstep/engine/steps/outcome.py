"""The outcome of an attempt: a value, passed from one function to the next."""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct


class Completed(Struct, frozen=True, gc=False):
    """The attempt returned: `text` is what is stored of that, `value` what was read back from it, if it was."""

    text: str
    value: Any


class Failed(Struct, frozen=True):
    """The attempt raised, took too long, or was interrupted by a crash."""

    error: BaseException


Outcome: TypeAlias = Completed | Failed
