"""What workers ask when nothing happens, and how they hear of each other when no notification arrives."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from everstep import Everstep, WorkflowEntrypoint
from everstep.engine.runtime.options import EngineOptions
from everstep.store.postgres.connection import ReconnectingConnection
from everstep.store.postgres.store import PostgresStore
from postgres_server import PostgresServer


class Napping(WorkflowEntrypoint[Any, Any]):
    async def run(self, event: Any, step: Any) -> Any:
        await step.sleep("nap", "1 day")


class Waiting(WorkflowEntrypoint[Any, Any]):
    async def run(self, event: Any, step: Any) -> Any:
        got = await step.wait_for_event("news", "news")
        return got.payload


async def test_a_worker_with_nothing_to_do_asks_a_hundred_times_a_minute_at_most_however_many_sleep(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []
    fetch, script = ReconnectingConnection.fetch, ReconnectingConnection.execute

    async def counted_fetch(self: ReconnectingConnection, sql: str, *arguments: Any) -> Any:
        asked.append(sql)
        return await fetch(self, sql, *arguments)

    async def counted_script(self: ReconnectingConnection, sql: str) -> Any:
        asked.append(sql)
        return await script(self, sql)

    monkeypatch.setattr(ReconnectingConnection, "fetch", counted_fetch)
    monkeypatch.setattr(ReconnectingConnection, "execute", counted_script)
    options = EngineOptions(max_cached=50)
    async with Everstep([Napping], database=postgres_server.empty_schema(), options=options) as es:
        await asyncio.gather(*(es.workflow(Napping).create() for _ in range(300)))
        await asyncio.sleep(1)
        asked.clear()
        await asyncio.sleep(6)
        assert 4 <= len(asked) <= 10


class Two(WorkflowEntrypoint[Any, Any]):
    async def run(self, event: Any, step: Any) -> Any:
        return [(await step.wait_for_event(name, "news")).payload for name in ("first", "second")]


async def test_events_are_taken_in_their_order_though_news_of_the_first_is_late(postgres_server: PostgresServer):
    url = postgres_server.empty_schema()
    deaf = PostgresStore(url)
    deaf._listen_connection = None
    async with (
        Everstep([Two], database=url, store=deaf) as owner,
        Everstep([Two], database=url, options=EngineOptions(max_running=0)) as other,
    ):
        instance = await owner.workflow(Two).create(id="one")
        while (await instance.status()).status != "waiting":
            await asyncio.sleep(0.02)
        await (await other.workflow(Two).get("one")).send_event(type="news", payload=1)
        await instance.send_event(type="news", payload=2)
        assert await instance.result("10 seconds") == [1, 2]


async def test_news_arrive_within_a_beat_when_every_notification_is_lost(postgres_server: PostgresServer):
    url = postgres_server.empty_schema()
    deaf = [PostgresStore(url), PostgresStore(url)]
    for store in deaf:
        store._listen_connection = None
    nothing = EngineOptions(max_running=0)
    async with (
        Everstep([Waiting], database=url, store=deaf[0]) as one,
        Everstep([Waiting], database=url, store=deaf[1], options=nothing) as other,
    ):
        instance = await other.workflow(Waiting).create()
        while (await instance.status()).status != "waiting":
            await asyncio.sleep(0.02)
        began = time.perf_counter()
        await instance.send_event(type="news", payload=5)
        assert await instance.result("10 seconds") == 5
        assert time.perf_counter() - began < 4
        assert one is not other
