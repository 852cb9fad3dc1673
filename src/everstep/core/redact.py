"""Hides what must not be shown in text for people. Knows no file and no setting."""

from __future__ import annotations

import re

HIDDEN = "***"

_URL_PASSWORD = re.compile(r"(?<=://)([^\s/?#:@]*):([^\s/?#]+)(?=@)")
_QUERY_PASSWORD = re.compile(r"(?<=[?&])((?:ssl)?password)=([^\s&#\"']+)", re.IGNORECASE)
_SECRET_NAME = re.compile(r"key|token|secret|passw|pwd|credential|dsn|private", re.IGNORECASE)


def redact_url(text: str, *, keep_width: bool = False) -> str:
    """Hide the passwords of URLs inside `text`; `keep_width` keeps every column where it was.

    Example:
        >>> redact_url("postgresql://ada:hunter2@db/shop")
        'postgresql://ada:***@db/shop'
    """

    def hidden(match: re.Match[str], separator: str) -> str:
        return match[1] + separator + ("*" * len(match[2]) if keep_width else HIDDEN)

    text = _URL_PASSWORD.sub(lambda match: hidden(match, ":"), text)
    return _QUERY_PASSWORD.sub(lambda match: hidden(match, "="), text)


def looks_secret(name: str) -> bool:
    """Tell whether a variable of this name most likely holds a secret."""
    return _SECRET_NAME.search(name) is not None
