"""A program with an instance of every kind, served by the control API and the inspector."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import msgspec

from everstep import Everstep, NonRetryableError, WorkflowEntrypoint

API = "/client/v4/accounts/local/workflows"
SCRIPT = "<script>alert('x')</script>"


class Person(msgspec.Struct):
    name: str = "Ada"


class Greet(WorkflowEntrypoint[Any, Person]):
    async def run(self, event, step):
        return await step.do("greet", lambda: {"greeting": f"hello {event.payload.name}"})


class Echo(WorkflowEntrypoint):
    async def run(self, event, step):
        return event.payload


class Approval(WorkflowEntrypoint):
    async def run(self, event, step):
        received = await step.wait_for_event("wait-for-manager", "order.approval", timeout="1 day")
        return {"decision": received.payload}


class Nap(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.sleep("nap", "1 hour")


class Flaky(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.do("charge", {"retries": {"limit": 2, "delay": "1 hour", "backoff": "constant"}}, fail)


class Nasty(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.do(SCRIPT, lambda: {SCRIPT: f'"{SCRIPT}'})
        await step.do("fail", fail_for_good)


class Outputs(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.do("secret", {"sensitive": "output"}, lambda: "hunter2")
        await step.do("long", lambda: "x" * 5000)
        await step.do("twice", lambda: 1)
        await step.do("twice", lambda: 2)


class Many(WorkflowEntrypoint):
    async def run(self, event, step):
        for number in range(event.payload):
            await step.do(f"s{number}", lambda: 1)
        await step.sleep("long", "1 hour")


class Family(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.do("book", {"rollback": lambda ctx: None}, lambda: 1)
        await step.run_workflow("child", Echo)
        raise ValueError("no room")


class Nested(WorkflowEntrypoint):
    async def run(self, event, step):
        async def outer():
            return await step.do("inner", lambda: 1)

        await step.do("outer", outer)


def fail():
    raise ConnectionError("503 from the bank")


def fail_for_good():
    raise NonRetryableError(f"refused: {SCRIPT}")


PROGRAM = [Greet, Echo, Approval, Nap, Flaky, Nasty, Outputs, Family, Many, Nested]


class Server:
    """What tests ask: over HTTP as clients do, and for an instance to get somewhere."""

    def __init__(self, es: Everstep, http: httpx.AsyncClient) -> None:
        self.es = es
        self.http = http

    async def create(self, workflow: str, id: str, params: Any = None) -> str:
        answer = await self.http.post(f"{API}/{workflow}/instances", json={"instance_id": id, "params": params})
        assert answer.status_code == 200, answer.text
        return f"{API}/{workflow}/instances/{id}"

    async def reached(self, workflow: str, id: str, *statuses: str) -> Any:
        """Wait until an instance has one of these statuses and return it as the API shows it."""
        deadline = time.monotonic() + 10
        while (shown := await self.result(f"{API}/{workflow}/instances/{id}"))["status"] not in statuses:
            assert time.monotonic() < deadline, f"{workflow}/{id} is {shown['status']}"
            await asyncio.sleep(0.002)
        return shown

    async def result(self, url: str) -> Any:
        answer = await self.http.get(url)
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]

    async def refusal(self, method: str, url: str, **request: Any) -> tuple[int, dict[str, Any]]:
        """Send what must be refused; return the status and the error."""
        answer = await self.http.request(method, url, **request)
        envelope = answer.json()
        assert not envelope["success"]
        assert envelope["result"] is None
        [error] = envelope["errors"]
        return answer.status_code, error
