"""One ASGI app of all parts: the inspector, the control API, and the user's app for every other path."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from starlette.routing import BaseRoute, Router

from everstep.control.control import LocalControl
from everstep.core.errors import ConfigError
from everstep.core.suggest import did_you_mean
from everstep.sdk.env import Env, missing_members
from everstep.server.http_api.cloudflare_v4 import routes
from everstep.server.http_api.metrics import metrics_route
from everstep.server.inspector.routes import inspector_routes
from everstep.server.program.asgi import AsgiApp, Receive, Scope, Send
from everstep.server.request_guard import RequestGuard

OWN_PREFIXES = ("/__workflows", "/client/v4")


def build_app(control: LocalControl, user: AsgiApp, *, allowed_hosts: Sequence[str] = ()) -> AsgiApp:
    """Put the parts together behind the guard against foreign hosts and cross-site requests."""
    own: list[BaseRoute] = [metrics_route(control), *inspector_routes(control), *routes(control)]
    router = Router(routes=own)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _is_own(scope["path"]):
            await router(scope, receive, send)
        else:
            await user(scope, receive, send)

    return RequestGuard(app, allowed_hosts=allowed_hosts)


def with_access_log(app: AsgiApp, write: Callable[[str, str, int, float], None]) -> AsgiApp:
    """Tell `write` of each request to the user's own routes: method, path, status and milliseconds."""

    async def logged(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_own(scope["path"]):
            await app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def noting(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, noting)
        finally:
            path = scope["path"] + ("?" + scope["query_string"].decode() if scope["query_string"] else "")
            write(scope["method"], path, status, (time.perf_counter() - began) * 1000)

    return logged


def check_environments(classes: Sequence[type[Env]], names: Sequence[str]) -> None:
    """Raise one `ConfigError` naming every declared member that nothing provides."""
    missing: dict[str, str] = {}
    for cls in classes:
        for member in missing_members(cls, dict.fromkeys(names)):
            missing.setdefault(member, f"  {member}  ({cls.__name__}){did_you_mean(member, names)}")
    if missing:
        members = "\n".join(missing.values())
        count = f"{len(missing)} member" + ("s" if len(missing) > 1 else "")
        raise ConfigError(
            f"the environment lacks {count} the program declares:\n{members}\n"
            "Put secrets into .dev.vars (KEY=value), plain values under [vars], bindings under workflows"
        )


def _is_own(path: str) -> bool:
    return any(path == prefix or path.startswith(prefix + "/") for prefix in OWN_PREFIXES)
