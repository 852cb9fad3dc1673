"""Every implementation of `Store` passes the same suite, and so does the model they are compared with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from everstep.store.protocol import Store
from everstep.store.sqlite import connection as sqlite_connection
from everstep.store.sqlite.store import SqliteStore

from .conformance import StoreConformance
from .lenient import LenientPostgresStore
from .model import ModelStore


@pytest.fixture(params=["file", "temporary", "standard library", "model", "postgres"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Store]:
    if request.param == "standard library":
        monkeypatch.setattr(sqlite_connection, "apsw", None)
    implementations = {"temporary": lambda: SqliteStore(None), "model": ModelStore}
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        implementations["postgres"] = lambda: LenientPostgresStore(url)
    store: Store = implementations.get(request.param, lambda: SqliteStore(tmp_path / "state.db"))()
    await store.open()
    yield store
    await store.close()


class TestStores(StoreConformance):
    """One suite, every store."""
