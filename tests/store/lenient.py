"""PostgreSQL for the conformance suite, which speaks of what is written and not of whose instance it is."""

from __future__ import annotations

import asyncio

from everstep.store.postgres.store import PostgresStore
from everstep.store.postgres.write_pipeline import TransactionOp
from everstep.store.protocol import Change


class LenientPostgresStore(PostgresStore):
    """Takes an instance that is nobody's before it writes, and gives it back. The fence has tests of its own."""

    def write(self, change: Change, *, awaited: bool = False) -> asyncio.Future[None]:
        return self._as_owner(change.pk, lambda: super(LenientPostgresStore, self).write(change))

    async def write_chunk(self, pk: int, *more) -> None:
        await self._as_owner(pk, lambda: self._run_operation((pk,), "write_chunk", pk, *more))

    def _as_owner(self, pk: int, write):
        table = f"{self._url.schema}.instance"
        took: list[int] = []

        async def take(link, shown):
            sql = f"update {table} set owner = $1 where pk = $2 and owner is null returning pk"
            took.extend(row["pk"] for row in await link.fetch(sql, shown.worker, pk))

        async def give_back(link, _):
            await link.fetch(f"update {table} set owner = null where pk = any ($1::bigint[])", took)

        self._enqueue(TransactionOp(take), (pk,))
        written = write()
        self._enqueue(TransactionOp(give_back), (pk,))
        return written
