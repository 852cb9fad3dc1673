"""A primary, its synchronous standby, and what happens when one takes the other's place."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from everstep.core.journal import StepRecord
from everstep.store.postgres.store import PostgresStore
from everstep.store.protocol import Change
from proxies import Proxy
from store.factories import do, new_instance, owned_instance

from .pair import Pair, signal_all

pytestmark = pytest.mark.crash


async def test_everything_acknowledged_is_on_the_standby_that_takes_over(pair: Pair):
    store = PostgresStore(pair.url())
    await store.open()
    pk = await owned_instance(store)
    written: list[int] = []

    async def write() -> None:
        for seq in range(1, 100_000):
            await store.write(Change(pk, [do(seq)]))
            written.append(seq)

    writing = asyncio.ensure_future(write())
    await asyncio.sleep(0.3)
    await asyncio.to_thread(pair.fail_over)
    before = len(written)
    async with asyncio.timeout(10):
        while len(written) < before + 10:
            await asyncio.sleep(0.01)
    writing.cancel()
    seqs = [step.seq for step in await store.steps(pk)]
    assert seqs[: len(written)] == written
    await store.close()


async def test_what_the_standby_has_not_got_is_not_acknowledged_though_its_receipt_is_on_the_primary(pair: Pair):
    store = PostgresStore(pair.url())
    await store.open()
    pk = await owned_instance(store)
    signal_all(pair.standby, signal.SIGSTOP)
    writing = store.write(Change(pk, [do()]))
    await asyncio.sleep(0.5)
    # The wait for the standby is broken off: the transaction is committed on the primary, and there only.
    broken_off = "select count(pg_terminate_backend(pid)) from pg_stat_activity where wait_event = 'SyncRep'"
    assert int(await asyncio.to_thread(pair.primary.execute, broken_off)) >= 1
    await asyncio.sleep(0.5)
    assert await asyncio.to_thread(pair.primary.execute, "select count(*) from everstep.step") == "1"
    assert not writing.done()
    pair.primary.kill()
    signal_all(pair.standby, signal.SIGCONT)
    await asyncio.to_thread(pair.standby.promote)
    async with asyncio.timeout(20):
        await writing
    assert [step.seq for step in await store.steps(pk)] == [1]
    await store.close()


async def test_the_promoted_standby_is_found_past_a_primary_that_neither_answers_nor_refuses(pair: Pair):
    proxy = Proxy(pair.primary.port)
    store = PostgresStore(pair.url(primary=proxy.port))
    try:
        await store.open()
        await asyncio.to_thread(pair.fail_over)
        proxy.hold()
        began = time.monotonic()
        async with asyncio.timeout(15):
            await store.create(new_instance("two"))
        assert time.monotonic() - began < 12
        await store.close()
    finally:
        proxy.close()


async def test_while_no_host_takes_writes_what_was_asked_for_waits(pair: Pair):
    store = PostgresStore(pair.url())
    await store.open()
    pk = await owned_instance(store)
    pair.primary.kill()
    writing = store.write(Change(pk, [do()]))
    await asyncio.sleep(1)
    assert not writing.done()
    assert store.outage is not None
    await asyncio.to_thread(pair.standby.promote)
    async with asyncio.timeout(10):
        await writing
    steps: list[StepRecord] = await store.steps(pk)
    assert [step.seq for step in steps] == [1]
    await store.close()
