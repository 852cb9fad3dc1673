"""Milliseconds since 1970 as aware datetimes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import overload


@overload
def utc(ms: int) -> datetime: ...
@overload
def utc(ms: None) -> None: ...
def utc(ms: int | None) -> datetime | None:
    """Return the moment as an aware UTC datetime; None stays None."""
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)
