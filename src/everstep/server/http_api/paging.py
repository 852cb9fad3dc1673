"""Which part of a list a request asks for: instances by page or cursor, and steps of one by cursor."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from starlette.requests import Request

from everstep.control.control import LocalControl
from everstep.control.views import InstanceView, StepWindow
from everstep.core.limits import PAGED_INSTANCES
from everstep.server.http_api import serializers
from everstep.server.http_api.errors import BadRequestError
from everstep.server.http_api.request_body import one_of, whole_number
from everstep.store.protocol import InstanceRecord

PER_PAGE = 25
MAX_PER_PAGE = 100
STEPS_PER_PAGE = 100
MOST_STEPS_PER_PAGE = 1_000


class Page(NamedTuple):
    """Some instances, and where the next ones begin, if there are any."""

    instances: list[InstanceRecord]
    next_cursor: str | None


async def page_of(control: LocalControl, name: str, request: Request, *, status: str | None, per_page: int) -> Page:
    """Return the instances that a request's `page` or `cursor` asks for, newest first."""
    query = request.query_params
    if "page" in query and "cursor" in query:
        raise BadRequestError("page and cursor exclude each other; use cursor, which new instances do not move")
    skip = whole_number(request, "page", default=1) - 1
    if skip * per_page >= PAGED_INSTANCES:
        raise BadRequestError(
            f"page {skip + 1} is beyond the first {PAGED_INSTANCES} instances: use cursor, which goes on for ever"
        )
    cursor = whole_number(request, "cursor", default=1) if "cursor" in query else None
    while True:
        instances = await control.records(name, status=status, limit=per_page + 1, cursor=cursor)
        more = len(instances) > per_page
        instances = instances[:per_page]
        cursor = instances[-1].pk if more else None
        if not skip:
            return Page(instances, None if cursor is None else str(cursor))
        if not more:
            return Page([], None)
        skip -= 1
        await asyncio.sleep(0)  # SQLite answers at once: others would wait for every page before this one


def status_filter(request: Request) -> str | None:
    """Return the status a list is filtered by, if any."""
    status = request.query_params.get("status")
    return one_of(status, serializers.STATUSES, "status") if status else None


def step_window(request: Request, *, per_page: int | None = None, order: str = "asc") -> StepWindow:
    """Return which steps of an instance are asked for: all that are left unless `per_page` says how many."""
    newest_first = one_of(request.query_params.get("order", order), ("asc", "desc"), "order") == "desc"
    cursor = whole_number(request, "cursor", default=1) if "cursor" in request.query_params else None
    if "per_page" in request.query_params or (cursor is not None and per_page is None):
        per_page = whole_number(request, "per_page", default=STEPS_PER_PAGE, most=MOST_STEPS_PER_PAGE)
    return StepWindow(per_page, cursor, newest_first)


def page_info(view: InstanceView, window: StepWindow) -> dict[str, Any] | None:
    """Tell of a page of steps where one was asked for."""
    if window.limit is None:
        return None
    following = view.next_cursor(window)
    return {
        "count": len(view.steps),
        "per_page": window.limit,
        "cursor": None if following is None else str(following),
        "total_count": view.status.step_count,
    }


def per_page_of(request: Request) -> int:
    """Return how many instances a request wants on a page."""
    return whole_number(request, "per_page", default=PER_PAGE, most=MAX_PER_PAGE)
