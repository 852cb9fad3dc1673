"""What the journal keeps of a result that is a stream. Its bytes are beside it, and `steps/streams.py` handles them."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from everstep.core.journal import StepRecord

_PREFIX = '{"$":"stream"'


class StreamSummary(Struct, frozen=True, tag_field="$", tag="stream"):
    """Whose attempt it was, how much there is of it, and how it begins, if that is text."""

    attempt: int
    pieces: int
    bytes: int
    preview: str | None = None

    def shown(self) -> str:
        """Write the stream for views: its beginning, or how long it is."""
        if self.preview is None:
            return f"[stream of {self.bytes} bytes]"
        return self.preview if len(self.preview.encode()) == self.bytes else f"{self.preview}[truncated output]"


PREVIEW_CHARS = 1024


def preview_of(beginning: bytes) -> str | None:
    """Return the beginning of a stream as text of at most 1,024 characters, or None if it is not text."""
    try:
        text = beginning.decode()
    except UnicodeDecodeError as error:
        if error.start < len(beginning) - 3:  # more than a character that was cut in two
            return None
        text = beginning[: error.start].decode()
    return None if "\x00" in text else text[:PREVIEW_CHARS]


def encoded(summary: StreamSummary) -> str:
    """Write a summary for the journal."""
    return msgspec.json.encode(summary).decode()


def summary_of(text: str | None) -> StreamSummary | None:
    """Read a summary, if a step's result is one."""
    return msgspec.json.decode(text, type=StreamSummary) if text is not None and text.startswith(_PREFIX) else None


def stored_bytes(step: StepRecord) -> int:
    """Return how much a step's result takes."""
    text = step.result
    if text is None:
        return 0
    if not text.startswith(_PREFIX):
        return len(text)
    summary = summary_of(text)
    return len(text) + (0 if summary is None else summary.bytes)
