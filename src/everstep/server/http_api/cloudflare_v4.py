"""The control API: Cloudflare's v4 routes for workflows and instances, over one `LocalControl`.

The shapes are in `shapes.py`, the checks of bodies and queries in `bodies.py`. Any account id is accepted.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from everstep.control.control import LocalControl
from everstep.control.views import StepName, StepWindow
from everstep.core.errors import DuplicateInBatchError, EverstepError
from everstep.core.limits import BATCH
from everstep.core.suggest import did_you_mean
from everstep.core.types import AttemptInfo, StepInfo
from everstep.sdk.response import Response
from everstep.server.http_api import serializers
from everstep.server.http_api.create_request import IGNORED, read_create_request
from everstep.server.http_api.errors import (
    BadRequestError,
    NoRouteError,
    StepNotFoundError,
    WrongMethodError,
    status_of,
)
from everstep.server.http_api.paging import page_info, page_of, per_page_of, status_filter, step_window
from everstep.server.http_api.request_body import (
    event_type,
    flag,
    instance_id,
    json_body,
    object_body,
    one_of,
    refuse_unsupported,
    whole_number,
)
from everstep.threads import run_beside_loop

log = logging.getLogger("everstep.server")

BASE = "/client/v4/accounts/{account_id}/workflows"
PREVIEW_READ_CHARS = 2 * serializers.PREVIEW_CHARS
"""Stored text of a result that is read where only previews are shown: it is longer than what is shown of it."""

_NUMBERS = {
    "workflow.not_found": 10200,
    "instance.not_found": 10400,
    "instance.already_exists": 10405,
    "instance.duplicate_in_batch": 10415,
    "request.no_route": 7000,
    "request.wrong_method": 7001,
}
"""Cloudflare's numbers for errors it has too."""
_NUMBER_BY_STATUS = {400: 10010, 404: 10404, 409: 10409, 413: 10413, 503: 10503, 504: 10504}
_INTERNAL = 10001

_ACTIONS = ("pause", "resume", "terminate", "restart")


class ApiResult(NamedTuple):
    """What goes into the envelope of a success. A `large` one is written in a thread: everything else would wait."""

    result: Any
    info: dict[str, Any] | None = None
    messages: tuple[dict[str, Any], ...] = ()
    large: bool = False


Handler: TypeAlias = Callable[[Request], Awaitable[ApiResult]]


def routes(control: LocalControl, *, script: str = "app") -> list[Route]:
    """Make the routes of the control API.

    Args:
        control: What carries the requests out.
        script: The app's name, shown as `script_name`.
    """
    api = _Api(control, script)
    tree: dict[str, dict[str, Handler]] = {
        "": {"GET": api.workflows},
        "/{name}": {"GET": api.workflow},
        "/{name}/instances": {"GET": api.instances, "POST": api.create},
        "/{name}/instances/batch": {"POST": api.create_batch},
        "/{name}/instances/batch/delete": {"POST": api.delete_batch},
        "/{name}/instances/{id}": {"GET": api.instance, "DELETE": api.delete},
        "/{name}/instances/{id}/step": {"GET": api.step},
        "/{name}/instances/{id}/status": {"PATCH": api.change_status},
        "/{name}/instances/{id}/events/{type}": {"POST": api.send_event},
    }
    # wrangler writes some of them with a slash at the end.
    resources = [Route(BASE + path + end, _Resource(methods)) for path, methods in tree.items() for end in ("", "/")]
    return [*resources, Route("/client/v4/{rest:path}", _Resource({}))]


class _Resource:
    """One path: an ASGI app that picks the handler by method and puts every outcome into the envelope."""

    def __init__(self, methods: Mapping[str, Handler]) -> None:
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._respond(Request(scope, receive))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        handler = self._methods.get(method)
        if handler is None:
            return self._no_handler(request)
        try:
            answer = await handler(request)
            return await run_beside_loop(_success, answer) if answer.large else _success(answer)
        except EverstepError as error:
            if (status := status_of(error)) >= 500:
                log.exception("%s %s failed", request.method, request.url.path)
            return _failure(status, _problem(error))
        except Exception as error:  # a defect here must not look like one of the caller's, nor end the answer midway
            log.exception("%s %s failed", request.method, request.url.path)
            return _failure(500, _problem(error))

    def _no_handler(self, request: Request) -> Response:
        if not self._methods:
            return _failure(
                404, _problem(NoRouteError(f"no route {request.url.path!r}; see docs/reference/http-api.md"))
            )
        allowed = ", ".join(self._methods)
        message = f"method {request.method} is not available for {request.url.path!r}; use {allowed}"
        return _failure(405, _problem(WrongMethodError(message)), {"Allow": allowed})


class _Api:
    """The handlers. Each reads its request, asks the control and shapes the answer."""

    def __init__(self, control: LocalControl, script: str) -> None:
        self._control = control
        self._script = script

    async def workflows(self, request: Request) -> ApiResult:
        per_page, page = per_page_of(request), whole_number(request, "page", default=1)
        search = request.query_params.get("search", "").lower()
        counts = await self._control.counts()
        found = [
            serializers.workflow_shape(definition, counts.get(definition.name, {}), self._script)
            for definition in self._control.registry
            if search in definition.name.lower()
        ]
        shown = found[(page - 1) * per_page : page * per_page]
        return ApiResult(shown, {"count": len(shown), "page": page, "per_page": per_page, "total_count": len(found)})

    async def workflow(self, request: Request) -> ApiResult:
        definition = self._control.registry[request.path_params["name"]]
        counts = await self._control.counts()
        return ApiResult(serializers.workflow_shape(definition, counts.get(definition.name, {}), self._script))

    async def instances(self, request: Request) -> ApiResult:
        name = self._control.registry[request.path_params["name"]].name
        refuse_unsupported(request, ("date_start", "date_end"))
        one_of(request.query_params.get("direction", "desc"), ("desc",), "direction")
        counts = serializers.all_counts((await self._control.counts()).get(name, {}))
        status = status_filter(request)
        per_page = per_page_of(request)
        page = await page_of(self._control, name, request, status=status, per_page=per_page)
        total = sum(counts.values()) if status is None else counts[status]
        info = {
            "count": len(page.instances),
            "per_page": per_page,
            "page": whole_number(request, "page", default=1),
            "cursor": page.next_cursor,
            "total_count": total,
            "total_pages": -(-total // per_page),
            "status_counts": counts,
        }
        if "cursor" in request.query_params:
            del info["page"]
        parents = await self._control.parents_of(page.instances)
        return ApiResult([serializers.row_shape(one, parents) for one in page.instances], info)

    async def create(self, request: Request) -> ApiResult:
        name = self._control.registry[request.path_params["name"]].name
        body = await json_body(request, empty={})
        created = await self._create(name, body)
        return ApiResult(created, messages=tuple(_note(f"{key} has no effect here") for key in IGNORED if key in body))

    async def create_batch(self, request: Request) -> ApiResult:
        name = self._control.registry[request.path_params["name"]].name
        batch = await json_body(request, empty=[])
        if not isinstance(batch, list) or not 1 <= len(batch) <= BATCH:
            raise BadRequestError(f"a batch is a list of 1 to {BATCH} instances")
        created, problems = [], []
        seen: set[str] = set()
        for index, one in enumerate(batch):
            try:
                created.append(await self._create(name, one, seen))
            except Exception as error:  # whatever it is: what was created before is, and who asked must hear of it
                if not isinstance(error, EverstepError):
                    log.exception("%s %s failed for number %d", request.method, request.url.path, index)
                problem = _problem(error)
                id = one.get("instance_id") if isinstance(one, dict) else None
                problems.append({**problem, "message": f"{index}: {problem['message']}", "index": index, "id": id})
        return ApiResult(created, messages=tuple(problems))

    async def delete_batch(self, request: Request) -> ApiResult:
        name = self._control.registry[request.path_params["name"]].name
        ids = object_body(await json_body(request, empty={}), ("instances",)).get("instances")
        if not isinstance(ids, list) or not 1 <= len(ids) <= BATCH:
            raise BadRequestError(f"instances is a list of 1 to {BATCH} ids")
        deleted, errors = [], []
        for id in [instance_id(one) for one in ids]:
            try:
                await self._control.delete(name, id)
                deleted.append({"id": id})
            except EverstepError as error:
                errors.append({"id": id, **_problem(error)})
        return ApiResult({"deleted": deleted, "errors": errors})

    async def delete(self, request: Request) -> ApiResult:
        await self._control.delete(*_addressed(request))
        return ApiResult({"status": "ok", "success": True})

    async def _create(self, name: str, body: Any, seen: set[str] | None = None) -> dict[str, Any]:
        """Create an instance; `seen` are the ids that came before in its batch."""
        asked = read_create_request(body)
        if seen is not None and asked.id is not None:
            if asked.id in seen:
                raise DuplicateInBatchError(f"the id {asked.id!r} stands twice in this batch; leave one of them out")
            seen.add(asked.id)
        id = await self._control.create(
            name, id=asked.id, params=asked.params, retention=asked.retention, tags=asked.tags, trigger="api"
        )
        status = await self._control.status(name, id)
        return {
            "id": id,
            "status": status.status,
            "version_id": status.version,
            "workflow_id": name,
            "trigger_source": "api",
        }

    async def instance(self, request: Request) -> ApiResult:
        refuse_unsupported(request, ("page",))
        with_steps = one_of(request.query_params.get("simple", "false"), ("true", "false"), "simple") == "false"
        window = step_window(request) if with_steps else None
        view = await self._control.look(*_addressed(request), window, chars=PREVIEW_READ_CHARS)
        shape = partial(serializers.instance_shape, view.instance, view.status, view.steps)
        newest_first = window is not None and window.newest_first
        result = await run_beside_loop(partial(shape, newest_first=newest_first))
        return ApiResult(result, None if window is None else page_info(view, window), large=True)

    async def step(self, request: Request) -> ApiResult:
        query = request.query_params
        wanted = query.get("name")
        if not wanted:
            raise BadRequestError("name is missing: the step's name with its count, as the instance shows it: charge-1")
        type = one_of(query.get("type", "step"), ("step", "sleep", "waitForEvent", "workflow", "rollback"), "type")
        names = await self._control.step_names(*_addressed(request))
        number = _find_step([one for one in names if serializers.step_type(one.type) == type], wanted, type)
        view = await self._control.look(*_addressed(request), StepWindow(1, number - 1))
        if not view.steps:
            raise StepNotFoundError(f"the step {wanted!r} is gone: the instance was restarted")
        [step] = view.steps
        if "attempt" not in query:
            return ApiResult(serializers.whole_step_shape(step))
        attempt = _find_attempt(step, whole_number(request, "attempt", default=1))
        output = step.output if attempt.status == "complete" else None
        return ApiResult(
            {"status": attempt.status, **serializers.attempt_shape(attempt), "output": serializers.plain(output)}
        )

    async def change_status(self, request: Request) -> ApiResult:
        address = _addressed(request)
        body = object_body(await json_body(request, empty={}), ("status", "rollback", "from"))
        action = one_of(body.get("status"), _ACTIONS, "status")
        rollback, step = flag(body.get("rollback"), "rollback"), _step_to_restart_from(body.get("from"))
        _refuse_option_of_another(action, "terminate" if rollback else None, "rollback")
        _refuse_option_of_another(action, "restart" if step else None, "from")
        match action:
            case "pause":
                await self._control.pause(*address)
            case "resume":
                await self._control.resume(*address)
            case "terminate":
                await self._control.terminate(*address, rollback=rollback)
            case _:
                await self._control.restart(*address, **step)
        status = await self._control.status(*address)
        return ApiResult({"status": status.status, "timestamp": serializers.iso(datetime.now(UTC))})

    async def send_event(self, request: Request) -> ApiResult:
        name, id = _addressed(request)
        type = event_type(request.path_params["type"])
        await self._control.send_event(name, id, type=type, payload=await json_body(request, empty=None))
        return ApiResult({"instanceId": id, "timestamp": serializers.iso(datetime.now(UTC))})


def _problem(error: Exception) -> dict[str, Any]:
    """What is told of an error, in an envelope or beside others: Cloudflare's number, ours, and the words."""
    if isinstance(error, EverstepError):
        code, status, message = error.code, status_of(error), str(error)
    else:
        code, status, message = "internal", 500, f"internal error: {type(error).__name__}: {error}"
    number = _NUMBERS.get(code, _NUMBER_BY_STATUS.get(status, _INTERNAL))
    return {"code": number, "everstep_code": code, "message": message}


def _addressed(request: Request) -> tuple[str, str]:
    return request.path_params["name"], instance_id(request.path_params["id"])


def _refuse_option_of_another(action: str, needed: str | None, option: str) -> None:
    """Refuse what only another action understands: the caller would take it for done."""
    if needed is not None and action != needed:
        raise BadRequestError(f"{option} goes with the status {needed!r}, not with {action!r}; leave one of them out")


def _step_to_restart_from(given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    step = object_body(given, ("name", "count", "type"), "from")
    if not isinstance(step.get("name"), str):
        raise BadRequestError("from.name is missing: the name of the step to restart from, without its count: charge")
    return {"from_step": step["name"], "count": step.get("count", 1), "type": step.get("type")}


def _find_step(steps: list[StepName], wanted: str, type: str) -> int:
    by_name = {step.name: step.seq for step in steps}
    if wanted not in by_name:
        hint = did_you_mean(wanted, by_name)
        raise StepNotFoundError(f"no step {wanted!r} of type {type!r}{hint}; names end in their count, e.g. charge-1")
    return by_name[wanted]


def _find_attempt(step: StepInfo, number: int) -> AttemptInfo:
    for attempt in step.attempts:
        if attempt.attempt == number:
            return attempt
    raise StepNotFoundError(
        f"step {serializers.step_name(step)!r} has no attempt {number}; it has {len(step.attempts)}"
    )


def _note(message: str) -> dict[str, Any]:
    return {"code": 10000, "message": message}


def _success(answer: ApiResult) -> Response:
    envelope: dict[str, Any] = {
        "success": True,
        "errors": [],
        "messages": list(answer.messages),
        "result": answer.result,
    }
    if answer.info is not None:
        envelope["result_info"] = answer.info
    return Response.json(envelope, headers=_HEADERS)


def _failure(status: int, problem: dict[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    envelope = {"success": False, "errors": [problem], "messages": [], "result": None}
    return Response.json(envelope, status=status, headers={**_HEADERS, **(headers or {})})


_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
