"""Everstep's errors in real apps of each framework: the HTTP API's status and body, by one line in the app."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

import httpx
import pytest
from litestar import Request

from everstep.core import errors
from everstep.server.http_api.errors import status_of

RAISED: dict[str, Callable[[], Exception]] = {
    "missing": lambda: errors.InstanceNotFoundError("workflow 'order' has no instance 'o-1'"),
    "exists": lambda: errors.InstanceExistsError("instance 'o-1' exists"),
    "params": lambda: errors.InvalidParamsError("total is no number"),
    "state": lambda: errors.InstanceStateError("instance 'o-1' is complete", "instance.cannot_pause"),
    "large": lambda: errors.ValueTooLargeError("params of 2 MiB"),
    "away": lambda: errors.StoreConflictError("the database is away"),
    "late": lambda: errors.WorkflowTimeoutError("no result within 1 second"),
    "other": lambda: errors.StepError("OSError", "disk full"),
}


def fail(what: str) -> NoReturn:
    error = RAISED[what]()
    raise error


Ask = Callable[[str], "tuple[int, Any]"]


def _over_asgi(app: Any) -> Ask:
    async def ask(path: str) -> tuple[int, Any]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            answer = await http.get(path)
        return answer.status_code, answer.json() if "json" in answer.headers["content-type"] else answer.text

    return lambda path: asyncio.run(ask(path))


def _starlette() -> Ask:
    from starlette.applications import Starlette
    from starlette.routing import Route

    from everstep.integrations.starlette import exception_handlers

    async def show(request: Any) -> Any:
        fail(request.path_params["what"])

    return _over_asgi(Starlette(routes=[Route("/{what}", show)], exception_handlers=exception_handlers))


def _fastapi() -> Ask:
    from fastapi import FastAPI

    from everstep.integrations.starlette import exception_handlers

    app = FastAPI(exception_handlers=exception_handlers)

    @app.get("/{what}")
    async def show(what: str) -> None:
        fail(what)

    return _over_asgi(app)


def _litestar() -> Ask:
    from litestar import Litestar, get

    from everstep.integrations.litestar import exception_handlers

    @get("/{what:str}")
    async def show(request: Request) -> None:  # resolved at run time, from the module's names
        fail(request.path_params["what"])

    return _over_asgi(Litestar([show], exception_handlers=exception_handlers))


def _flask() -> Ask:
    from flask import Flask

    from everstep.integrations.flask import answer_errors

    app = Flask(__name__)
    answer_errors(app)

    @app.get("/<what>")
    def show(what: str) -> None:
        fail(what)

    def ask(path: str) -> tuple[int, Any]:
        answer = app.test_client().get(path)
        return answer.status_code, answer.json or answer.text

    return ask


def _django_settings() -> None:
    import django
    from django.conf import settings

    if not settings.configured:
        settings.configure(
            ROOT_URLCONF="integrations.django_urls",
            ALLOWED_HOSTS=["*"],
            MIDDLEWARE=["everstep.integrations.django.EverstepErrors"],
        )
        django.setup()


def _django_asgi() -> Ask:
    _django_settings()
    from django.core.asgi import get_asgi_application

    return _over_asgi(get_asgi_application())


def _django_wsgi() -> Ask:
    _django_settings()
    from django.core.wsgi import get_wsgi_application

    application = get_wsgi_application()

    def ask(path: str) -> tuple[int, Any]:
        with httpx.Client(transport=httpx.WSGITransport(application), base_url="http://localhost") as http:
            answer = http.get(path)
        return answer.status_code, answer.json()

    return ask


FRAMEWORKS = {
    "Starlette": (_starlette, "/{}"),
    "FastAPI": (_fastapi, "/{}"),
    "Litestar": (_litestar, "/{}"),
    "Flask": (_flask, "/{}"),
    "Django, ASGI, async view": (_django_asgi, "/async/{}"),
    "Django, ASGI, plain view": (_django_asgi, "/plain/{}"),
    "Django, WSGI, plain view": (_django_wsgi, "/plain/{}"),
}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_each_error_has_the_status_and_the_body_of_the_http_api(framework: str):
    make, path = FRAMEWORKS[framework]
    ask = make()
    for what, error in RAISED.items():
        raised = error()
        assert isinstance(raised, errors.EverstepError)
        body = {"error": {"code": raised.code, "message": str(raised)}}
        assert ask(path.format(what)) == (status_of(raised), body)


@pytest.mark.parametrize("framework", ["Starlette", "FastAPI", "Litestar"])
def test_any_other_error_stays_the_frameworks(framework: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(RAISED, "bug", lambda: ZeroDivisionError("a bug"))
    make, path = FRAMEWORKS[framework]
    status, answer = make()(path.format("bug"))
    assert status == 500
    assert "'error'" not in str(answer)
