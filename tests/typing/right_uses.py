"""Every way to use the public API that a type checker has to accept, and the types it has to infer. Never run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, TypedDict, assert_type

import msgspec
from pydantic import BaseModel

import everstep
from everstep import (
    Env,
    Everstep,
    InstanceStatus,
    Request,
    Response,
    Retries,
    StepConfig,
    StepContext,
    StepEvent,
    WorkerEntrypoint,
    Workflow,
    WorkflowEntrypoint,
    WorkflowEvent,
    WorkflowInstance,
    WorkflowStep,
    current_step,
    env,
    lifespan,
)
from everstep.core.policy.step_config import StepConfigDict


class OrderParams(msgspec.Struct, rename="camel"):
    order_id: str
    total_cents: int


@dataclass
class Receipt:
    charge: str
    cents: int


class Shipment(BaseModel):
    tracking: str


class Label(NamedTuple):
    text: str


class Decision(TypedDict):
    approved: bool


class ShopEnv(Env):
    ORDER_PIPELINE: Workflow[OrderParams]
    PAYMENT_API_KEY: str
    MAX_ITEMS: int
    REGION: str = "eu"


CONFIG: StepConfigDict = {"retries": {"limit": 5, "delay": "10 seconds", "backoff": "exponential"}, "timeout": "1 hour"}
POLICY = StepConfig(retries=Retries(limit=2, delay=timedelta(seconds=1), max_delay="1 hour"), timeout="30 seconds")


async def charge(order: OrderParams, key: str, *, currency: str = "EUR") -> Receipt: ...
async def nothing() -> None: ...
def render(order: OrderParams, copies: int = 1) -> bytes: ...
def ship(order: OrderParams) -> Shipment: ...
def label(order: OrderParams) -> Label: ...
async def pages() -> AsyncIterator[bytes]: ...


async def only_ctx(ctx: StepContext) -> int: ...
async def first_ctx(ctx: StepContext, order: OrderParams, *, currency: str = "EUR") -> Receipt: ...
async def last_ctx(order: OrderParams, key: str, ctx: StepContext) -> Receipt: ...
async def optional_ctx(order: OrderParams, ctx: StepContext | None = None) -> Receipt: ...
async def keyword_ctx(order: OrderParams, *, ctx: StepContext) -> Receipt: ...
def sync_first_ctx(ctx: StepContext, order: OrderParams) -> bytes: ...
def sync_last_ctx(order: OrderParams, ctx: StepContext) -> bytes: ...
def sync_keyword_ctx(order: OrderParams, *, ctx: StepContext) -> bytes: ...


class Warehouse:
    async def reserve(self, sku: str, amount: int) -> list[str]: ...
    def count(self, sku: str) -> int: ...

    @staticmethod
    async def audit() -> float: ...


async def direct_steps(step: WorkflowStep, order: OrderParams, warehouse: Warehouse) -> None:
    assert_type(await step.do("charge", charge, order, "key"), Receipt)
    assert_type(await step.do("charge", charge, order, key="key", currency="USD"), Receipt)
    assert_type(await step.do("nothing", nothing), None)
    assert_type(await step.do("render", render, order), bytes)
    assert_type(await step.do("render", render, order, copies=2), bytes)
    assert_type(await step.do("ship", ship, order), Shipment)
    assert_type(await step.do("label", label, order), Label)
    assert_type(await step.do("pages", pages), AsyncIterator[bytes])
    assert_type(await step.do("new", Receipt, "ch_1", 100), Receipt)
    assert_type(await step.do("lambda", lambda: charge(order, "key")), Receipt)
    assert_type(await step.do("lambda", lambda: order.total_cents), int)
    from_ctx: Receipt = await step.do("lambda", lambda ctx: charge(order, ctx.instance_id))
    print(from_ctx)
    assert_type(await step.do("method", warehouse.reserve, "sku", 2), list[str])
    assert_type(await step.do("method", warehouse.count, "sku"), int)
    assert_type(await step.do("static", Warehouse.audit), float)
    assert_type(await step.do("partial", partial(charge, order, "key")), Receipt)
    assert_type(await step.do("partial", partial(render, order)), bytes)


async def configured_steps(step: WorkflowStep, order: OrderParams, warehouse: Warehouse) -> None:
    assert_type(await step.do("charge", {"timeout": "30 seconds"}, charge, order, "key"), Receipt)
    assert_type(await step.do("charge", {"retries": {"limit": 5, "delay": 0}}, charge, order, "key"), Receipt)
    assert_type(await step.do("charge", {"retries": {"non_retryable": (ValueError,)}}, charge, order, "key"), Receipt)
    assert_type(await step.do("charge", {"sensitive": "output"}, charge, order, "key", currency="USD"), Receipt)
    assert_type(await step.do("charge", CONFIG, charge, order, "key"), Receipt)
    assert_type(await step.do("charge", POLICY, charge, order, "key"), Receipt)
    assert_type(await step.do("render", {"timeout": timedelta(seconds=5)}, render, order), bytes)
    assert_type(await step.do("render", StepConfig(retries={"backoff": "linear"}), render, order), bytes)
    assert_type(await step.do("lambda", CONFIG, lambda: charge(order, "key")), Receipt)
    assert_type(await step.do("lambda", CONFIG, lambda: order.total_cents), int)
    assert_type(await step.do("method", POLICY, warehouse.reserve, "sku", 2), list[str])
    assert_type(await step.do("partial", POLICY, partial(charge, order, "key")), Receipt)


async def steps_that_leave_ctx_out(step: WorkflowStep, order: OrderParams) -> None:
    assert_type(await step.do("only", only_ctx), int)
    assert_type(await step.do("first", first_ctx, order), Receipt)
    assert_type(await step.do("first", first_ctx, order, currency="USD"), Receipt)
    assert_type(await step.do("last", last_ctx, order, "key"), Receipt)
    assert_type(await step.do("optional", optional_ctx, order), Receipt)
    assert_type(await step.do("first", sync_first_ctx, order), bytes)
    assert_type(await step.do("last", sync_last_ctx, order), bytes)
    assert_type(await step.do("only", CONFIG, only_ctx), int)
    assert_type(await step.do("first", CONFIG, first_ctx, order), Receipt)
    assert_type(await step.do("last", CONFIG, last_ctx, order, "key"), Receipt)
    assert_type(await step.do("first", CONFIG, sync_first_ctx, order), bytes)
    assert_type(await step.do("last", CONFIG, sync_last_ctx, order), bytes)
    # A keyword-only ctx: the arguments are checked, the result is Any.
    receipt: Receipt = await step.do("keyword", keyword_ctx, order)
    page: bytes = await step.do("keyword", sync_keyword_ctx, order)
    configured: Receipt = await step.do("keyword", CONFIG, keyword_ctx, order)
    print(receipt, page, configured)


async def steps_at_once(step: WorkflowStep, order: OrderParams) -> None:
    both = await asyncio.gather(step.do("charge", charge, order, "key"), step.do("render", render, order))
    assert_type(both, tuple[Receipt, bytes])
    assert_type(await asyncio.gather(*(step.do("ship", ship, order) for _ in range(3))), list[Shipment])
    assert_type(await asyncio.gather(step.sleep("nap", "1 hour"), step.do("ship", ship, order)), tuple[None, Shipment])
    assert_type(await asyncio.wait_for(step.do("ship", ship, order), 60), Shipment)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(step.do("charge", charge, order, "key"))
    assert_type(task.result(), Receipt)


async def declared_steps(step: WorkflowStep) -> None:
    @step.do("fetch", config={"retries": {"limit": 2}})
    async def fetch() -> Receipt: ...

    @step.do("render", config=POLICY)
    def render() -> bytes: ...

    @step.do(concurrent=True)
    async def total(ctx: StepContext, fetch: Receipt, render: bytes) -> int: ...

    @step.do()
    async def tax(total: int) -> float: ...

    @step.do
    async def bare() -> str: ...

    @step.do
    def bare_sync() -> str: ...

    assert_type(await fetch(), Receipt)
    assert_type(await render(), bytes)
    assert_type(await total(), int)
    assert_type(await tax(), float)
    assert_type(await tax(total=3), float)
    assert_type(await bare(), str)
    assert_type(await bare_sync(), str)


async def sleeps_and_waits(step: WorkflowStep) -> None:
    await step.sleep("nap", "10 seconds")
    await step.sleep("nap", timedelta(minutes=1))
    await step.sleep("nap", 0)
    await step.sleep_until("morning", datetime.now(UTC))
    assert_type(await step.wait_for_event("approval", "order.approval"), StepEvent[Any])
    assert_type(await step.wait_for_event("approval", type="order.approval", timeout="24 hours"), StepEvent[Any])
    assert_type(await step.wait_for_event("approval", "order.approval", payload=Receipt), StepEvent[Receipt])
    assert_type((await step.wait_for_event("approval", "order.approval", payload=Shipment)).payload, Shipment)
    assert_type((await step.wait_for_event("approval", "order.approval", payload=Decision)).payload, Decision)
    assert_type(
        (await step.wait_for_event("approval", "order.approval", payload=list[OrderParams])).payload[0], OrderParams
    )
    assert_type((await step.wait_for_event("approval", "order.approval")).timestamp, datetime)


class OrderPipeline(WorkflowEntrypoint[ShopEnv, OrderParams]):
    async def run(self, event: WorkflowEvent[OrderParams], step: WorkflowStep) -> Receipt:
        assert_type(event.payload, OrderParams)
        assert_type(event.timestamp, datetime)
        assert_type(self.env, ShopEnv)
        assert_type(self.env.PAYMENT_API_KEY, str)
        assert_type(self.env.MAX_ITEMS, int)
        assert_type(self.env.ORDER_PIPELINE, Workflow[OrderParams])
        assert_type(self.env["any-name"], Any)
        self.ctx.wait_until(nothing())
        return await step.do("charge", charge, event.payload, self.env.PAYMENT_API_KEY)


class EnvOnly(WorkflowEntrypoint[ShopEnv]):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> dict[str, str]:
        assert_type(event.payload, Any)
        assert_type(self.env.REGION, str)
        return {}


class Undeclared(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent, step: WorkflowStep) -> Any:
        assert_type(event.payload["anything"], Any)
        assert_type(self.env.ANYTHING, Any)


class PlainDict(WorkflowEntrypoint[Env, dict[str, int]]):
    async def run(self, event: WorkflowEvent[dict[str, int]], step: WorkflowStep) -> int:
        return event.payload["total"]


class Default(WorkerEntrypoint[ShopEnv]):
    async def fetch(self, request: Request) -> Response:
        instance = await self.env.ORDER_PIPELINE.create(id="order-1", params=await request.json())
        assert_type(instance, WorkflowInstance)
        return Response.json({"instanceId": instance.id, "status": await instance.status()}, status=201)


class UndeclaredWorker(WorkerEntrypoint):
    async def fetch(self, request: Request) -> Response:
        await self.env.ANY_PIPELINE.create()
        return Response("ok")


async def fetch(request: Request, env: ShopEnv) -> Response:
    await env.ORDER_PIPELINE.get_or_create(id=request.path_params["id"], params=OrderParams("ord_1", 100))
    return Response.json(None)


async def bindings(pipeline: Workflow[OrderParams], anything: Workflow) -> None:
    instance = await pipeline.create(params=OrderParams("ord_1", 100))
    assert_type(instance, WorkflowInstance)
    assert_type(await pipeline.get("ord_1"), WorkflowInstance)
    await anything.create(params={"free": "form"})
    status = await instance.status(steps=True)
    assert_type(status, InstanceStatus)
    if status.status == "waiting" and status.waiting_for is not None:
        assert_type(status.waiting_for.step, str)
    assert_type(await instance.result(timeout="30 seconds"), Any)
    await instance.send_event(type="order.approval", payload={"approved": True})
    await instance.pause()
    await instance.resume()
    await instance.restart()
    await instance.terminate()


async def embedded() -> None:
    async with Everstep([OrderPipeline, Undeclared], database="sqlite:///state.db", env={"PAYMENT_API_KEY": "k"}) as es:
        assert_type(es, Everstep)
        assert_type(es.workflow(OrderPipeline), Workflow[OrderParams])
        assert_type(es.workflow(PlainDict), Workflow[dict[str, int]])
        assert_type(es.workflow(Undeclared), Workflow[Any])
        assert_type(await es.workflow("order-pipeline").get("ord_1"), WorkflowInstance)
        lifespan(es)


def main() -> None:
    print(OrderPipeline.run_once(OrderParams("ord_1", 100), id="ord_1", env={"PAYMENT_API_KEY": "k"}))
    print(Undeclared.run_once({"free": "form"}))
    print(Undeclared.run_once())
    assert_type(current_step(), StepContext)
    assert_type(current_step().step.name, str)
    assert_type(env.ANYTHING, Any)


async def handled(step: WorkflowStep) -> None:
    try:
        await step.do("nothing", nothing)
    except everstep.StepError as error:
        assert_type(error.name, str)
    except everstep.EverstepError as error:
        assert_type(error.code, str)
    raise everstep.NonRetryableError("declined")
