"""Workers behind PgBouncer in transaction mode, with fewer connections to the server than they have to it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from everstep.core.errors import StoreError, StoreUnavailableError
from everstep.store.postgres.store import PostgresStore
from pgbouncer import Bouncer
from postgres_server import PostgresServer

pytestmark = pytest.mark.crash

CHAIN = {"steps": 10, "seconds": 0.02}


@pytest.fixture
def bouncer(postgres_server: PostgresServer) -> Iterator[Bouncer]:
    bouncer = Bouncer(postgres_server)
    bouncer.start()
    yield bouncer
    bouncer.remove()


async def test_workers_behind_a_pooler_do_everything_once(fleet, bouncer: Bouncer):
    fleet.database = bouncer.through(fleet.database)
    async with fleet.client() as client:
        for _ in range(2):
            await fleet.worker(running=20)
        approval = await client.workflow("approval").create(id="a")
        for payload in (1, 2):
            await approval.send_event(type="go", payload=payload)
        assert await approval.result("20 seconds") == [1, 2]
        pids: set[int] = set()
        batches = 0
        while pids != {worker.pid for worker in fleet.processes}:  # on a busy machine one may take a whole batch
            created = await client.workflow("chain").create_batch(
                [{"id": f"c{batches}-{number}", "params": CHAIN} for number in range(40)]
            )
            assert not created.errors
            pids |= set(await asyncio.gather(*(one.result("30 seconds") for one in created.created)))
            batches += 1
    calls = Counter(what for _, _, what in fleet.notes)
    assert set(calls.values()) == {1}
    assert len(calls) == 400 * batches


async def test_a_worker_that_dies_behind_a_pooler_is_followed_by_another(fleet, bouncer: Bouncer):
    fleet.database = bouncer.through(fleet.database)
    async with fleet.client() as client:
        first = await fleet.worker()
        chains = [await client.workflow("chain").create(id=f"c{n}", params={**CHAIN, "steps": 40}) for n in range(5)]
        await fleet.noted(20)
        second = await fleet.worker()
        first.kill()
        assert set(await asyncio.gather(*(one.result("30 seconds") for one in chains))) == {second.pid}
    assert len({what for _, _, what in fleet.notes}) == 200


async def test_a_pooler_that_is_killed_and_started_again_loses_nothing(fleet, bouncer: Bouncer):
    fleet.database = bouncer.through(fleet.database)
    async with fleet.client() as client:
        await fleet.worker(lease="15 seconds")
        chains = [await client.workflow("chain").create(id=f"c{n}", params={**CHAIN, "steps": 30}) for n in range(10)]
        await fleet.noted(50)
        await asyncio.to_thread(bouncer.stop)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(bouncer.start)
        async with asyncio.timeout(30):
            for chain in chains:
                while True:
                    try:
                        await chain.result("20 seconds")
                        break
                    except StoreError:
                        await asyncio.sleep(0.1)
    assert set(Counter(what for _, _, what in fleet.notes).values()) == {1}


async def test_the_url_past_the_pooler_is_known_to_be_the_same_database(
    postgres_server: PostgresServer, bouncer: Bouncer
):
    url = postgres_server.empty_schema()
    store = PostgresStore(bouncer.through(url), direct=url)
    await store.open()
    assert await store.listen(bool) is True
    await store.close()


@pytest.mark.parametrize(("option", "named"), [("", "jit"), ("&statement_cache_size=0&bogus=1", "bogus")])
async def test_a_pooler_that_refuses_a_parameter_is_said_to(
    postgres_server: PostgresServer, bouncer: Bouncer, option: str, named: str
):
    past = bouncer.through(postgres_server.empty_schema()).replace("&statement_cache_size=0", option)
    needed = rf"startup parameter: {named}; in transaction mode it needs \?statement_cache_size=0"
    with pytest.raises(StoreError, match=needed) as refusal:
        await PostgresStore(past).open()
    assert not isinstance(refusal.value, StoreUnavailableError)
