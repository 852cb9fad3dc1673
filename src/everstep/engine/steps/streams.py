"""Results that are streams: an async iterator of bytes, kept in pieces and given back as a fresh one each time."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from functools import partial
from typing import Any

from everstep.core.errors import NotSerializableError, StorageLimitError, StoredValueError
from everstep.core.journal import StepRecord
from everstep.core.limits import MIB, STORED_BYTES
from everstep.engine.execution.execution import Execution
from everstep.engine.execution.stream_summary import PREVIEW_CHARS, StreamSummary, preview_of
from everstep.engine.execution.workflow_loop import engine_await
from everstep.engine.steps.store_retry import retry_while_unavailable
from everstep.store.protocol import Store

PIECE_BYTES = 256 * 1024
CHUNK_BYTES = 16 * MIB
_READ_AHEAD = 4


class StoredStream:
    """A stream as it comes out of the store: iterate over it as often as wanted, each time from the start."""

    def __init__(self, store: Store, pk: int, seq: int, summary: StreamSummary) -> None:
        self._store = store
        self._pk = pk
        self._seq = seq
        self._summary = summary

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return self._summary.bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        number, read = 0, 0
        while number < self._summary.pieces:
            pieces = await engine_await(partial(retry_while_unavailable, partial(self._read, number)))
            if not pieces:
                raise StoredValueError(f"the stored stream ends after {read} of {self._summary.bytes} bytes")
            for piece in pieces:
                yield piece
                number, read = number + 1, read + len(piece)

    async def _read(self, after: int) -> list[bytes]:
        return await self._store.chunks(self._pk, self._seq, self._summary.attempt, after=after, limit=_READ_AHEAD)

    def __repr__(self) -> str:
        return f"<StoredStream of {self.size} bytes>"


async def store_stream(execution: Execution, record: StepRecord, stream: AsyncIterable[Any]) -> StreamSummary:
    """Store a stream piece by piece; pieces of an earlier attempt are dropped.

    Raises:
        NotSerializableError: if it yields anything but bytes.
        StorageLimitError: if the instance would store more than it may.
    """
    try:
        return await _stored(execution, record, stream)
    finally:
        close = getattr(stream, "aclose", None)
        if close is not None:  # a generator, which may not have come to its end
            await close()


async def _stored(execution: Execution, record: StepRecord, stream: AsyncIterable[Any]) -> StreamSummary:
    waiting, beginning, pieces, total = bytearray(), b"", 0, 0
    async for chunk in stream:
        size = memoryview(chunk).nbytes if isinstance(chunk, (bytes, bytearray, memoryview)) else None
        if size is None or size > CHUNK_BYTES:
            what = type(chunk).__name__ if size is None else f"a chunk of {size} bytes"
            raise NotSerializableError(
                f"the stream of step {record.name!r} gave {what}; yield bytes, at most 16 MiB at a time"
            )
        waiting += chunk
        total += size
        if len(beginning) < 4 * PREVIEW_CHARS:
            beginning += bytes(chunk)[: 4 * PREVIEW_CHARS]
        if execution.journal.stored_bytes + total > STORED_BYTES:
            raise StorageLimitError(f"the stream of step {record.name!r} is larger than an instance may store")
        while len(waiting) >= PIECE_BYTES:
            await _write(execution, record, pieces, bytes(waiting[:PIECE_BYTES]))
            del waiting[:PIECE_BYTES]
            pieces += 1
    if waiting:
        await _write(execution, record, pieces, bytes(waiting))
        pieces += 1
    return StreamSummary(record.attempt, pieces, total, preview_of(beginning))


async def _write(execution: Execution, record: StepRecord, number: int, data: bytes) -> None:
    execution.check_open()
    await execution.host.store.write_chunk(execution.pk, record.seq, record.attempt, number, data)
