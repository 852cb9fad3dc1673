"""What the store on PostgreSQL answers without writing, by its reading connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from everstep.core.errors import StoreError
from everstep.core.journal import AttemptRecord, StepRecord
from everstep.store.cluster import OwnedSnapshot
from everstep.store.postgres.key_cache import KeyCache
from everstep.store.postgres.operations import history, step_of
from everstep.store.postgres.read_pool import ReadPool
from everstep.store.postgres.writer import WorkerIdentity
from everstep.store.protocol import EventRecord, HistoryEntry, InstanceRecord
from everstep.store.read_rows import line_of


class PostgresReads:
    """The reading half of `PostgresStore`, which opens and closes what is read."""

    _queries: dict[str, str]
    _key_cache: KeyCache
    _identity: WorkerIdentity
    _read_pool: ReadPool | None

    async def load_owned(self, pk: int) -> OwnedSnapshot | None:
        rows = await self._read("find_with_owner", pk)
        if not rows:
            return None
        *columns, owner = rows[0]
        events = [EventRecord(*row[1:]) for row in await self._read("events_of", [pk])]
        return OwnedSnapshot(InstanceRecord(*columns), owner == self._identity.worker, events)

    async def list_owned(self) -> dict[int, str]:
        return {row["pk"]: row["status"] for row in await self._read("list_owned", self._identity.worker)}

    async def chunks(self, pk: int, seq: int, attempt: int, *, after: int, limit: int) -> list[bytes]:
        return [data for (data,) in await self._read("chunks_of", pk, seq, attempt, after, limit)]

    async def history(self, pk: int, *, after: int) -> list[HistoryEntry]:
        return await self._reading().read(lambda connection: history(self._queries, connection, pk, after))

    async def descendants(self, pk: int) -> list[InstanceRecord]:
        return self._cached(await self._read("descendants_of", pk))

    async def by_pk(self, pk: int) -> InstanceRecord | None:
        return next(iter(self._cached(await self._read("instance_by_pk", pk))), None)

    async def find(self, workflow: str, id: str) -> InstanceRecord | None:
        return next(iter(self._cached(await self._read("find_instance", workflow, id))), None)

    async def page(
        self, workflow: str, *, status: str | None, limit: int, cursor: int | None, tag: str | None = None
    ) -> list[InstanceRecord]:
        arguments = (workflow, status, cursor, limit)
        if tag is None:
            rows = await self._read("list_instances", *arguments)
        else:
            rows = await self._read("list_tagged", *arguments, tag)
        return [line_of(row) for row in rows]

    async def lines(self, pks: Sequence[int]) -> list[InstanceRecord]:
        return [line_of(row) for row in await self._read("lines_of", pks)]

    async def counts(self) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {}
        for workflow, status, count in await self._read("count_instances"):
            counts.setdefault(workflow, {})[status] = count
        return counts

    async def due(self, workflows: Sequence[str], *, now: int) -> int:
        [(count,)] = await self._read("count_due", now, list(workflows))
        return int(count)

    async def unclaimable(self, workflows: Sequence[str]) -> dict[str, int]:
        return dict(await self._read("unclaimable", list(workflows)))

    async def steps(
        self, pk: int, *, first: int = 0, last: int | None = None, chars: int | None = None
    ) -> list[StepRecord]:
        return [step_of(row) for row in await self._read("steps_between", pk, first, last, chars)]

    async def outline(self, pk: int) -> list[StepRecord]:
        return [step_of(row) for row in await self._read("outline_of", pk)]

    async def attempts(self, pk: int, *, first: int = 0, last: int | None = None) -> list[AttemptRecord]:
        return [AttemptRecord(*row) for row in await self._read("attempts_between", pk, first, last)]

    def _cached(self, rows: Sequence[Any]) -> list[InstanceRecord]:
        instances = [InstanceRecord(*row) for row in rows]
        for one in instances:
            self._key_cache.put(one.workflow, one.id, one.pk)
        return instances

    async def _read(self, query: str, *arguments: Any) -> list[Any]:
        return await self._reading().fetch(self._queries[query], *arguments)

    def _reading(self) -> ReadPool:
        if self._read_pool is None:
            raise StoreError("the store is not open")
        return self._read_pool
