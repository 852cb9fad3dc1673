"""The inspector's routes: what each page shows, and the same as JSON. How it looks is in `pages.py`.

What is shown is put into shape and written in a thread: of an instance with ten thousand steps that takes seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from importlib import resources
from typing import Any, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response as HtmlResponse
from starlette.routing import Route

from everstep.control.control import LocalControl
from everstep.core.errors import EverstepError
from everstep.sdk.response import Response
from everstep.server.http_api import serializers
from everstep.server.http_api.errors import problem_response, status_of
from everstep.server.http_api.paging import PER_PAGE, page_of, status_filter, step_window
from everstep.server.http_api.request_body import instance_id
from everstep.server.inspector import pages
from everstep.threads import run_beside_loop

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Accept",
}
"""What every answer carries: nothing foreign is loaded, nothing inline runs, no other page frames this one."""

Page: TypeAlias = Callable[[Request], Awaitable[tuple[dict[str, Any], Callable[[], str]]]]


def inspector_routes(control: LocalControl) -> list[Route]:
    """Make the routes of the inspector, `/__workflows` and below."""
    views = _Pages(control)
    return [
        Route("/__workflows", _page(views.workflows)),
        Route("/__workflows/-/health", _health(control)),
        *(_static(name, kind) for name, kind in _STATIC.items()),
        Route("/__workflows/{name}", _page(views.workflow)),
        Route("/__workflows/{name}/{id}", _page(views.instance)),
    ]


class _Pages:
    """What the pages show: for each its data as JSON, and how to write it as HTML."""

    def __init__(self, control: LocalControl) -> None:
        self._control = control

    async def workflows(self, _: Request) -> tuple[dict[str, Any], Callable[[], str]]:
        counts = await self._control.counts()
        data = [
            serializers.workflow_shape(definition, counts.get(definition.name, {}), "app")
            for definition in self._control.registry
        ]
        trouble = self._control.health().reason
        return {"workflows": data, "reason": trouble}, lambda: pages.workflows_page(data, trouble)

    async def workflow(self, request: Request) -> tuple[dict[str, Any], Callable[[], str]]:
        definition = self._control.registry[request.path_params["name"]]
        status = status_filter(request)
        counts = await self._control.counts()
        page = await page_of(self._control, definition.name, request, status=status, per_page=PER_PAGE)
        parents = await self._control.parents_of(page.instances)
        data = {
            "workflow": serializers.workflow_shape(definition, counts.get(definition.name, {}), "app"),
            "instances": [serializers.row_shape(one, parents) for one in page.instances],
            "cursor": page.next_cursor,
        }
        paged = "cursor" in request.query_params
        return data, lambda: pages.workflow_page(data, page.instances, status=status, paged=paged)

    async def instance(self, request: Request) -> tuple[dict[str, Any], Callable[[], str]]:
        name, id = request.path_params["name"], instance_id(request.path_params["id"])
        window = step_window(request, per_page=pages.SHOWN_STEPS, order="desc")
        view = await self._control.look(name, id, window, chars=pages.SHOWN_STEP_CHARS)
        shape = partial(serializers.instance_shape, view.instance, view.status, view.steps)
        data = await run_beside_loop(partial(shape, newest_first=window.newest_first))
        following = view.next_cursor(window)
        data["cursor"] = None if following is None else str(following)
        return data, lambda: pages.instance_page(view, data, newest=window.newest_first and window.cursor is None)


def _health(control: LocalControl) -> Callable[[Request], Awaitable[HtmlResponse]]:
    async def endpoint(_: Request) -> HtmlResponse:
        health = control.health()
        return Response.json(msgspec.to_builtins(health), 200 if health.ok else 503, headers=HEADERS)

    return endpoint


def _page(show: Page) -> Callable[[Request], Awaitable[HtmlResponse]]:
    async def endpoint(request: Request) -> HtmlResponse:
        as_json = _wants_json(request)
        try:
            data, write = await show(request)
        except EverstepError as error:
            if as_json:
                return _with_headers(problem_response(error))
            return _html(pages.problem_page(str(error)), status_of(error))
        if as_json:
            return await run_beside_loop(Response.json, data, headers=HEADERS)
        return await run_beside_loop(lambda: _html(write()))

    return endpoint


def _wants_json(request: Request) -> bool:
    if "format" in request.query_params:
        return request.query_params["format"] == "json"
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted and "text/html" not in accepted


def _html(text: str, status: int = 200) -> HtmlResponse:
    content = text.encode("utf-8", "backslashreplace")
    return HtmlResponse(content, status, HEADERS, "text/html; charset=utf-8")


def _with_headers(response: Response) -> Response:
    response.headers.update(HEADERS)
    return response


_STATIC: Mapping[str, str] = {"inspector.css": "text/css", "inspector.js": "text/javascript"}


def _static(name: str, kind: str) -> Route:
    content = resources.files("everstep.server.inspector").joinpath("static", name).read_bytes()
    headers = {**HEADERS, "Cache-Control": "no-cache"}

    async def endpoint(_: Request) -> HtmlResponse:
        return HtmlResponse(content, headers=headers, media_type=f"{kind}; charset=utf-8")

    return Route(f"/__workflows/static/{name}", endpoint)
