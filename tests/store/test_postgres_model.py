"""Random histories: PostgresStore and the model, both fenced, answer the same and hold the same after each group."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from everstep.store.postgres.store import PostgresStore
from postgres_server import PostgresServer

from .model import ModelStore
from .test_store_model import compare


class ComparedPostgresStore(PostgresStore):
    async def send_event(self, workflow: str, id: str, **named: Any) -> Any:
        # One after another: the model numbers events across instances.
        return await self._do(None, "send_event", workflow, id, **named)

    async def all_events(self) -> list[tuple[Any, ...]]:
        table = f"{self._address.schema}.event"
        rows = await self._pulse.fetch(f"select instance, id, type, payload, created_at from {table} order by id")
        return [tuple(row) for row in rows]


@given(seed=st.integers(0, 2**32), groups=st.integers(1, 60))
@settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.reuse, Phase.generate],  # one history takes a second: looking for a shorter one would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_random_histories_leave_postgresql_and_the_model_the_same(
    postgres_server: PostgresServer, seed: int, groups: int
):
    url = postgres_server.empty_schema()
    asyncio.run(compare(ComparedPostgresStore(url), ModelStore(fenced=True), Random(seed), groups))
