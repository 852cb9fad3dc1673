"""The health of a worker: who it is, how long its lease lasts, and what keeps the database from being written."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.applications import Starlette

from everstep import Everstep
from everstep.server.inspector.routes import inspector_routes
from postgres_server import PostgresServer

from .program import WORKFLOWS

pytestmark = pytest.mark.crash


async def test_a_worker_says_who_it_is_and_when_its_database_is_away(server: PostgresServer, caplog):
    caplog.set_level("INFO", "everstep.engine")
    async with Everstep(WORKFLOWS, database=server.url, lease="6 seconds") as es:
        transport = httpx.ASGITransport(Starlette(routes=inspector_routes(es.control)))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            answer = await http.get("/__workflows/-/health")
            assert answer.status_code == 200
            worker = answer.json()["worker"]
            assert worker | {"epoch": 1, "lease_ms": 6000, "writers": 3} == worker
            assert 0 < worker["lease_left_ms"] <= 4000
            assert f"worker {worker['id']}, with a lease of 6000 ms" in caplog.messages

            await asyncio.to_thread(server.stop)
            async with asyncio.timeout(10):
                while (answer := await http.get("/__workflows/-/health")).status_code == 200:
                    await asyncio.sleep(0.05)
            assert answer.status_code == 503
            assert "the database" in answer.json()["reason"]

            await asyncio.to_thread(server.start)
            async with asyncio.timeout(10):
                while (await http.get("/__workflows/-/health")).status_code == 503:
                    await asyncio.sleep(0.05)


async def test_a_worker_stops_while_its_database_is_away(server: PostgresServer):
    async with asyncio.timeout(20):
        async with Everstep(WORKFLOWS, database=server.url, lease="6 seconds"):
            await asyncio.to_thread(server.stop)
