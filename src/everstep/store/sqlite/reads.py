"""What the store on SQLite answers without writing: on the loop where it is quick, in a thread where it may be long."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from everstep.core.errors import StoreError
from everstep.core.journal import AttemptRecord, StepRecord
from everstep.store.protocol import HistoryEntry, InstanceRecord
from everstep.store.read_rows import line_of
from everstep.store.sqlite.connection import Connection, connect
from everstep.store.sqlite.operations import SQL, array, history, step_of
from everstep.threads import run_beside_loop

T = TypeVar("T")

QUICK_STEPS = 500
"""So many steps are read on the loop in a few milliseconds, each from a page of its own if their results are long."""


class SqliteReads:
    """The reading half of `SqliteStore`, which opens and closes what is read."""

    _path: Path
    _reader: Connection | None

    async def chunks(self, pk: int, seq: int, attempt: int, *, after: int, limit: int) -> list[bytes]:
        return [data for (data,) in self._read("chunks_of", (pk, seq, attempt, after, limit))]

    async def history(self, pk: int, *, after: int) -> list[HistoryEntry]:
        return history(self._reading(), pk, after)

    async def descendants(self, pk: int) -> list[InstanceRecord]:
        return [InstanceRecord(*row) for row in self._read("descendants_of", (pk,))]

    async def by_pk(self, pk: int) -> InstanceRecord | None:
        rows = self._read("instance_by_pk", (pk,))
        return InstanceRecord(*rows[0]) if rows else None

    async def find(self, workflow: str, id: str) -> InstanceRecord | None:
        rows = self._read("find_instance", (workflow, id))
        return InstanceRecord(*rows[0]) if rows else None

    async def page(
        self, workflow: str, *, status: str | None, limit: int, cursor: int | None, tag: str | None = None
    ) -> list[InstanceRecord]:
        arguments = (workflow, status, cursor, limit)
        if tag is None:
            return await self._read_in_thread(line_of, "list_instances", arguments)
        return await self._read_in_thread(line_of, "list_tagged", (*arguments, tag))

    async def lines(self, pks: Sequence[int]) -> list[InstanceRecord]:
        return [line_of(row) for row in self._read("lines_of", (array(pks),))]

    async def counts(self) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {}
        for workflow, status, count in await self._read_in_thread(tuple, "count_instances"):
            counts.setdefault(workflow, {})[status] = count
        return counts

    async def list_owned(self) -> dict[int, str]:
        return dict(self._read("list_owned", ()))

    async def due(self, workflows: Sequence[str], *, now: int) -> int:
        [(count,)] = await self._read_in_thread(tuple, "count_due", (now, array(workflows)))
        return int(count)

    async def unclaimable(self, workflows: Sequence[str]) -> dict[str, int]:
        return dict(self._read("unclaimable", (array(workflows),)))

    async def steps(
        self, pk: int, *, first: int = 0, last: int | None = None, chars: int | None = None
    ) -> list[StepRecord]:
        return await self._read_in_thread(step_of, "steps_between", (pk, first, last, chars))

    async def outline(self, pk: int) -> list[StepRecord]:
        [(last,)] = self._read("last_step", (pk,))
        if (last or 0) > QUICK_STEPS:
            return await self._read_in_thread(step_of, "outline_of", (pk,))
        return [step_of(row) for row in self._read("outline_of", (pk,))]

    async def attempts(self, pk: int, *, first: int = 0, last: int | None = None) -> list[AttemptRecord]:
        return await self._read_in_thread(_attempt, "attempts_between", (pk, first, last))

    def _read(self, query: str, arguments: Sequence[Any]) -> list[tuple[Any, ...]]:
        return self._reading().execute(SQL[query], arguments)

    async def _read_in_thread(
        self, make: Callable[[tuple[Any, ...]], T], query: str, arguments: Sequence[Any] = ()
    ) -> list[T]:
        """Read in a thread, with a connection apart, what may be long: a million instances, a gigabyte of results."""
        self._reading()  # that it is open

        def read() -> list[T]:
            with contextlib.closing(connect(str(self._path), read_only=True)) as reader:
                return [make(row) for row in reader.execute(SQL[query], arguments)]

        return await run_beside_loop(read)

    def _reading(self) -> Connection:
        if self._reader is None:
            raise StoreError("the store is not open")
        return self._reader


def _attempt(row: tuple[Any, ...]) -> AttemptRecord:
    return AttemptRecord(*row)
