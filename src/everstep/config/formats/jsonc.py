"""JSON with comments and trailing commas, read by blanking both in place. Writes nothing."""

from __future__ import annotations

import json
import re
from typing import Any

_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<comment>//[^\n]*|/\*.*?\*/)
      | (?P<space>\s+)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_OPENING = "[{,:"


def loads(text: str) -> Any:
    """Parse JSONC.

    Raises:
        json.JSONDecodeError: whose line and column are those of `text`.

    Example:
        >>> loads('{"a": 1, /* one */ }')
        {'a': 1}
    """
    return json.loads(blank(text))


def blank(text: str) -> str:
    """Replace comments and trailing commas by spaces, so that every other character keeps its position.

    A comma is trailing only after a value: `[1,,]` and `[,]` stay the mistakes they are.
    """
    out: list[str] = []
    before = "["  # the last character that means something
    comma: int | None = None  # where in `out` a comma is that a closing bracket would make a trailing one
    for match in _TOKEN.finditer(text):
        piece = match[0]
        if match.lastgroup in {"comment", "space"}:
            out.append(re.sub(r"[^\n]", " ", piece) if match.lastgroup == "comment" else piece)
            continue
        if piece in "]}" and comma is not None:
            out[comma] = " "
        comma = len(out) if piece == "," and before not in _OPENING else None
        before = piece[-1]
        out.append(piece)
    return "".join(out)
