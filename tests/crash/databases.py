"""What processes are killed on: a SQLite file or a PostgreSQL schema, looked into from outside."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Any, Protocol

import asyncpg

_ENDED = "select name, state, result, error from step where state in ('complete', 'errored')"


class Database(Protocol):
    """Where a process keeps its state, whichever store that is."""

    url: str

    def died(self) -> None:
        """Check what a killed process left, and let the next one have it at once."""
        ...

    def ended_steps(self) -> dict[str, str]:
        """Return what is recorded of each step that has ended, straight from the database."""
        ...


class SqliteFile:
    """A file, which is whole after every crash."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.url = f"sqlite:///{file}"

    def died(self) -> None:
        if self._file.exists():
            with contextlib.closing(sqlite3.connect(self._file)) as connection:
                assert connection.execute("pragma integrity_check").fetchone() == ("ok",)

    def ended_steps(self) -> dict[str, str]:
        if not self._file.exists():
            return {}
        with contextlib.closing(sqlite3.connect(self._file)) as connection:
            try:
                return _in_words(connection.execute(_ENDED).fetchall())
            except sqlite3.OperationalError:  # killed before the schema was there
                return {}


class PostgresSchema:
    """A schema. The dead own what they were at until their lease is over: tests do not wait for that, they end it."""

    def __init__(self, url: str) -> None:
        self._server, self._name = url.split("?schema=")
        self.url = url

    def died(self) -> None:
        self._run("update worker set lease_until = '-infinity'")

    def ended_steps(self) -> dict[str, str]:
        return _in_words(self._run(_ENDED))

    def _run(self, sql: str) -> list[Any]:
        async def ran() -> list[Any]:
            connection = await asyncpg.connect(self._server, server_settings={"search_path": self._name})
            try:
                return await connection.fetch(sql)
            except asyncpg.UndefinedTableError:  # killed before the schema was there
                return []
            finally:
                await connection.close()

        return asyncio.run(ran())


def _in_words(rows: list[Any]) -> dict[str, str]:
    return {name: f"{state} {result} {error}" for name, state, result, error in rows}
