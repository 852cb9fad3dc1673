"""A database that refuses every transaction as a conflict, and one that is frozen when the engine is to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from everstep import Everstep, WorkflowEntrypoint
from everstep.core.errors import StoreError
from everstep.store.postgres.connection import StoreConflictError
from postgres_server import PostgresServer

from .conftest import Fleet
from .pair import signal_all


class Approval(WorkflowEntrypoint[Any, Any]):
    async def run(self, event: Any, step: Any) -> Any:
        return (await step.wait_for_event("first", type="go", timeout="1 hour")).payload


async def refuse_events(url: str) -> asyncpg.Connection:
    """Have the server answer every insertion of an event with a serialization failure, and count them."""
    admin = await asyncpg.connect(url)
    await admin.execute(
        "create sequence public.refusals; "
        "create function public.refuse() returns trigger language plpgsql as $$ begin "
        "perform nextval('public.refusals'); raise exception 'try again' using errcode = '40001'; end $$; "
        "create trigger refuse before insert on everstep.event for each row execute function public.refuse()"
    )
    return admin


async def test_a_conflict_that_does_not_end_is_told_to_whom_it_concerns_and_to_nobody_else(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("everstep.store.postgres.write_pipeline.OUTAGE_TIMEOUT_SECONDS", 1.0)
    async with Everstep([Approval], database=server.url) as es:
        instance = await es.workflow(Approval).create(id="a")
        admin = await refuse_events(server.url)
        try:
            async with asyncio.timeout(15):
                sending = asyncio.ensure_future(instance.send_event(type="go", payload=1))
                others = 0
                while not sending.done():
                    await es.workflow(Approval).create()
                    others += 1
                    await asyncio.sleep(0.02)
                with pytest.raises(StoreConflictError, match="try again"):
                    await sending
            assert others > 5
            refusals = await admin.fetchval("select last_value from public.refusals")
            assert 3 <= refusals <= 12  # with pauses in between
            told = [record for record in caplog.records if "in favour of another one" in record.getMessage()]
            assert len(told) == 1
            await admin.execute("drop trigger refuse on everstep.event")
            await instance.send_event(type="go", payload=2)
            assert await instance.result("10 seconds") == 2
        finally:
            await admin.close()


async def test_an_engine_stops_in_time_while_the_database_is_frozen(server: PostgresServer):
    es = Everstep([Approval], database=server.url)
    await es.__aenter__()
    await es.workflow(Approval).create(id="a")
    await asyncio.sleep(0.2)
    pids = [server.pid, *server.backends()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        creating = asyncio.ensure_future(es.workflow(Approval).create(id="b"))
        await asyncio.sleep(0.1)
        await es.__aexit__(None, None, None)
        assert time.monotonic() - began < 15
        with pytest.raises(StoreError):
            await creating
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    async with Everstep([Approval], database=server.url, lease="2 seconds") as again:
        instance = await again.workflow(Approval).get("a")
        await instance.send_event(type="go", payload=3)
        assert await instance.result("30 seconds") == 3


async def test_a_worker_ends_at_sigterm_while_the_database_is_frozen(server: PostgresServer, tmp_path: Path):
    fleet = Fleet(server.url, tmp_path / "notes")
    process = await fleet.worker(lease="15 seconds")
    try:
        async with fleet.client() as es:
            await es.workflow("chain").create(id="c", params={"steps": 1000, "seconds": 0.01})
            await fleet.noted(5)
        signal_all(server, signal.SIGSTOP)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            assert await process.wait() == 0
    finally:
        signal_all(server, signal.SIGCONT)
        await fleet.end()
