"""Both kinds of databases, for programs that are killed on each."""

from __future__ import annotations

from pathlib import Path

import pytest
from databases import Database, PostgresSchema, SqliteFile


@pytest.fixture
def sqlite_file(tmp_path: Path) -> SqliteFile:
    return SqliteFile(tmp_path / "state.db")


@pytest.fixture
def postgres_schema(postgres_url: str) -> PostgresSchema:
    return PostgresSchema(postgres_url)


@pytest.fixture(params=["sqlite_file", "postgres_schema"])
def database(request: pytest.FixtureRequest) -> Database:
    return request.getfixturevalue(request.param)
