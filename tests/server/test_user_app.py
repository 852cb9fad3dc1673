"""The user's own ASGI app: what it returns and raises becomes an answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from everstep import Everstep, WorkflowEntrypoint, env
from everstep.server.program.asgi import user_app


class Greet(WorkflowEntrypoint):
    async def run(self, event, step):
        return await step.do("greet", lambda: "hello")


async def start(request: Request) -> Response:
    instance = await env.GREET.create(id=request.path_params["id"])
    return JSONResponse({"id": instance.id})


async def show(request: Request) -> Response:
    instance = await env.GREET.get(request.path_params["id"])
    return JSONResponse(dict(await instance.status())["status"])


async def broken(request: Request) -> Response:
    raise ZeroDivisionError


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    routes = [
        Route("/{id}", start, methods=["POST"]),
        Route("/broken", broken, methods=["GET"]),
        Route("/{id}", show, methods=["GET"]),
    ]
    async with Everstep([Greet], database="sqlite:///:memory:") as es:
        app = user_app(Starlette(routes=routes), es.values)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # type: ignore[arg-type]  # an ASGI app
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


async def test_an_everstep_error_that_leaves_a_frameworks_route_has_its_own_status(http: httpx.AsyncClient):
    missing = await http.get("/nobody")
    await http.post("/one")
    again = await http.post("/one")
    wrong = await http.get("/-wrong")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "instance.not_found")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "instance.already_exists")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "instance.invalid_id")


async def test_any_other_error_stays_the_frameworks(http: httpx.AsyncClient):
    assert (await http.get("/broken")).status_code == 500


async def test_a_status_can_be_read_like_a_dict(http: httpx.AsyncClient):
    await http.post("/two")
    assert (await http.get("/two")).json() in {"running", "complete"}


async def lived(app: Any) -> list[str]:
    """Start and stop an app, and return what it answers."""
    asked = iter(["lifespan.startup", "lifespan.shutdown"])
    answered: list[str] = []

    async def receive() -> Any:
        return {"type": next(asked)}

    async def send(message: Any) -> None:
        answered.append(message["type"])

    await user_app(app, {})({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
    return answered


async def raising(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise ValueError("only HTTP, as Django")


async def returning(scope: Any, receive: Any, send: Any) -> None:
    return


@pytest.mark.parametrize("app", [raising, returning])
async def test_an_app_without_a_lifespan_is_started_and_stopped_in_its_place(app: Any):
    assert await lived(app) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_an_app_that_fails_at_its_start_is_not_taken_for_one_without_a_lifespan():
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise RuntimeError("no cache server")

    with pytest.raises(RuntimeError, match="no cache server"):
        await lived(failing)
