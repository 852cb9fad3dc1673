"""Serves the program of `serving.py` by the control API and the inspector."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from serving import PROGRAM, Server
from starlette.applications import Starlette

from everstep import Everstep
from everstep.server.http_api.cloudflare_v4 import routes
from everstep.server.http_api.metrics import metrics_route
from everstep.server.inspector.routes import inspector_routes


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Everstep(PROGRAM, database="sqlite:///:memory:", version="v1") as es:
        app = Starlette(
            routes=[metrics_route(es.control), *inspector_routes(es.control), *routes(es.control, script="shop")]
        )
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8787") as http:
            yield Server(es, http)
