"""Connections that break in the middle of a commit, are refused, or hang: what was asked for is done once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from everstep.core.errors import StoreUnavailableError
from everstep.store.postgres import connection as postgres_connection
from everstep.store.postgres.store import PostgresStore
from everstep.store.protocol import Change
from postgres_server import PostgresServer
from proxies import Proxy
from store.factories import WORKFLOW, child, claimed_ids, do, ended, instance, new_instance, owned_instance, waiting

pytestmark = pytest.mark.crash


class Wired:
    """A store whose connections go through a proxy, and a way past it."""

    def __init__(self, server: PostgresServer) -> None:
        self.proxy = Proxy(server.port)
        self.url = server.empty_schema()
        self.schema = self.url.split("schema=")[1]
        self.store = PostgresStore(self.url.replace(f":{server.port}/", f":{self.proxy.port}/"))

    async def sql(self, statement: str) -> list[asyncpg.Record]:
        """Ask the database itself."""
        connection = await asyncpg.connect(self.url.split("?", maxsplit=1)[0])
        try:
            return await connection.fetch(statement.replace("everstep.", f"{self.schema}."))
        finally:
            await connection.close()

    def break_at(self, mark: bytes, how: str) -> Callable[[], int]:
        """Break the connection on which `mark` is sent, before it arrives or before it is answered, once."""
        broken: list[bytes] = []

        def on_request(some: bytes) -> str:
            if mark in some and not broken:
                broken.append(some)
                return how
            return "pass"

        self.proxy.watch(on_request)
        return lambda: len(broken)


@pytest.fixture
async def wired(postgres_server: PostgresServer) -> AsyncIterator[Wired]:
    wired = Wired(postgres_server)
    await wired.store.open()
    yield wired
    wired.proxy.heal()
    await wired.store.close()
    await asyncio.to_thread(wired.proxy.close)


# An outcome that nobody knows is found out by reading

_MOMENTS = ["before it is passed over", "after it was passed over", "after the second try"]


@pytest.mark.parametrize("how", ["drop", "answer"])
async def test_an_event_is_sent_once_when_the_connection_is_lost_in_mid_commit(wired: Wired, how: str):
    pk = await owned_instance(wired.store)
    broken = wired.break_at(b"commit", how)
    sent = await wired.store.send_event(WORKFLOW, "one", type="go", payload='"x"', now=5)
    assert broken() == 1
    assert [tuple(row) for row in await wired.sql("select instance, id from everstep.event")] == [(pk, sent.event.id)]


@pytest.mark.parametrize("how", ["drop", "answer"])
async def test_an_instance_is_created_once_and_its_creator_is_told_its_key(wired: Wired, how: str):
    await wired.store.create(new_instance("before", owned=True))
    broken = wired.break_at(b"marked", how)
    pk = await wired.store.create(new_instance("marked", owned=True))
    assert broken() == 1
    assert [row["pk"] for row in await wired.sql("select pk from everstep.instance where id = 'marked'")] == [pk]


@pytest.mark.parametrize("how", ["drop", "answer"])
async def test_steps_are_written_once_in_their_order(wired: Wired, how: str):
    pk = await owned_instance(wired.store)
    await wired.store.write(Change(pk, [do(1)]))
    broken = wired.break_at(b"marked", how)
    await asyncio.gather(*(wired.store.write(Change(pk, [do(seq, result='"marked"')])) for seq in range(2, 6)))
    assert broken() == 1
    happened = [one.step.seq for one in await wired.store.history(pk, after=0) if one.event == "step" and one.step]
    assert happened == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("how", ["drop", "answer"])
async def test_a_claim_whose_answer_was_lost_is_remembered(wired: Wired, how: str):
    await wired.store.create(new_instance())
    broken = wired.break_at(b"commit", how)
    assert await claimed_ids(wired.store, now=10**6) == ["one"]
    assert broken() == 1


@pytest.mark.parametrize("how", ["drop", "answer"])
async def test_a_child_that_ends_wakes_its_parent_once(wired: Wired, how: str):
    parent = await owned_instance(wired.store, "parent")
    pk = await wired.store.create(new_instance("child", owned=True, parent=parent))
    await wired.store.write(Change(parent, [child(id="child")], instance=waiting(None)))
    broken = wired.break_at(b"commit", how)
    await wired.store.write(Change(pk, instance=ended(parent=parent)))
    assert broken() == 1
    assert (await instance(wired.store, "parent")).due_at == 0


@pytest.mark.parametrize("when", _MOMENTS)
async def test_what_comes_late_is_found_or_comes_to_nothing(wired: Wired, when: str, monkeypatch: pytest.MonkeyPatch):
    pk = await owned_instance(wired.store)
    await wired.store.write(Change(pk, [do(1)]))
    worker, fetch, late = wired.store.health().worker, postgres_connection.ReconnectingConnection.fetch, []
    tried: list[str] = []

    async def lossy(self: postgres_connection.ReconnectingConnection, sql: str, *arguments: object) -> list[object]:
        [name] = [name for name, one in wired.store._queries.items() if one == sql]
        if name == "write_steps" and not tried:
            late.append((sql, arguments))
            self.abort()
            tried.append(name)
            raise StoreUnavailableError("lost, for a test")
        rows = await fetch(self, sql, *arguments)
        tried.append(name)
        reached = {"last_txn": 0, "skip_txn": 1, "write_steps": 2}
        if late and reached.get(name) == _MOMENTS.index(when):
            await arrived(*late.pop())
        return rows

    async def arrived(sql: str, arguments: tuple[object, ...]) -> None:
        connection = await asyncpg.connect(wired.url.split("?", maxsplit=1)[0])
        await connection.fetch(sql, *arguments)
        await connection.close()

    monkeypatch.setattr(postgres_connection.ReconnectingConnection, "fetch", lossy)
    await wired.store.write(Change(pk, [do(2)]))
    await wired.store.write(Change(pk, [do(3)]))
    monkeypatch.undo()
    assert not late
    assert wired.store.health().worker == worker, f"it takes itself for expelled: {tried}"
    happened = [one.step.seq for one in await wired.store.history(pk, after=0) if one.event == "step" and one.step]
    assert happened == [1, 2, 3]


# What a second try solves


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_what_the_database_rolls_back_for_the_sake_of_others_is_tried_again(wired: Wired, state: str):
    pk = await owned_instance(wired.store)
    await wired.sql("create sequence everstep.tries")
    await wired.sql(
        "create function everstep.fails() returns trigger language plpgsql as $$ begin "
        f"if nextval('everstep.tries') <= 3 then raise exception using errcode = '{state}'; end if; return new; end $$"
    )
    for table in ("event", "step"):
        await wired.sql(
            f"create trigger fails before insert on everstep.{table} for each row execute function everstep.fails()"
        )
    await wired.store.send_event(WORKFLOW, "one", type="go", payload=None, now=5)
    await wired.sql("select setval('everstep.tries', 1, false)")
    await wired.store.write(Change(pk, [do()]))
    assert [row[0] for row in await wired.sql("select count(*) from everstep.event")] == [1]
    assert [step.seq for step in await wired.store.steps(pk)] == [1]
    assert wired.store.outage is None


async def test_a_real_deadlock_is_survived(wired: Wired):
    parent = await owned_instance(wired.store, "parent")
    pk = await wired.store.create(new_instance("child", owned=True, parent=parent))
    other = await asyncpg.connect(wired.url.split("?", maxsplit=1)[0])
    lock = f"select from {wired.schema}.instance where pk = $1 for update"
    async with other.transaction():
        await other.execute("set local deadlock_timeout = '1min'")  # it is ours that is found to be in the way
        await other.execute(lock.replace("$1", str(parent)))
        ending = asyncio.ensure_future(wired.store.terminate(WORKFLOW, "child", now=5))
        await asyncio.sleep(0.3)
        await other.execute(lock.replace("$1", str(pk)))
    await other.close()
    async with asyncio.timeout(10):
        assert (await ending).after == "terminated"


# Servers that refuse, and servers that hang


async def test_when_there_is_no_connection_left_writes_wait_and_say_so():
    server = PostgresServer(max_connections=8, superuser_reserved_connections=0)
    server.start()
    try:
        store = PostgresStore(server.url)
        await store.open()
        taken: list[asyncpg.Connection] = []
        with contextlib.suppress(asyncpg.TooManyConnectionsError):
            while len(taken) < 20:
                taken.append(await asyncpg.connect(server.url))
        creating = store.create(new_instance("one", owned=True))  # its writer has no connection yet
        async with asyncio.timeout(5):
            while store.outage is None:
                await asyncio.sleep(0.01)
        assert "too many" in store.outage
        assert not creating.done()
        await taken.pop().close()
        await taken.pop().close()
        async with asyncio.timeout(5):
            pk = await creating
        await store.write(Change(pk, [do()]))
        assert store.outage is None
        for one in taken:
            await one.close()
        await store.close()
    finally:
        server.remove()


async def test_a_network_that_hangs_is_given_up_and_what_it_held_changes_nothing(
    wired: Wired, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(postgres_connection, "STATEMENT_TIMEOUT_SECONDS", 0.7)
    monkeypatch.setattr(postgres_connection, "CONNECT_SECONDS", 0.7)
    pk = await owned_instance(wired.store)
    await wired.store.write(Change(pk, [do(1)]))
    wired.proxy.hold()
    writing = wired.store.write(Change(pk, [do(2)]))
    await asyncio.sleep(2)
    assert wired.store.outage is not None
    assert not writing.done()
    wired.proxy.heal()
    async with asyncio.timeout(10):
        await writing
        await wired.store.write(Change(pk, [do(3)]))
    assert wired.store.outage is None
    assert [row[0] for row in await wired.sql("select seq from everstep.step order by position")] == [1, 2, 3]


async def test_a_backend_that_stands_still_holds_up_its_own_instances_only(
    wired: Wired, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(postgres_connection, "STATEMENT_TIMEOUT_SECONDS", 0.7)
    one, other = await owned_instance(wired.store, "one"), await owned_instance(wired.store, "other")
    await wired.store.write(Change(one, [do(1)]))
    [(backend,)] = await wired.sql(
        "select pid from pg_stat_activity where query like '%everstep.writer%' and state = 'idle' "
        "and pid <> pg_backend_pid() order by state_change desc limit 1"
    )
    os.kill(backend, signal.SIGSTOP)
    try:
        writing = wired.store.write(Change(one, [do(2)]))
        await asyncio.sleep(0.1)
        async with asyncio.timeout(3):
            await wired.store.write(Change(other, [do(1)]))
        await asyncio.sleep(1)
    finally:
        os.kill(backend, signal.SIGCONT)
    async with asyncio.timeout(10):
        await writing
    assert [step.seq for step in await wired.store.steps(one)] == [1, 2]
