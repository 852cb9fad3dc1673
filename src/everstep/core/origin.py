"""Where an error was raised, in one line: the file, the line and the source text of the program's own code."""

from __future__ import annotations

import contextlib
import re
import traceback
from collections.abc import Sequence
from traceback import FrameSummary

ORIGIN_ATTRIBUTE = "__everstep_origin__"
"""Where a rebuilt exception carries its origin, which is one of its notes as well."""

_MEMBERS = 4
_SOURCE_CHARS = 160
_LIBRARY = traceback.__file__.removesuffix("traceback.py")
_PACKAGE = __file__.removesuffix("origin.py").rstrip("/\\").removesuffix("core")
_INSTALLED = re.compile(r"[\\/](site|dist)-packages[\\/]")


def origin_of(error: BaseException, frames: Sequence[FrameSummary]) -> str:
    """Return where an error came from, or nothing where no code of the program's own took part.

    Args:
        error: The error; a group names what failed inside of it.
        frames: Its traceback without the frames of the engine.
    """
    first: str = getattr(error, ORIGIN_ATTRIBUTE, "")
    if first:
        return first
    if isinstance(error, BaseExceptionGroup):
        return _members_of(error)
    return next((_line_of(frame) for frame in reversed(frames) if _is_own(frame)), "")


def with_origin(error: BaseException, origin: str) -> None:
    """Put the origin on a rebuilt error, as a note that is shown with its traceback."""
    with contextlib.suppress(Exception):  # a class that takes no attributes
        setattr(error, ORIGIN_ATTRIBUTE, origin)
        error.add_note(origin)


def own_notes(error: BaseException) -> list[str]:
    """Return the notes of an error without its origin."""
    origin = getattr(error, ORIGIN_ATTRIBUTE, None)
    return [note for note in getattr(error, "__notes__", ()) if note != origin]


def _members_of(group: BaseExceptionGroup[BaseException]) -> str:
    leaves = list(_leaves(group))
    lines = [f"failed inside: {_headline(leaf)}" for leaf in leaves[:_MEMBERS]]
    if len(leaves) > _MEMBERS:
        lines.append(f"and {len(leaves) - _MEMBERS} more")
    return "\n".join(lines)


def _leaves(error: BaseException) -> Sequence[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for member in error.exceptions for leaf in _leaves(member)]


def _headline(leaf: BaseException) -> str:
    line = traceback.format_exception_only(type(leaf), leaf)[0].strip()
    origin = origin_of(leaf, traceback.extract_tb(leaf.__traceback__))
    return _shortened(line) + (f" ({origin})" if origin else "")


def _line_of(frame: FrameSummary) -> str:
    source = f": {_shortened(frame.line)}" if frame.line else ""
    return f'File "{frame.filename}", line {frame.lineno}, in {frame.name}{source}'


def _is_own(frame: FrameSummary) -> bool:
    file = frame.filename
    return not (file.startswith((_LIBRARY, _PACKAGE, "<frozen")) or _INSTALLED.search(file))


def _shortened(text: str) -> str:
    return text if len(text) <= _SOURCE_CHARS else f"{text[:_SOURCE_CHARS]}…"
