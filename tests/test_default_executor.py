"""The loop's default executor is the application's: however it hangs, the engine and its database go on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from everstep import Everstep, WorkflowEntrypoint
from everstep.server.http_api.cloudflare_v4 import routes
from everstep.server.inspector.routes import inspector_routes
from postgres_server import PostgresServer

PATIENCE = 10.0
API = "/client/v4/accounts/local/workflows"


class Shop(WorkflowEntrypoint):
    async def run(self, event, step):
        return await step.do("charge", charge) + await step.do("ship", ship)


def charge() -> int:
    return 20


async def ship() -> int:
    return 22


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    opened = threading.Event()
    yield opened
    opened.set()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.empty_schema().replace("127.0.0.1", "localhost")  # a name, which has to be looked up


async def used(database: str) -> None:
    """Have an engine do everything that it does in threads."""
    async with asyncio.timeout(PATIENCE), Everstep([Shop], database=database) as es:
        instance = await es.workflow(Shop).create(id="one")
        assert await instance.result() == 42
        assert len((await instance.status(steps=True)).steps) == 2
        await es.control.metrics()
        app = Starlette(routes=[*inspector_routes(es.control), *routes(es.control)])
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
            for url in ("/__workflows", "/__workflows/shop/one", f"{API}/shop/instances/one"):
                assert (await http.get(url)).status_code == 200


async def test_an_engine_goes_on_while_the_applications_threads_hang(database: str, gate: threading.Event):
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    hangs = loop.run_in_executor(None, gate.wait, PATIENCE * 2)
    await used(database)
    gate.set()
    await hangs


async def test_an_engine_leaves_the_default_executor_alone(database: str):
    await used(database)
    assert asyncio.get_running_loop()._default_executor is None
