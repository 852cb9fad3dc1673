"""The engine's metrics over HTTP."""

from __future__ import annotations

import asyncio

import httpx
from serving import Server
from starlette.applications import Starlette

from everstep import Everstep, WorkflowEntrypoint
from everstep.core.errors import StoreUnavailableError
from everstep.engine.runtime.options import EngineOptions
from everstep.server.http_api.metrics import metrics_route


async def shown(http: httpx.AsyncClient) -> dict[str, str]:
    answer = await http.get("/__workflows/-/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return dict(line.split(" ") for line in answer.text.splitlines() if not line.startswith("#"))


async def test_every_limit_is_shown_with_how_full_it_is(server: Server):
    lines = await shown(server.http)
    assert lines["everstep_instances_running_max"] == "10000"
    assert lines["everstep_creates_queued"] == "0"
    assert set(lines) == {
        "everstep_instances_running",
        "everstep_instances_running_max",
        "everstep_instances_due",
        "everstep_instances_cached",
        "everstep_instances_cached_max",
        "everstep_creates_in_flight",
        "everstep_creates_in_flight_max",
        "everstep_creates_queued",
        "everstep_step_threads_busy",
        "everstep_step_threads_max",
        "everstep_step_threads_queued",
        "everstep_step_threads_lost",
        "everstep_step_threads_lost_max",
    }


async def test_instances_that_have_no_place_are_shown_as_waiting():
    go = asyncio.Event()

    class Held(WorkflowEntrypoint):
        async def run(self, event, step):
            await step.do("hold", go.wait)

    async with Everstep([Held], database="sqlite:///:memory:", options=EngineOptions(max_running=2)) as es:
        transport = httpx.ASGITransport(Starlette(routes=[metrics_route(es.control)]))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            instances = [await es.workflow(Held).create(id=f"h-{number}") for number in range(5)]
            lines = await shown(http)
            assert (lines["everstep_instances_running"], lines["everstep_instances_due"]) == ("2", "3")
            go.set()
            for instance in instances:
                await instance.result()
            assert (await shown(http))["everstep_instances_due"] == "0"


async def test_a_database_in_trouble_leaves_the_other_numbers(server: Server, monkeypatch):
    async def refuse(*_, **__):
        raise StoreUnavailableError("the database cannot be read")

    monkeypatch.setattr(server.es._store, "due", refuse)
    lines = await shown(server.http)
    assert lines["everstep_instances_running_max"] == "10000"
    assert "everstep_instances_due" not in lines
