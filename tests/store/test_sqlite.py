"""What only SqliteStore promises: one owner per file, full durability, a file that outlives its process."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from everstep.core.errors import (
    DatabaseInUseError,
    InstanceExistsError,
    SchemaVersionError,
    StoreError,
    StoreUnavailableError,
)
from everstep.store.protocol import Change, InstanceChange
from everstep.store.queries import load_migrations
from everstep.store.sqlite import connection as sqlite_connection
from everstep.store.sqlite import store as sqlite_store
from everstep.store.sqlite.connection import connect
from everstep.store.sqlite.store import SqliteStore, open_store
from everstep.store.sqlite.wal import reserve_log

from .factories import WORKFLOW, do, failed_attempt, instance, new_instance, owned_instance, waiting

HOLDER = """
import asyncio, sys
from pathlib import Path
from everstep.store.protocol import NewInstance
from everstep.store.sqlite.store import SqliteStore

async def hold():
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    await store.create(NewInstance("orders", "one", 10, None, True))
    print("held", flush=True)
    sys.stdin.read()

asyncio.run(hold())
"""
DRIVERS = ["apsw", "standard library"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture(params=DRIVERS)
def each_driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "standard library":
        monkeypatch.setattr(sqlite_connection, "apsw", None)
    return request.param


@asynccontextmanager
async def opened(path: Path | None) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Have another process hold the database, with one instance of its own."""
    arguments = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def set_schema_version(path: Path, version: int) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"pragma user_version = {version}")
    connection.close()


class FailingConnection:
    """A connection whose next `failures` commits fail; everything else goes to the real one."""

    def __init__(
        self, real: sqlite_connection.Connection, *, error: Exception, failures: int, at: str = "commit"
    ) -> None:
        self._real = real
        self._error = error
        self._at = at
        self.failures = failures

    def execute(self, sql: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        if sql.startswith(self._at) and self.failures:
            self.failures -= 1
            raise self._error
        return self._real.execute(sql, arguments)

    def close(self) -> None:
        self._real.close()


class FullDisk:
    """A driver's connection on a disk without room: every statement fails as SQLite fails then."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def execute(self, *_: Any) -> Any:
        raise self._error


# One owner per file


async def test_a_second_store_on_the_file_is_refused_and_told_who_has_it(path: Path):
    async with opened(path):
        with pytest.raises(DatabaseInUseError, match=rf"state\.db is in use .*\(pid {os.getpid()}\)") as refusal:
            await SqliteStore(path).open()
        assert refusal.value.code == "store.in_use"


async def test_another_process_is_refused_and_told_who_has_it(path: Path):
    with holder(path) as process, pytest.raises(DatabaseInUseError, match=rf"\(pid {process.pid}\)"):
        await SqliteStore(path).open()


async def test_a_refused_store_may_be_opened_once_the_first_is_closed(path: Path):
    second = SqliteStore(path)
    async with opened(path):
        with pytest.raises(DatabaseInUseError):
            await second.open()
    await second.open()
    await second.close()


async def test_what_a_killed_process_acknowledged_is_there_at_once(path: Path):
    with holder(path) as process:
        process.send_signal(signal.SIGKILL)
        async with opened(path) as store:
            assert (await instance(store)).status == "running"
            assert await store.recover(now=100) == 1


async def test_two_files_in_one_directory_do_not_exclude_each_other(tmp_path: Path):
    async with opened(tmp_path / "a.db"), opened(tmp_path / "b.db"):
        pass


# Durability


async def test_the_writer_waits_for_the_disk_at_every_commit(path: Path, each_driver: str):
    async with opened(path) as store:
        assert store._writer.execute("pragma synchronous") == [(2,)]
        assert store._writer.execute("pragma journal_mode") == [("wal",)]


async def test_the_reader_neither_writes_nor_checkpoints(path: Path, each_driver: str):
    async with opened(path) as store:
        assert store._reader.execute("pragma wal_autocheckpoint") == [(0,)]
        with pytest.raises(StoreError):
            store._reader.execute("delete from instance")


async def test_everything_is_there_after_reopening(path: Path, each_driver: str):
    async with opened(path) as store:
        pk = await owned_instance(store)
        await store.write(Change(pk, [do(1)], [failed_attempt()], instance=waiting(50)))
        sent = await store.send_event(WORKFLOW, "one", type="t", payload="1", now=20)
        before = await instance(store)
    async with opened(path) as store:
        assert await instance(store) == before
        assert await store.attempts(pk) == [failed_attempt()]
        [claimed] = (await store.claim([WORKFLOW], now=50, limit=1)).claimed
        assert (claimed.steps, claimed.events) == ([do(1)], [sent.event])


async def test_one_driver_reads_what_the_other_wrote(path: Path, monkeypatch: pytest.MonkeyPatch):
    async with opened(path) as store:
        await store.create(new_instance())
    monkeypatch.setattr(sqlite_connection, "apsw", None)
    async with opened(path) as store:
        assert (await instance(store)).status == "queued"


async def test_closing_writes_what_was_queued(path: Path):
    store = SqliteStore(path)
    await store.open()
    pk = await owned_instance(store)
    written = [store.write(Change(pk, [do(n)])) for n in range(1, 101)]
    await store.close()
    assert all(one.done() for one in written)
    async with opened(path) as store:
        assert len(await store.steps(pk)) == 100


async def test_the_file_is_sound_after_many_groups(path: Path, each_driver: str):
    async with opened(path) as store:
        pks = await asyncio.gather(*(store.create(new_instance(f"i{n}", owned=True)) for n in range(600)))
        for n in range(1, 4):
            await asyncio.gather(*(store.write(Change(pk, [do(n)], [failed_attempt(n)])) for pk in pks))
        await asyncio.gather(*(store.restart(WORKFLOW, f"i{n}", now=100, version=None) for n in range(0, 600, 2)))
        assert store._writer.execute("pragma integrity_check") == [("ok",)]
    connection = sqlite3.connect(path)
    assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
    assert connection.execute("select count(*) from step").fetchall() == [(900,)]
    connection.close()


async def test_a_store_without_a_path_leaves_nothing_behind():
    async with opened(None) as store:
        await store.create(new_instance())
        folder = store._path.parent
        assert folder.is_dir()
    assert not folder.exists()


# Opening


async def test_a_missing_directory_is_made(tmp_path: Path):
    path = tmp_path / "not" / "there" / "state.db"
    async with opened(path):
        assert path.is_file()


async def test_a_directory_that_cannot_be_made_is_an_error_with_a_cure(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot open .*state\.db: .*; give the database another place"):
        await SqliteStore(tmp_path / "file" / "state.db").open()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_directory_that_cannot_be_written_is_an_error_with_a_cure(tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match=r"Permission denied; give the database another place"):
        await SqliteStore(tmp_path / "state.db").open()


async def test_a_refusal_of_the_system_is_an_error_with_a_cure(path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("everstep.store.sqlite.file_lock.os.open", refuse)
    with pytest.raises(StoreError, match=r"state\.db: Permission denied; give the database another place"):
        await SqliteStore(path).open()


async def test_a_file_of_another_kind_is_refused_and_left_as_it_is(path: Path, each_driver: str):
    path.write_bytes(b"not a database " * 100)
    with pytest.raises(StoreError, match=r"state\.db is not a database of SQLite, .*: give the database URL another"):
        await SqliteStore(path).open()
    assert path.read_bytes() == b"not a database " * 100


async def test_a_damaged_file_is_said_to_be_and_what_to_do(path: Path, each_driver: str):
    async with opened(path):
        pass
    pages = bytearray(path.read_bytes())
    pages[100:4096] = b"\xff" * 3996  # the page that says which tables there are
    path.write_bytes(pages)
    with pytest.raises(StoreError, match=r"state\.db is damaged: .* restore a backup"):
        await SqliteStore(path).open()


async def test_a_newer_schema_is_refused_and_left_as_it_is(path: Path, each_driver: str):
    async with opened(path):
        pass
    set_schema_version(path, 99)
    with pytest.raises(SchemaVersionError, match=r"state\.db has schema 99, newer .*; upgrade everstep") as refusal:
        await SqliteStore(path).open()
    assert refusal.value.code == "store.schema_version"
    set_schema_version(path, len(load_migrations("sqlite")))
    async with opened(path):  # the refusal let go of the lock
        pass


async def test_a_database_of_the_first_schema_is_brought_up_to_date_with_what_is_in_it(path: Path, each_driver: str):
    with sqlite3.connect(path) as connection:
        connection.executescript(load_migrations("sqlite")[0])
        columns = 'workflow, id, status, created_at, "trigger"'
        connection.execute(f"insert into instance ({columns}) values (?, 'one', 'queued', 1, 'api')", (WORKFLOW,))
        connection.execute("pragma user_version = 1")
    connection.close()
    async with opened(path) as store:
        assert [one.id for one in await store.page(WORKFLOW, status=None, limit=10, cursor=None)] == ["one"]
        assert store._writer.execute("pragma user_version") == [(len(load_migrations("sqlite")),)]


async def test_a_store_that_is_not_open_says_so():
    store = SqliteStore(None)
    with pytest.raises(StoreError, match="not open"):
        store.write(Change(1))
    with pytest.raises(StoreError, match="not open"):
        await store.find(WORKFLOW, "one")
    await store.close()


async def test_a_closed_store_may_be_closed_again(path: Path):
    store = SqliteStore(path)
    await store.open()
    await store.close()
    await store.close()


@pytest.mark.parametrize(
    ("url", "path"),
    [("sqlite:///state.db", "/root/dir/state.db"), ("sqlite:////abs/state.db", "/abs/state.db")],
)
def test_a_url_names_a_file(url: str, path: str):
    assert open_store(url, Path("/root/dir"))._path == Path(path)


def test_a_url_names_a_store_that_is_gone_when_it_is_closed():
    store = open_store("sqlite:///:memory:")
    assert store._temporary is not None
    store._temporary.cleanup()


@pytest.mark.parametrize("url", ["", "state.db", "sqlite://", "sqlite:///", "mysql:///x", "postgresql://host/x"])
def test_a_url_of_another_kind_is_refused(url: str):
    with pytest.raises(StoreError, match="use sqlite:///path"):
        open_store(url)


# Trouble


@pytest.mark.parametrize(
    ("code", "words"), [(13, "the disk is full"), (10, "cannot be read or written"), (5, "locked")]
)
def test_a_full_disk_is_trouble_that_may_pass(path: Path, code: int, words: str):
    error = sqlite3.OperationalError("from SQLite")
    error.sqlite_errorcode = code | 0x300  # an extended code
    connection = sqlite_connection._StandardConnection(str(path))
    connection._connection.close()
    connection._connection = FullDisk(error)
    with pytest.raises(StoreUnavailableError, match=rf"the database .*{words}.*from SQLite"):
        connection.execute("commit")


def test_a_file_that_may_not_grow_is_a_full_disk(path: Path, each_driver: str):
    connection = connect(str(path))
    connection.execute("create table t (bytes)")
    connection.execute("pragma max_page_count = 4")
    with pytest.raises(StoreUnavailableError, match="the disk is full"):
        connection.execute("insert into t values (zeroblob(100000))")
    connection.execute("pragma max_page_count = 4000")
    connection.execute("insert into t values (zeroblob(100000))")  # once there is room, the same statement succeeds
    connection.close()


def test_a_wrong_statement_is_no_passing_trouble(path: Path, each_driver: str):
    connection = connect(str(path))
    with pytest.raises(StoreError, match=r"refused a statement: .*nonsense") as refusal:
        connection.execute("nonsense")
    assert not isinstance(refusal.value, StoreUnavailableError)
    connection.close()


@pytest.mark.parametrize("at", ["begin", "insert into step", "commit"])
async def test_what_a_full_disk_held_up_is_written_once_there_is_room(path: Path, at: str):
    async with opened(path) as store:
        pk = await owned_instance(store)
        full = StoreUnavailableError("the database has no room left: the disk is full")
        store._writer = FailingConnection(store._writer, error=full, failures=2, at=at)
        await asyncio.gather(store.write(Change(pk, [do(1)])), store.create(new_instance("two")))
        assert store._writer.failures == 0
        assert await store.steps(pk) == [do(1)]
        assert (await instance(store, "two")).status == "queued"


@contextmanager
def locked_by_another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Have another process hold the database's write lock, until it is told to let go."""
    code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('begin immediate'); "
    code += "print('locked', flush=True); sys.stdin.read(); c.execute('commit')"
    arguments = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "locked\n"
            yield process
        finally:
            process.kill()


async def test_who_asks_of_a_locked_file_hears_of_it_within_five_seconds(path: Path):
    async with opened(path) as store:
        pk = await owned_instance(store)
        with locked_by_another_process(path) as process:
            began = time.monotonic()
            kept = store.write(Change(pk, [do(1)]))
            with pytest.raises(StoreUnavailableError, match="the database is locked: another connection is writing"):
                await store.create(new_instance("two"))
            assert time.monotonic() - began < 5
            process.stdin.close()
            await kept
        assert await store.find(WORKFLOW, "two") is None
        assert await store.steps(pk) == [do(1)]


async def test_a_locked_file_holds_the_event_loop_up_for_no_more_than_a_moment(path: Path):
    async with opened(path) as store:
        for n in range(10):  # alone: committed where it is asked for
            await store.create(new_instance(f"i{n}"))
        with locked_by_another_process(path) as process:
            began = time.monotonic()
            created = store.create(new_instance("late"))
            await asyncio.sleep(0)
            assert time.monotonic() - began < 1
            process.stdin.close()
            await created


async def test_a_child_is_created_in_the_end_however_long_the_disk_is_full(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("everstep.store.sqlite.group_commit.OUTAGE_TIMEOUT_SECONDS", 0.05)
    async with opened(path) as store:
        pk = await owned_instance(store)
        full = StoreUnavailableError("the database has no room left: the disk is full")
        store._writer = FailingConnection(store._writer, error=full, failures=4, at="commit")
        asked = [store.create(new_instance("asked for")), store.create(new_instance("child", parent=pk))]
        refused, created = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(refused, StoreUnavailableError)
        assert created == (await instance(store, "child")).pk


async def test_a_group_that_failed_leaves_nothing_behind(path: Path):
    async with opened(path) as store:
        pk = await owned_instance(store)
        store._writer = FailingConnection(store._writer, error=StoreError("corrupt"), failures=2)
        asked = [store.write(Change(pk, [do(1)])), store.create(new_instance("two"))]
        assert [str(one) for one in await asyncio.gather(*asked, return_exceptions=True)] == ["corrupt"] * 2
        assert await store.steps(pk) == []
        assert await store.find(WORKFLOW, "two") is None
        await store.write(Change(pk, [do(2)]))
        assert await store.steps(pk) == [do(2)]


@pytest.mark.parametrize("poison", ["\ud800", object()], ids=["a lone surrogate", "a value of no database"])
async def test_a_change_that_cannot_be_written_fails_alone(path: Path, each_driver: str, poison: Any):
    async with opened(path) as store:
        pks = [await owned_instance(store, name) for name in ("one", "two", "three")]
        results = ["1", poison, "3"]
        written = [store.write(Change(pk, [do(1, result=result)])) for pk, result in zip(pks, results, strict=True)]
        first, failed, third = await asyncio.gather(*written, return_exceptions=True)
        assert (first, third) == (None, None)
        assert isinstance(failed, Exception)
        assert [len(await store.steps(pk)) for pk in pks] == [1, 0, 1]


async def test_a_change_that_can_only_be_written_in_part_is_not_written(path: Path, each_driver: str):
    async with opened(path) as store:
        pk = await owned_instance(store)
        written = [
            store.write(Change(pk, [do(1)])),
            store.write(Change(pk, [do(2)], [failed_attempt(error="\ud800")])),
            store.write(Change(pk, [do(3)])),
        ]
        _, failed, _ = await asyncio.gather(*written, return_exceptions=True)
        assert isinstance(failed, UnicodeEncodeError)
        assert [step.seq for step in await store.steps(pk)] == [1, 3]


async def test_a_change_that_cannot_be_written_leaves_refusals_and_order_as_they_are(path: Path):
    async with opened(path) as store:
        pk = await owned_instance(store)
        asked = [
            store.create(new_instance("two")),
            store.create(new_instance("bad", params="\ud800")),
            store.create(new_instance("two", params="late")),
            store.pause(WORKFLOW, "one", now=20),
        ]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(answer).__name__ for answer in answers[1:3]] == ["UnicodeEncodeError", "InstanceExistsError"]
        assert isinstance(answers[2], InstanceExistsError)
        assert (await instance(store, "two")).pk == answers[0]
        assert (await instance(store)).status == "waitingForPause"
        assert answers[3].pk == pk


# What is left, and what is seen


@pytest.mark.parametrize("verb", ["delete", "expire"])
async def test_what_is_deleted_leaves_no_row_in_any_table(path: Path, each_driver: str, verb: str):
    async with opened(path) as store:
        pk = await store.create(new_instance(owned=True, tags=["red", "blue"]))
        await store.send_event(WORKFLOW, "one", type="t", payload=None, now=20)
        await store.write_chunk(pk, 1, 2, 0, b"piece")
        await store.write(Change(pk, [do(1)], [failed_attempt()], instance=waiting(20)))
        await store.write(Change(pk, instance=InstanceChange("complete", ended_at=30, expires_at=40)))
        assert all((await rows_by_table(store)).values()), "nothing would be proved"
        await (store.expire(now=40, limit=9) if verb == "expire" else store.delete(WORKFLOW, "one", now=200))
        assert not any((await rows_by_table(store)).values())


async def rows_by_table(store: SqliteStore) -> dict[str, int]:
    tables = store._reader.execute("select name from sqlite_schema where type = 'table' and name not like 'sqlite%'")
    counted = {name for (name,) in tables} - {"position_allocator"}
    return {name: store._reader.execute(f"select count(*) from {name}")[0][0] for name in counted}


async def test_positions_rise_from_one_process_to_the_next(path: Path):
    async with opened(path) as store:
        pk = await owned_instance(store)
        await store.write(Change(pk, [do(1)]))
    async with opened(path) as store:
        await store.write(Change(pk, [do(2)]))
        found = await store.history(pk, after=0)
        assert [one.step.seq for one in found] == [1, 1, 2, 2]
        assert [one.position for one in found] == sorted({one.position for one in found})


async def test_keys_of_deleted_instances_are_not_used_by_the_next_process(path: Path, each_driver: str):
    async with opened(path) as store:
        pk = await owned_instance(store)
        await store.delete(WORKFLOW, "one", now=200)
    async with opened(path) as store:
        assert await owned_instance(store) > pk


async def test_what_is_written_while_happenings_are_read_is_not_seen_in_part(path: Path, each_driver: str):
    async with opened(path) as store:
        pk = await owned_instance(store)
        reader = store._reader
        store._reader = MeddlingConnection(reader, store._writer, pk)
        seen = await store.history(pk, after=0)
        store._reader = reader
        later = await store.history(pk, after=0)
        assert seen == later[: len(seen)]
        assert [one.event for one in later] == ["workflow_running", "step"]


class MeddlingConnection:
    """Has another thread commit a status_event, and a step after it, once status_events have been read."""

    def __init__(self, reader: Any, writer: Any, pk: int) -> None:
        self.reader, self.writer, self.pk = reader, writer, pk

    def execute(self, sql: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        rows = self.reader.execute(sql, arguments)
        if "from status_event" in sql:
            columns = (
                "instance, seq, kind, name, count, state, attempt, started_at, is_absolute, compensable, sensitive"
            )
            step = f"({self.pk}, 1, 'do', 'x', 1, 'running', 1, 0, 0, 0, 0, 1000002)"
            self.writer.execute(
                f"insert into status_event values (1000001 + (1 << 40), {self.pk}, 'workflow_running', 0, null)"
            )
            self.writer.execute(f"insert into step ({columns}, position) values {step}")
            self.writer.execute("update step set position = position + (1 << 40)")
        return rows


# Speed that tests can see


WIDTHS = {
    "create_instances": 14, "create_children": 14,
    "write_steps": 27, "write_attempts": 8, "write_status_events": 4, "write_instances": 9,
}  # fmt: skip
"""How many columns the rows of a statement have that takes many."""
WHOLE = {"count_instances": "SCAN instance", "next_position_block": "SCAN position_allocator"}
"""What reads a whole table, and which."""
BY_INDEX = {
    "due_instances": "instance_due (due_at<?)", "due_resumed_first": "instance_due (due_at<?)",
    "next_due": "instance_due (due_at>?)", "unclaimable": "instance_due (due_at>?)",
    "count_due": "instance_due (due_at<?)",
    "expired": "instance_expiry (expires_at<?)",
    "recover_pausing": "instance_owned (status=?)", "release_running": "instance_owned (status=?)",
    "list_instances": "instance_listed (workflow=? AND rowid<?)",
    "write_instances": "step_open (instance=?)", "wake_for_event": "step_open (instance=?)",
    "shift_timers": "step_open (instance=?)", "cancel_open_steps": "step_open (instance=?)",
}  # fmt: skip
"""Which index leads to the instances or the steps that a statement is about, and to no others."""


@pytest.mark.parametrize("query", sqlite_store._SQL)
async def test_no_statement_looks_at_more_rows_than_it_is_about(path: Path, each_driver: str, query: str):
    sql = sqlite_store._SQL[query]
    if "{rows}" in sql:
        sql = sql.replace("{rows}", f"({', '.join('?' * WIDTHS[query])})")
    numbered = [int(number) for number in re.findall(r"\?(\d+)", sql)]
    async with opened(path) as store:
        plan = store._writer.execute(f"explain query plan {sql}", [None] * (max(numbered, default=sql.count("?"))))
    lines = [row[3] for row in plan]
    tables = (
        "instance",
        "step",
        "attempt",
        "event",
        "tag",
        "status_event",
        "chunk",
        "position_allocator",
        "i",
        "s",
        "e",
        "c",
        "p",
    )
    scans = [line for line in lines if line.split()[0] == "SCAN" and line.split()[1] in tables]
    if query == "recover_running":  # `p` are the rows of a subquery there
        scans.remove("SCAN p")
    assert not [line for line in scans if not line.startswith(WHOLE.get(query, "nothing"))], lines
    assert any(f"INDEX {BY_INDEX[query]}" in line for line in lines) if query in BY_INDEX else True, lines
    if query in ("due_instances", "next_due", "list_instances"):  # read in their order, and no further than the limit
        assert not [line for line in lines if "ORDER BY" in line], lines


async def test_a_step_is_written_without_a_table_for_it_alone(path: Path, each_driver: str):
    columns = ", ".join("?" * WIDTHS["write_steps"])
    sql = sqlite_store._SQL["write_steps"].replace("{rows}", f"({columns})")
    async with opened(path) as store:
        operations = [row[1] for row in store._writer.execute(f"explain {sql}", [None] * WIDTHS["write_steps"])]
    assert "IdxInsert" in operations
    assert "OpenEphemeral" not in operations


async def test_the_log_has_its_size_from_the_start_and_the_database_none_of_it(tmp_path):
    store = SqliteStore(tmp_path / "state.db")
    await store.open()
    try:
        assert (tmp_path / "state.db-wal").stat().st_size >= 4000 * 4096
        pk = await store.create(new_instance(owned=True))
        await store.write(Change(pk, [do(1)]))
    finally:
        await store.close()
    assert not (tmp_path / "state.db-wal").exists()
    assert (tmp_path / "state.db").stat().st_size < 1_000_000


async def test_what_is_committed_into_a_reserved_log_is_there_after_a_crash(tmp_path):
    store = SqliteStore(tmp_path / "state.db")
    await store.open()
    pk = await store.create(new_instance(owned=True))
    await store.write(Change(pk, [do(1)]))
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for file in tmp_path.glob("state.db*"):
        shutil.copy(file, crashed / file.name)
    await store.close()
    again = SqliteStore(crashed / "state.db")
    await again.open()
    try:
        assert await again.steps(pk) == [do(1)]
    finally:
        await again.close()


def test_a_log_that_cannot_be_reserved_is_left_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "state.db-wal").write_bytes(b"frames")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    reserve_log(tmp_path / "state.db")
    assert (tmp_path / "state.db-wal").read_bytes() == b"frames"


def synchronous(store: SqliteStore) -> int:
    """How the writer commits: 1 without waiting for the disk, 2 waiting for it."""
    [(mode,)] = store._writer.execute("pragma synchronous")
    return mode


async def test_only_a_group_of_relaxed_changes_does_not_wait_for_the_disk(tmp_path):
    store = SqliteStore(tmp_path / "state.db")
    await store.open()
    try:
        pk = await store.create(new_instance(owned=True))
        assert synchronous(store) == 2
        await store.write(Change(pk, [do(1)], relaxed=True))
        assert synchronous(store) == 1
        await asyncio.gather(
            store.write(Change(pk, [do(2)], relaxed=True)), store.write(Change(pk, [do(3)])), return_exceptions=False
        )
        assert synchronous(store) == 2
        await store.write(Change(pk, [do(4)], relaxed=True))
        await store.send_event(WORKFLOW, "one", type="x", payload=None, now=5)
        assert synchronous(store) == 2
        assert await store.steps(pk) == [do(1), do(2), do(3), do(4)]
    finally:
        await store.close()
