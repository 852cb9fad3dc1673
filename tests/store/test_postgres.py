"""What only a shared store does: the fence, adoption, notes between workers, notifications, migrations."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from everstep.core.errors import (
    InstanceLostError,
    LeaseLostError,
    SchemaVersionError,
    StoreError,
    StoreUnavailableError,
)
from everstep.store.admin.open import open_store
from everstep.store.postgres.batch import InstanceInsert
from everstep.store.postgres.connection import DatabaseUrl
from everstep.store.postgres.operations import Operations
from everstep.store.postgres.statements import load_scripts, load_statements
from everstep.store.postgres.store import PostgresStore
from everstep.store.protocol import Change, InstanceChange
from postgres_server import PostgresServer

from .factories import WORKFLOW, child, claimed_ids, do, ended, instance, new_instance, owned_instance, wait, waiting

Open = Callable[..., Awaitable[PostgresStore]]


@pytest.fixture
async def opened(postgres_server: PostgresServer) -> AsyncIterator[Open]:
    """Open stores on one database, each a worker."""
    url = postgres_server.empty_schema()
    stores: list[PostgresStore] = []

    async def open_one(**options: Any) -> PostgresStore:
        store = PostgresStore(url, **options)
        await store.open()
        stores.append(store)
        return store

    yield open_one
    for store in stores:
        await store.close()


async def sql(store: PostgresStore, statement: str, *arguments: Any) -> list[Any]:
    return await store._control_connection.fetch(statement.replace("everstep.", f"{store._url.schema}."), *arguments)


async def silence(store: PostgresStore) -> int:
    """Let a worker's lease lapse; return its id."""
    await sql(store, "update everstep.worker set lease_until = '-infinity' where id = $1", store._identity.worker)
    return store._identity.worker


async def test_what_the_database_refuses_fails_alone(opened: Open):
    store = await opened()
    pk = await store.create(new_instance("owner", owned=True))
    news = [new_instance(f"new{number}", success_retention_ms=2**70 if number == 5 else 1) for number in range(9)]
    news[7] = new_instance("new7", tags=("a\x00b",))
    asked = [store.create(new) for new in news] + [store.write(Change(pk, [do(1)]), awaited=True)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [number for number, answer in enumerate(answers) if isinstance(answer, Exception)] == [5, 7]
    assert [step.seq for step in await store.steps(pk)] == [1]
    found = [await store.find(WORKFLOW, new.id) for new in news]
    assert [number for number, one in enumerate(found) if one is None] == [5, 7]


async def test_a_creation_tried_again_says_so_where_others_have_the_instance_by_now(opened: Open):
    one, other = await opened(), await opened()
    birth, unowned = InstanceInsert(new_instance("x", owned=True)), InstanceInsert(new_instance("y"))
    first = [await one._enqueue(each, ((WORKFLOW, each.new.id), InstanceInsert)) for each in (birth, unowned)]
    assert [await one._enqueue(each, ((WORKFLOW, each.new.id), InstanceInsert)) for each in (birth, unowned)] == first
    await sql(one, "update everstep.instance set owner = $1", other._identity.worker)
    with pytest.raises(InstanceLostError) as lost:
        await one._enqueue(birth, ((WORKFLOW, "x"), InstanceInsert))
    assert lost.value.pk == first[0]
    assert await one._enqueue(unowned, ((WORKFLOW, "y"), InstanceInsert)) == first[1]


# Which rows are looked at


@pytest.mark.parametrize("query", ["due_instances", "due_resumed_first", "peek"])
async def test_what_is_due_is_found_by_its_own_index_before_the_planner_knows_any_sizes(opened: Open, query: str):
    store = await opened()
    columns = 'workflow, id, nonce, status, due_at, created_at, "trigger"'
    for numbers, state in (("1, 2000", "'waiting', 1000000"), ("2001, 20000", "'complete', null")):
        rows = f"select '{WORKFLOW}', 'i' || g, 0, {state}, 1, 'api' from generate_series({numbers}) as g"
        await sql(store, f"insert into everstep.instance ({columns}) {rows}")
    arguments: tuple[Any, ...] = ([WORKFLOW],) if query == "peek" else (5000, [WORKFLOW], 500, 1)
    plan = await store._control_connection.fetch(f"explain {load_statements(store._url.schema)[query]}", *arguments)
    text = "\n".join(line for (line,) in plan)
    assert "instance_due" in text, text
    assert not [index for index in ("Seq Scan on instance", "instance_workflow", "instance_listed") if index in text], (
        text
    )


# The fence


async def test_a_worker_whose_lease_was_taken_over_writes_nothing_and_begins_anew(opened: Open):
    one, other = await opened(), await opened()
    lost: list[int] = []

    async def told() -> None:
        lost.append(1)

    one.on_lost_lease(told)
    pk = await owned_instance(one)
    was = await silence(one)
    assert await other.take_over([was], now=50) == 1
    with pytest.raises(LeaseLostError):
        await one.write(Change(pk, [do()]))
    assert await other.steps(pk) == []
    assert lost == [1]
    assert one._identity.worker > was
    assert await claimed_ids(other, now=60) == ["one"]
    await one.create(new_instance("two", owned=True))  # it works again


async def test_adoption_waits_for_what_is_on_its_way_and_lets_nothing_through_afterwards(opened: Open):
    one, other = await opened(), await opened()
    pk = await owned_instance(one)
    was = await silence(one)
    writes = [one.write(Change(pk, [do(seq)])) for seq in range(1, 200)]
    adopted = asyncio.ensure_future(other.take_over([was], now=50))
    answers = await asyncio.gather(*writes, return_exceptions=True)
    await adopted
    written = [seq for seq, answer in enumerate(answers, 1) if answer is None]
    assert [step.seq for step in await other.steps(pk)] == written


async def test_a_worker_that_lost_its_lease_begins_anew_once_and_as_soon_as_the_database_lets_it(
    opened: Open, monkeypatch: pytest.MonkeyPatch
):
    one, other = await opened(), await opened()
    pks = [await owned_instance(one, f"i{number}") for number in range(3)]
    await asyncio.gather(*(one.write(Change(pk, [do()])) for pk in pks))
    register, tried = one._register, 0

    async def register_in_trouble() -> None:
        nonlocal tried
        tried += 1
        if tried == 1:
            raise StoreUnavailableError("away")
        await register()

    monkeypatch.setattr(one, "_register", register_in_trouble)
    was = await silence(one)
    assert await other.take_over([was], now=50) == 3
    asked = [one.create(new_instance("new", owned=True)), one.claim([WORKFLOW], now=60, limit=10)]
    async with asyncio.timeout(5):
        lost = [one.write(Change(pk, [do(2)])) for pk in pks]
        answers = await asyncio.gather(*lost, return_exceptions=True)
        await asyncio.gather(*asked)
    assert {type(answer) for answer in answers} <= {LeaseLostError, InstanceLostError}
    assert tried == 2
    await one.create(new_instance("another", owned=True))
    assert tried == 2


async def test_a_verb_whose_outcome_is_unknown_is_not_done_again_by_the_next_life(
    opened: Open, monkeypatch: pytest.MonkeyPatch
):
    one, other = await opened(), await opened()
    await owned_instance(one)
    insert, sent = Operations.send_event, 0

    async def sent_and_lost(self: Operations, *arguments: Any, **named: Any) -> Any:
        nonlocal sent
        sent += 1
        done = await insert(self, *arguments, **named)
        await self._connection.execute("commit")
        await other.take_over([await silence(one)], now=50)
        self._connection.abort()
        raise StoreUnavailableError(f"nobody knows of {done.event.id}")

    monkeypatch.setattr(Operations, "send_event", sent_and_lost)
    with pytest.raises(StoreUnavailableError, match="nobody knows"):
        await one.send_event(WORKFLOW, "one", type="go", payload=None, now=5)
    assert sent == 1


@pytest.mark.parametrize("verb", ["terminate", "restart", "delete", "begin_rollback"])
async def test_what_another_worker_moved_is_not_written_over_and_its_owner_is_told(opened: Open, verb: str):
    one, other = await opened(), await opened()
    pk = await owned_instance(one)
    more: dict[str, Any] = {"restart": {"version": None}, "begin_rollback": {"error": "{}"}}.get(verb, {})
    await getattr(other, verb)(WORKFLOW, "one", now=9, **more)
    steps = await other.steps(pk)
    with pytest.raises(InstanceLostError) as lost:
        await one.write(Change(pk, [do(5)], instance=ended()))
    assert lost.value.pk == pk
    assert await other.steps(pk) == steps
    news = await one.heartbeat([WORKFLOW], [])
    assert news.changed == [pk]
    assert (await one.heartbeat([WORKFLOW], [])).changed == [pk]  # until it is said that it was followed
    assert (await one.heartbeat([WORKFLOW], [], news.change_ids)).changed == []
    assert (await one.heartbeat([WORKFLOW], [])).changed == []


async def test_a_pause_asked_for_elsewhere_leaves_the_instance_its_owners_until_it_comes_about(opened: Open):
    one, other = await opened(), await opened()
    pk = await owned_instance(one)
    assert (await other.pause(WORKFLOW, "one", now=5)).after == "waitingForPause"
    assert (await one.heartbeat([WORKFLOW], [])).changed == [pk]
    await one.write(Change(pk, [do()], instance=InstanceChange("paused")))
    assert (await instance(other)).status == "paused"


async def test_what_is_withdrawn_of_an_instance_includes_the_children_it_is_beginning(opened: Open):
    one = await opened()
    pk = await owned_instance(one, "parent")
    creating = one.create(new_instance("child", parent=pk))
    one.discard_queued(pk)
    with pytest.raises(asyncio.CancelledError):
        await creating
    assert await one.find(WORKFLOW, "child") is None


async def test_a_child_is_created_by_the_worker_that_has_its_parent_only(opened: Open):
    one, other = await opened(), await opened()
    pk = await owned_instance(one, "parent")
    with pytest.raises(InstanceLostError) as lost:
        await other.create(new_instance("child", parent=pk))
    assert lost.value.pk == pk
    assert await one.find(WORKFLOW, "child") is None


# Races between workers


async def test_an_event_sent_while_its_instance_parks_wakes_it(opened: Open):
    one, other = await opened(), await opened()
    pks = [await owned_instance(one, f"i{number}") for number in range(60)]
    for number, pk in enumerate(pks):
        parked = one.write(Change(pk, [wait(type="go")], instance=waiting(10**12)))
        await asyncio.sleep(0.000_1 * (number % 20))
        await asyncio.gather(parked, other.send_event(WORKFLOW, f"i{number}", type="go", payload=None, now=5))
    due = [(await instance(other, f"i{number}")).due_at for number in range(60)]
    assert [at for at in due if at is None or at > 5] == []


async def test_a_child_that_ends_while_its_parent_parks_wakes_it(opened: Open):
    one, other = await opened(), await opened()
    for number in range(40):
        parent = await owned_instance(one, f"p{number}")
        pk = await one.create(new_instance(f"c{number}", parent=parent))
        assert f"c{number}" in await claimed_ids(other, now=100)
        parked = one.write(Change(parent, [child(id=f"c{number}")], instance=waiting(None)))
        await asyncio.sleep(0.000_1 * (number % 20))
        await asyncio.gather(parked, other.write(Change(pk, instance=ended(parent=parent))))
        assert (await instance(other, f"p{number}")).due_at == 0


async def test_no_instance_is_claimed_by_two(opened: Open):
    stores = [await opened() for _ in range(3)]
    for number in range(100):
        await stores[0].create(new_instance(f"i{number}"))
    claims = await asyncio.gather(*(claimed_ids(store, now=10**6, limit=10) for store in stores for _ in range(10)))
    claimed = [id for claim in claims for id in claim]
    assert sorted(claimed) == sorted(f"i{number}" for number in range(100))


async def test_positions_rise_whoever_writes(opened: Open):
    stores = [await opened() for _ in range(2)]
    pk = await stores[0].create(new_instance())
    seen = 0
    for turn in range(6):
        store = stores[turn % 2]
        assert await claimed_ids(store, now=10**6) == ["one"]
        await store.write(Change(pk, [do(turn + 1)]))
        await store.release(now=10**6)
        positions = [one.position for one in await store.history(pk, after=seen)]
        assert len(positions) == 3
        assert positions == sorted(set(positions))
        seen = positions[-1]


# Adoption and leaving


async def test_one_of_the_living_adopts_and_another_joins_if_it_does_not_finish(opened: Open):
    one, adopter, other = await opened(), await opened(), await opened()
    await owned_instance(one)
    was = await silence(one)
    expel = adopter._queries["fence_workers"]
    assert [row["id"] for row in await adopter._control_connection.fetch(expel, [was], 8, 300)] == [was]
    # Here the adopter dies. For a moment nobody else sees that there is anything to do.
    assert (await other.heartbeat([WORKFLOW], [])).expired_workers == []
    assert await other.take_over([was], now=50) == 0
    async with asyncio.timeout(5):
        while (await other.heartbeat([WORKFLOW], [])).expired_workers != [was]:
            await asyncio.sleep(0.02)
    assert await other.take_over([was], now=50) == 1


async def test_a_hundred_thousand_instances_of_a_dead_worker_are_adopted_within_two_seconds(opened: Open):
    one, other = await opened(), await opened()
    await sql(
        one,
        'insert into everstep.instance (workflow, id, nonce, status, owner, created_at, "trigger") '
        "select 'orders', 'i' || n, n, 'running', $1, 0, 'binding' from generate_series(1, 100000) as n",
        one._identity.worker,
    )
    await sql(
        one,
        "insert into everstep.step (instance, seq, kind, name, count, state, attempt, started_at, is_absolute, "
        "compensable, sensitive) "
        "select pk, 1, 'do', 's', 1, 'complete', 1, 0, false, false, false from everstep.instance",
    )
    await sql(one, "analyze everstep.instance")
    was = await silence(one)
    began = time.perf_counter()
    first = await other._run_operation(None, "take_over", [was], now=50)
    first_took = time.perf_counter() - began
    assert first + await other.take_over([was], now=50) == 100_000
    took = time.perf_counter() - began
    print(f"adopted the first {first} in {first_took:.2f} s, 100,000 in {took:.2f} s")
    assert first_took < 2
    assert took < 20  # two seconds on a machine that does nothing else


async def test_whoever_leaves_cleanly_leaves_no_trace(opened: Open):
    one, other = await opened(), await opened()
    await owned_instance(one)
    was = one._identity.worker
    await one.release(now=5)
    await one.close()
    assert await claimed_ids(other, now=5) == ["one"]
    for table in ("worker where id", "writer where worker", "invalidation where worker"):
        assert await sql(other, f"select from everstep.{table} = $1", was) == []


# News


async def test_a_notification_arrives_within_fifty_milliseconds(opened: Open):
    one, other = await opened(), await opened()
    heard = asyncio.Event()
    assert await one.listen(heard.set)
    took = []
    for number in range(20):
        await owned_instance(one, f"i{number}")
        began = time.perf_counter()
        await other.send_event(WORKFLOW, f"i{number}", type="go", payload=None, now=5)
        async with asyncio.timeout(5):
            await heard.wait()
        took.append(time.perf_counter() - began)
        heard.clear()
    assert statistics.median(took) < 0.05


async def test_a_beat_renews_the_lease_and_brings_the_databases_time(opened: Open):
    store = await opened(lease_ms=2_000)
    await sql(store, "update everstep.worker set lease_until = clock_timestamp() + interval '1 second'")
    news = await store.heartbeat([WORKFLOW], [])
    [(left,)] = await sql(
        store, "select extract(epoch from lease_until - clock_timestamp())::float8 from everstep.worker"
    )
    assert 1.5 < left <= 2
    assert abs(news.now - time.time() * 1000) < 1_000


async def test_a_beat_tells_who_lapsed_what_is_due_and_what_ended(opened: Open):
    one, other = await opened(), await opened()
    pk = await owned_instance(one)
    await other.create(new_instance("two", at=77))
    assert (await other.heartbeat([WORKFLOW], [pk])).ended == []
    await one.write(Change(pk, instance=ended()))
    was = await silence(one)
    news = await other.heartbeat([WORKFLOW], [pk, 999])
    assert (news.next_due, news.expired_workers, sorted(news.ended)) == (77, [was], [pk, 999])


# The schema, and where the database is


_LATEST = len(load_scripts("everstep"))


async def test_a_schema_newer_than_the_code_is_refused(opened: Open):
    store = await opened()
    await sql(store, "update everstep.schema_version set version = 99")
    with pytest.raises(SchemaVersionError, match=rf"version 99, newer than the {_LATEST} "):
        await opened()


async def test_workers_that_start_at_once_migrate_once(postgres_server: PostgresServer):
    url = postgres_server.empty_schema()
    stores = [PostgresStore(url) for _ in range(6)]
    await asyncio.gather(*(store.open() for store in stores))
    assert await sql(stores[0], "select version from everstep.schema_version") == [(_LATEST,)]
    await asyncio.gather(*(store.close() for store in stores))


async def test_behind_a_pooler_nothing_is_prepared_and_everything_works(postgres_server: PostgresServer):
    store = PostgresStore(postgres_server.empty_schema() + "&statement_cache_size=0")
    await store.open()
    pk = await owned_instance(store)
    await store.write(Change(pk, [do()]))
    assert [step.seq for step in await store.steps(pk)] == [1]
    assert await store.listen(bool) is False
    await store.close()


async def test_a_url_for_notifications_that_leads_past_the_pooler_is_heard(postgres_server: PostgresServer):
    url = postgres_server.empty_schema()
    store = PostgresStore(url + "&statement_cache_size=0", direct=postgres_server.url)
    await store.open()
    assert await store.listen(bool) is True
    await store.close()


@pytest.mark.parametrize(
    ("direct", "said"),
    [
        ("/elsewhere", "leads to another database than the database URL"),
        ("/none", 'cannot be used: database "none" does not exist'),
        ("/postgres?statement_cache_size=0", "leads to a pooler"),
    ],
)
async def test_a_url_for_notifications_that_leads_elsewhere_is_refused(
    postgres_server: PostgresServer, direct: str, said: str
):
    if direct == "/elsewhere":
        await asyncio.to_thread(postgres_server.execute, "create database elsewhere")
    url = postgres_server.empty_schema()
    with pytest.raises(StoreError, match=said):
        await PostgresStore(url, direct=postgres_server.url.replace("/postgres", direct)).open()


@pytest.mark.parametrize("database", ["sqlite:///:memory:", "postgresql://h/d"])
def test_a_url_for_notifications_is_that_of_a_postgresql_database(database: str):
    with pytest.raises(StoreError, match="not that of a PostgreSQL database"):
        open_store(database, direct="sqlite:///state.db")


def test_a_direct_url_beside_a_sqlite_database_is_refused():
    with pytest.raises(
        StoreError, match=r"database_direct\) is for a PostgreSQL database, and the database is SQLite's"
    ):
        open_store("sqlite:///state.db", direct="postgresql://localhost/state")


def test_a_url_says_where_the_tables_are():
    address = DatabaseUrl.parse("postgresql://a@h/d?schema=mine&statement_cache_size=0&sslmode=require")
    assert (address.dsn, address.schema, address.pooled) == ("postgresql://a@h/d?sslmode=require", "mine", True)


def test_each_host_of_a_url_has_one_of_its_own_and_takes_writes_unless_it_says_otherwise():
    address = DatabaseUrl.parse("postgresql://a:b@h:1,i:2/d?schema=mine")
    assert address.hosts == tuple(
        f"postgresql://a:b@{host}/d?target_session_attrs=read-write" for host in ("h:1", "i:2")
    )
    any_host = DatabaseUrl.parse("postgresql://h,i/d?target_session_attrs=any")
    assert any_host.hosts == ("postgresql://h/d?target_session_attrs=any", "postgresql://i/d?target_session_attrs=any")


@pytest.mark.parametrize("schema", ["", "a;b", "A", "a-b", "1a"])
def test_a_schema_has_a_plain_name(schema: str):
    with pytest.raises(StoreError, match="schema"):
        DatabaseUrl.parse(f"postgresql://h/d?schema={schema}")


@pytest.mark.parametrize("place", ["u:secret@127.0.0.1:port", "u:secret/x@h", "u@[::1", "u@h:1,i:port", "u@h:99999"])
def test_a_url_that_cannot_be_read_is_said_to_be_so_without_its_password(place: str):
    with pytest.raises(StoreError, match="host or a port that cannot be read; write postgresql://") as refusal:
        open_store(f"postgresql://{place}/d")
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("bogus=1", 'refuses a parameter: unrecognized configuration parameter "bogus"; change it in the database URL'),
        ("work_mem=much", "refuses a parameter: invalid value for parameter"),
        ("max_connections=3", "refuses a parameter"),
        ("sslmode=what", "the database URL is wrong: `sslmode`"),
    ],
)
async def test_a_parameter_that_is_wrong_is_a_mistake_and_no_trouble_that_passes(
    postgres_server: PostgresServer, option: str, said: str
):
    with pytest.raises(StoreError, match=said) as refusal:
        await PostgresStore(f"{postgres_server.url}?{option}").open()
    assert not isinstance(refusal.value, StoreUnavailableError)


async def test_a_role_that_may_not_connect_is_told_what_it_lacks(postgres_server: PostgresServer):
    for statement in ("create role stranger login", "create database closed"):
        await asyncio.to_thread(postgres_server.execute, statement)
    await asyncio.to_thread(postgres_server.execute, "revoke connect on database closed from public")
    url = postgres_server.url.replace("everstep@", "stranger@").replace("/postgres", "/closed")
    with pytest.raises(StoreError, match="let an administrator grant it") as refusal:
        await PostgresStore(url).open()
    assert not isinstance(refusal.value, StoreUnavailableError)


async def test_a_role_that_is_kept_out_for_a_while_goes_on_afterwards(postgres_server: PostgresServer):
    for statement in ("create role evicted login", "create database shut", "alter database shut owner to evicted"):
        await asyncio.to_thread(postgres_server.execute, statement)
    store = PostgresStore(postgres_server.url.replace("everstep@", "evicted@").replace("/postgres", "/shut"))
    await store.open()
    await asyncio.to_thread(postgres_server.execute, "revoke connect on database shut from public, evicted")
    store._control_connection.abort()
    with pytest.raises(StoreUnavailableError, match="refuses us: permission denied for database"):
        await store.heartbeat((), ())
    await asyncio.to_thread(postgres_server.execute, "grant connect on database shut to evicted")
    assert (await store.heartbeat((), ())).workers == 1
    await store.close()


async def test_a_database_that_is_not_there_is_said_so():
    with pytest.raises(StoreError, match="cannot be reached"):
        await open_store("postgresql://nobody@127.0.0.1:1/none").open()
