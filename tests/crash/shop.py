"""An app for the crash tests of `everstep dev`. Every begin and end of a side effect is a line in EFFECTS, on disk."""

import asyncio
import json
import os
import time

from everstep import (
    Env,
    Request,
    Response,
    WorkerEntrypoint,
    Workflow,
    WorkflowEntrypoint,
    WorkflowEvent,
    WorkflowStep,
    current_step,
)


class ShopEnv(Env):
    ORDER: Workflow[dict]
    EFFECTS: str


CHARGE = {"retries": {"limit": 8, "delay": "0.4 seconds", "backoff": "linear"}, "timeout": "5 seconds"}


class Order(WorkflowEntrypoint[ShopEnv, dict]):
    async def run(self, event: WorkflowEvent[dict], step: WorkflowStep) -> dict:
        order = event.payload
        total = await step.do("validate", self.effect, 0.0, 7)
        receipt = await step.do("charge", CHARGE, self.charge, order.get("charge_seconds", 0.2))
        await step.sleep("nap", "0.7 seconds")
        if order.get("approve"):
            decision = await step.wait_for_event("approval", type="order.approval")
            receipt += decision.payload["by"]
        mails = await asyncio.gather(*(step.do(f"mail-{n}", CHARGE, self.effect, 0.05, n) for n in range(3)))
        return {"total": total, "receipt": receipt, "mails": mails}

    async def charge(self, seconds: float) -> str:
        context = current_step()
        await self.effect(seconds, None)
        if context.attempt <= 2 and context.instance_id.endswith("-flaky"):
            raise RuntimeError("payment: 503")
        return f"paid {context.instance_id}"

    async def effect(self, seconds: float, value: object) -> object:
        context = current_step()
        self.record("begin", context)
        await asyncio.sleep(seconds)
        self.record("end", context)
        return value

    def record(self, what: str, context) -> None:
        line = {
            "what": what,
            "at": time.time(),
            "id": context.instance_id,
            "step": context.step.name,
            "n": context.attempt,
        }
        file = os.open(self.env.EFFECTS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, json.dumps(line).encode() + b"\n")
        os.close(file)


class Default(WorkerEntrypoint[ShopEnv]):
    async def fetch(self, request: Request) -> Response:
        id = request.query_params.get("id", "")
        if request.method == "POST" and request.url.path == "/orders":
            body = await request.json()
            instance = await self.env.ORDER.create(id=body["id"], params=body)
            return Response.json({"id": instance.id})
        instance = await self.env.ORDER.get(id)
        match request.url.path:
            case "/orders":
                return Response.json(await instance.status(steps=True))
            case "/pause":
                await instance.pause()
            case "/resume":
                await instance.resume()
            case "/approve":
                await instance.send_event(type="order.approval", payload={"by": " by boss"})
        return Response.json({"ok": True})
