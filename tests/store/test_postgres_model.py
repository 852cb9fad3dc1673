"""Random histories: PostgresStore and the model, both fenced, answer the same and hold the same after each group."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec import structs

from everstep.core.errors import StoreUnavailableError
from everstep.store import retry
from everstep.store.postgres.connection import ReconnectingConnection
from everstep.store.postgres.store import PostgresStore
from everstep.store.protocol import Claim
from postgres_server import PostgresServer

from .model import ModelStore
from .test_store_model import compare


class ComparedPostgresStore(PostgresStore):
    def _named(self, verb: str, workflow: str, id: str, **named: Any) -> Any:
        # One after another. The model numbers events across instances; and what is done to an instance reaches its
        # family, whose own changes may travel beside it: either order would be right.
        return self._run_operation(None, verb, workflow, id, **named)

    async def claim(self, *arguments: Any, **named: Any) -> Claim:
        # Whose an instance was before, the model does not know.
        claim = await super().claim(*arguments, **named)
        return Claim([structs.replace(one, already_owned=True) for one in claim.claimed], claim.next_due)

    async def all_events(self) -> list[tuple[Any, ...]]:
        table = f"{self._url.schema}.event"
        rows = await self._control_connection.fetch(
            f"select instance, id, type, payload, created_at from {table} order by id"
        )
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


class LossyLink(ReconnectingConnection):
    """Loses its connection now and then: before a statement arrived, or before its answer did.

    Not where a transaction that is rolled back would leave a gap in the keys: the model leaves none.
    """

    random = Random(0)
    losses = 0

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        inside = self.driver_connection is not None and self.driver_connection.is_in_transaction()
        self._lose(0.03)
        self._spent = inside and (self._spent or "created as (" in sql or "event (" in sql)
        rows = await super().fetch(sql, *arguments)
        self._lose(0.03)
        return rows

    async def execute(self, sql: str) -> str:
        self._lose(0.03)
        self._spent = self._spent and not sql.startswith("begin")
        status = await super().execute(sql)
        self._spent = self._spent and sql != "commit"
        self._lose(0.1 if sql == "commit" else 0.03)
        return status

    _spent = False

    def _lose(self, chance: float) -> None:
        if not self._spent and self.random.random() < chance:
            LossyLink.losses += 1
            self.abort()
            raise StoreUnavailableError("lost, for a test")


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_a_lost_connection_leaves_open_is_found_out(
    postgres_server: PostgresServer, seed: int, monkeypatch: pytest.MonkeyPatch
):
    store = ComparedPostgresStore(postgres_server.empty_schema())
    monkeypatch.setattr(retry, "SOONEST_SECONDS", 0.001)
    monkeypatch.setattr(LossyLink, "random", Random(seed))
    for writer in store._writers:
        writer.connection.__class__ = LossyLink
    await compare(store, ModelStore(fenced=True), Random(seed), 40, say=bool)
    assert LossyLink.losses > 10
