"""Python's own sqlite3 in the process of an engine: it may read the engine's file and not write it, and is told."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from sqlite3 import connect as connect_by_itself
from typing import Any
from urllib.parse import quote

import pytest

from everstep.store.sqlite import connection as sqlite_connection
from everstep.store.sqlite.store import SqliteStore

from .factories import new_instance

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows locks belong to what was opened")

COUNT = "select count(*) from instance"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "state of all?.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.open()
    await store.create(new_instance("one"))
    yield store
    await store.close()


NAMES: dict[str, Callable[[Path], Any]] = {
    "a text": str,
    "a path": lambda path: path,
    "bytes": os.fsencode,
    "a relative path": lambda path: path.name,
    "a URI": lambda path: f"file:{quote(str(path))}",
    "a URI with a host": lambda path: f"file://localhost{quote(str(path))}",
    "a URI that would create it": lambda path: f"file://{quote(str(path))}?mode=rwc&cache=private#x",
    "a relative URI": lambda path: f"file:{quote(path.name)}?mode=rw",
}


@pytest.mark.parametrize("name", NAMES)
async def test_a_connection_reads_and_cannot_write(store: SqliteStore, path: Path, name: str):
    with closing(sqlite3.connect(NAMES[name](path), timeout=0, uri="URI" in name)) as connection:
        assert connection.execute(COUNT).fetchall() == [(1,)]
        for statement in ("create table mine (x)", "delete from instance", "pragma user_version = 99"):
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                connection.execute(statement)
    await store.create(new_instance("two"))
    assert store._writer.execute("pragma integrity_check") == [("ok",)]


async def test_what_the_caller_asks_of_a_connection_is_kept(store: SqliteStore, path: Path):
    class Mine(sqlite3.Connection):
        pass

    arguments = (7.0, sqlite3.PARSE_DECLTYPES, None, False, Mine, 9)
    for connection in (sqlite3.connect(str(path), *arguments, False), sqlite3.connect(database=path, factory=Mine)):
        assert type(connection) is Mine
        assert connection.execute(COUNT).fetchall() == [(1,)]
        connection.close()


class Subclass(sqlite3.Connection):
    pass


@pytest.mark.parametrize("opened_by", [connect_by_itself, sqlite3.Connection, Subclass])
async def test_what_does_not_ask_the_module_is_refused_with_a_cure(
    store: SqliteStore, path: Path, opened_by: Callable[..., sqlite3.Connection]
):
    with pytest.raises(
        sqlite3.OperationalError, match=r"belongs to the engine .*: open it with mode=ro, or in another"
    ):
        opened_by(str(path))
    with closing(opened_by(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
        assert connection.execute(COUNT).fetchall() == [(1,)]


async def test_a_link_to_the_file_is_the_file(store: SqliteStore, path: Path):
    path.with_name("hard").hardlink_to(path)
    path.with_name("soft").symlink_to(path)
    for name in ("hard", "soft"):
        with closing(sqlite3.connect(name)) as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("create table mine (x)")


async def test_the_log_says_once_that_a_connection_only_reads(
    store: SqliteStore, path: Path, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING, "everstep.store"):
        for _ in range(2):
            sqlite3.connect(path).close()
    [told] = [message for message in caplog.messages if "read-only" in message]
    assert str(path) in told
    assert "in another process" in told


async def test_other_files_are_nobodys_affair(store: SqliteStore, path: Path):
    for name in ("other.db", ":memory:", "", "file:other.db?mode=rwc", b"bytes.db"):
        with closing(sqlite3.connect(name, uri=True)) as connection:
            connection.execute("create table if not exists mine (x)")
    with pytest.raises(TypeError):
        sqlite3.connect(7.5)


async def test_another_process_may_write(store: SqliteStore, path: Path):
    code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('create table mine (x)'); c.close()"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert store._reader.execute("select count(*) from mine") == [(0,)]


async def test_a_closed_engine_leaves_sqlite3_as_it_was(path: Path):
    plain = sqlite3.connect
    stores = [SqliteStore(path), SqliteStore(path.with_name("other.db"))]
    for store in stores:
        await store.open()
    assert sqlite3.connect is not plain
    await stores[0].close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table mine (x)")
    with closing(sqlite3.connect("other.db")) as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("create table mine (x)")
    await stores[1].close()
    assert sqlite3.connect is plain is sqlite3.dbapi2.connect


async def test_an_engine_on_the_same_library_needs_none_of_it(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sqlite_connection, "apsw", None)
    store = SqliteStore(path)
    await store.open()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table mine (x)")
    await store.close()
