"""What the journal keeps of a result that is a stream. Its bytes are beside it, and `streams.py` handles them."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from everstep.core.journal import StepRecord

_PREFIX = '{"$":"stream"'


class StreamSummary(Struct, frozen=True, tag_field="$", tag="stream"):
    """Whose attempt it was, and how much there is of it."""

    attempt: int
    pieces: int
    bytes: int


def encoded(summary: StreamSummary) -> str:
    """Write a summary for the journal."""
    return msgspec.json.encode(summary).decode()


def summary_of(text: str | None) -> StreamSummary | None:
    """Read a summary, if a step's result is one."""
    return msgspec.json.decode(text, type=StreamSummary) if text is not None and text.startswith(_PREFIX) else None


def stored_bytes(step: StepRecord) -> int:
    """Return how much a step's result takes."""
    summary = summary_of(step.result)
    return len(step.result or "") + (0 if summary is None else summary.bytes)
