"""The examples of docs/reference/http-api.md, run from top to bottom: each answer is the documented one."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import time
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from starlette.applications import Starlette

from everstep import Everstep, EverstepError, InstanceStateError, WorkflowEntrypoint
from everstep.core.errors import StoreConflictError
from everstep.server.http_api.cloudflare_v4 import routes

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "http-api.md"
EXAMPLE = re.compile(r"```console\n\$ (curl .*?)\n```\n+```json\n(.*?)\n```", re.DOTALL)
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class OrderPipeline(WorkflowEntrypoint):
    async def run(self, event, step):
        total = await step.do("validate-order", lambda: {"total": 3998})
        decision = await step.wait_for_event("wait-for-manager-approval", "order.approval", timeout="24 hours")
        return {**total, **decision.payload}


class Curl(NamedTuple):
    """A curl command as the request it sends."""

    method: str
    url: str
    body: str | None

    @classmethod
    def parse(cls, command: str) -> Curl:
        words = shlex.split(command.replace("\\\n", " "))
        assert words[:2] == ["curl", "-s"]
        options = dict(zip(words[2:-1:2], words[3::2], strict=True)) if len(words) > 3 else {}
        body = options.get("--json")
        assert options.keys() <= {"-X", "--json"}
        return cls(options.get("-X", "GET" if body is None else "POST"), words[-1], body)


async def test_every_answer_is_as_documented():
    examples = EXAMPLE.findall(PAGE.read_text())
    assert len(examples) >= 8
    async with Everstep([OrderPipeline], database="sqlite:///:memory:", version="v1") as es:
        transport = httpx.ASGITransport(Starlette(routes=routes(es.control, script="shop")))
        async with httpx.AsyncClient(transport=transport) as http:
            for command, documented in examples:
                request = Curl.parse(command)
                answer = await http.request(request.method, request.url, content=request.body)
                assert steady(answer.json()) == steady(json.loads(documented)), command
                await settled(es)


def test_every_route_is_documented():
    text = PAGE.read_text()
    for route in routes(None)[:-1]:  # type: ignore[arg-type]  # nothing is asked
        if not route.path.endswith("/"):
            assert f"`{route.path.removeprefix('/client/v4/accounts/{account_id}')}`" in text


def steady(value: Any) -> Any:
    """A value without what differs from run to run."""
    if isinstance(value, dict):
        return {key: 0 if key == "elapsed_ms" else steady(item) for key, item in value.items()}
    if isinstance(value, list):
        return [steady(item) for item in value]
    return "a moment" if isinstance(value, str) and MOMENT.fullmatch(value) else value


async def settled(es: Everstep) -> None:
    """Wait until nothing runs."""
    deadline = time.monotonic() + 10
    while (await es.control.counts()).get("order-pipeline", {}).keys() & {"queued", "running"}:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


def test_every_error_of_the_tree_is_in_the_reference():
    text = (PAGE.parent / "errors.md").read_text()
    tree = tree_of(EverstepError)
    assert StoreConflictError in tree
    for error in tree:
        if error.__module__.startswith(("everstep.core", "everstep.store")):
            assert f"| `{error.__name__}`" in text, error.__name__
            assert error.code in text or error is InstanceStateError, error.code  # it has one for each verb


def tree_of(error: type[EverstepError]) -> list[type[EverstepError]]:
    return [below for child in error.__subclasses__() for below in (child, *tree_of(child))]
