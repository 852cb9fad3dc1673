"""The web side of the user's app as ASGI: a `Default` entrypoint, a `fetch` function or an ASGI app of its own."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias, cast

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from everstep.core.errors import EverstepError
from everstep.sdk.entrypoint import ExecutionContext, WorkerEntrypoint, declared_env
from everstep.sdk.env import Env, build_env, use_env
from everstep.server.http_api.errors import problem_response

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Fetch: TypeAlias = Callable[[Request], Awaitable[Any]]

log = logging.getLogger("everstep.app")


def user_app(web: Any, values: dict[str, Any]) -> AsgiApp:
    """Make one ASGI app of whatever the user's program offers.

    Args:
        web: A `WorkerEntrypoint` class, a `fetch` function, an ASGI callable, or None.
        values: The environment's members by name.

    Raises:
        ConfigError: if the declared environment of a `Default` entrypoint is incomplete.
    """
    if web is None:
        return _answering(Env(), _nothing_here)
    if inspect.isclass(web) and issubclass(web, WorkerEntrypoint):
        env = build_env(declared_env(web), values)
        return _answering(env, lambda request: web(ExecutionContext(), env).fetch(request))
    env = build_env(Env, values)
    if getattr(web, "__name__", "") == "fetch" and inspect.iscoroutinefunction(web):
        return _answering(env, _fetch_function(web, env))
    return _within(env, cast("AsgiApp", web))


def _fetch_function(fetch: Callable[..., Awaitable[Any]], env: Env) -> Fetch:
    """Call `fetch(request)`, `fetch(request, env)` or `fetch(request, env, ctx)`, as many as it takes."""
    takes = len(inspect.signature(fetch).parameters)
    return lambda request: fetch(*(request, env, ExecutionContext())[:takes])


def _answering(env: Env, fetch: Fetch) -> AsgiApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _accept_lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        request = Request(scope, receive)
        with use_env(env):
            response = await _respond(fetch, request)
        await response(scope, receive, send)

    return app


async def _respond(fetch: Fetch, request: Request) -> Response:
    try:
        response = await fetch(request)
    except EverstepError as error:
        return problem_response(error)
    except json.JSONDecodeError as error:
        return PlainTextResponse(
            f"the request's body is not JSON: {error.msg} at line {error.lineno} column {error.colno}\n", 400
        )
    except Exception as error:
        log.exception("%s %s failed", request.method, request.url.path)
        return PlainTextResponse(f"{type(error).__name__}: {error}\n", 500)
    if not isinstance(response, Response):
        message = f"fetch returned {type(response).__name__}; return a Response, e.g. Response.json(value)"
        log.error("%s %s: %s", request.method, request.url.path, message)
        return PlainTextResponse(message + "\n", 500)
    return response


def _within(env: Env, app: AsgiApp) -> AsgiApp:
    async def within(scope: Scope, receive: Receive, send: Send) -> None:
        with use_env(env):
            if scope["type"] == "http":
                await _translating(app, scope, receive, send)
            elif scope["type"] == "lifespan":
                await _living(app, scope, receive, send)
            else:
                await app(scope, receive, send)

    return within


async def _living(app: AsgiApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Run an app's lifespan, or accept in the place of an app that has none.

    Such an app ends, most often by an exception (Django), before it asks for the first message. One that fails at its
    start has asked for it.
    """
    asked = False

    async def asking() -> MutableMapping[str, Any]:
        nonlocal asked
        asked = True
        return await receive()

    try:
        await app(scope, asking, send)
    except Exception:
        if asked:
            raise
    if not asked:
        await _accept_lifespan(receive, send)


async def _translating(app: AsgiApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer an Everstep error that leaves the app with its own status.

    Frameworks answer 500 and raise the error after that, so an answer of 500 is held back until it is known whether it
    stands for one.
    """
    held: list[MutableMapping[str, Any]] = []

    async def holding(message: MutableMapping[str, Any]) -> None:
        if held or (message["type"] == "http.response.start" and message["status"] == 500):
            held.append(message)
        else:
            await send(message)

    try:
        await app(scope, receive, holding)
    except EverstepError as error:
        if not held:
            raise
        await problem_response(error)(scope, receive, send)
        return
    except BaseException:
        await _pass_on(held, send)
        raise
    await _pass_on(held, send)


async def _pass_on(held: list[MutableMapping[str, Any]], send: Send) -> None:
    for message in held:
        await send(message)


async def _nothing_here(_: Request) -> Response:
    return PlainTextResponse("This app has no web side. The inspector is at /__workflows\n", 404)


async def _accept_lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
