"""One mistake a line, each of which every type checker has to find. Never run.

The words after `# error:` are for readers; that the line is reported, and no other is, is what the test checks.
"""

# ruff: noqa: B018  # looking at a wrong attribute is the mistake
from __future__ import annotations

from datetime import date, timedelta
from functools import partial

from right_uses import (
    CONFIG,
    Default,
    OrderParams,
    OrderPipeline,
    Receipt,
    ShopEnv,
    Warehouse,
    charge,
    first_ctx,
    keyword_ctx,
    last_ctx,
    nothing,
    only_ctx,
    render,
    sync_last_ctx,
)

from everstep import (
    Env,
    Everstep,
    Response,
    Retries,
    StepConfig,
    StepContext,
    WorkerEntrypoint,
    Workflow,
    WorkflowEntrypoint,
    WorkflowEvent,
    WorkflowInstance,
    WorkflowStep,
)


async def arguments(step: WorkflowStep, order: OrderParams, warehouse: Warehouse) -> None:
    await step.do("charge", charge, "ord_1", "key")  # error: a string where the order belongs
    await step.do("charge", charge, order, 42)  # error: a number where the key belongs
    await step.do("charge", charge, order)  # error: no key
    await step.do("charge", charge, order, "key", "USD")  # error: one argument too many
    await step.do("charge", charge, order, "key", currncy="USD")  # error: a typo in a keyword
    await step.do("charge", charge, order, "key", currency=1)  # error: a keyword of the wrong type
    await step.do("charge", CONFIG, charge, "ord_1", "key")  # error: a wrong argument after a config
    await step.do("charge", CONFIG, charge, order)  # error: a missing argument after a config
    await step.do("charge", CONFIG, charge, order, "key", currncy="USD")  # error: a typo after a config
    await step.do("render", render, order, "2")  # error: a wrong argument of a plain function
    await step.do("reserve", warehouse.reserve, "sku")  # error: a missing argument of a method
    await step.do("reserve", warehouse.reserve, 1, 2)  # error: a wrong argument of a method
    await step.do("charge", charge(order, "key"))  # error: a call instead of a function
    await step.do("charge", partial(charge, 42))  # error: a wrong argument of a partial
    await step.do(charge, order, "key")  # error: no name
    await step.do("charge", charge, CONFIG, order, "key")  # error: the config after the function
    await step.do("charge", 5, charge, order, "key")  # error: a number for a config
    await step.do("charge")  # error: no function


async def arguments_around_ctx(step: WorkflowStep, order: OrderParams) -> None:
    await step.do("only", only_ctx, 1)  # error: an argument for a function of ctx alone
    await step.do("first", first_ctx, "ord_1")  # error: a wrong argument after ctx
    await step.do("first", first_ctx)  # error: a missing argument after ctx
    await step.do("first", first_ctx, order, currncy="USD")  # error: a typo in a keyword after ctx
    await step.do("last", last_ctx, order, 42)  # error: a wrong argument before ctx
    await step.do("last", last_ctx, order)  # error: a missing argument before ctx
    await step.do("last", sync_last_ctx, 42)  # error: a wrong argument before ctx of a plain function
    await step.do("keyword", keyword_ctx, 42)  # error: a wrong argument before a keyword-only ctx
    await step.do("keyword", keyword_ctx)  # error: a missing argument before a keyword-only ctx
    await step.do("last", CONFIG, last_ctx, order)  # error: a missing argument before ctx, after a config


async def configs(step: WorkflowStep) -> None:
    await step.do("nothing", {"retires": {"limit": 1}}, nothing)  # error: a typo in a key
    await step.do("nothing", {"retries": {"limt": 1}}, nothing)  # error: a typo in a key of retries
    await step.do("nothing", {"retries": {"limit": "5"}}, nothing)  # error: a string for a number
    await step.do("nothing", {"retries": {"limit": 5, "backoff": "exponental"}}, nothing)  # error: a typo in backoff
    await step.do("nothing", {"retries": {"delay": 10}}, nothing)  # error: a bare number for a delay
    await step.do("nothing", {"timeout": 30}, nothing)  # error: a bare number for a timeout
    await step.do("nothing", {"sensitive": "input"}, nothing)  # error: a wrong literal
    await step.do("nothing", {"retries": {"non_retryable": ("ValueError",)}}, nothing)  # error: a name for a class
    StepConfig(timout="30 seconds")  # error: a typo in a field
    StepConfig(timeout=30)  # error: a bare number for a timeout
    StepConfig(sensitive="input")  # error: a wrong literal
    Retries(limit="5")  # error: a string for a number
    Retries(delay=10)  # error: a bare number for a delay
    Retries(backoff="quadratic")  # error: an unknown backoff


async def results(step: WorkflowStep, order: OrderParams) -> None:
    charged: str = await step.do("charge", charge, order, "key")  # error: a Receipt is no string
    page: str = await step.do("render", CONFIG, render, order)  # error: bytes are no string
    made: int = await step.do("lambda", lambda: charge(order, "key"))  # error: a Receipt is no number
    unawaited: Receipt = step.do("charge", charge, order, "key")  # error: not awaited
    (await step.do("charge", charge, order, "key")).amount  # error: no such attribute
    print(charged, page, made, unawaited)


async def forgotten_awaits(step: WorkflowStep, order: OrderParams, instance: WorkflowInstance) -> None:
    @step.do
    async def fetch() -> int: ...

    step.do("charge", charge, order, "key")  # error: not awaited
    step.do("charge", CONFIG, charge, order, "key")  # error: not awaited
    step.do("render", render, order)  # error: not awaited
    step.do("last", last_ctx, order, "key")  # error: not awaited
    fetch()  # error: not awaited
    step.sleep("nap", "1 hour")  # error: not awaited
    step.wait_for_event("approval", "order.approval")  # error: not awaited
    step.wait_for_event("approval", "order.approval", payload=Receipt)  # error: not awaited
    instance.pause()  # error: not awaited
    instance.send_event(type="order.approval")  # error: not awaited


async def sleeps_and_waits(step: WorkflowStep) -> None:
    await step.sleep("nap", 10)  # error: a bare number
    await step.sleep("nap", 1.5)  # error: a bare number
    await step.sleep("10 seconds")  # error: no name
    await step.sleep(timedelta(seconds=10), "nap")  # error: the wrong way round
    await step.sleep_until("morning", "2030-01-01")  # error: a string for a datetime
    await step.sleep_until("morning", date(2030, 1, 1))  # error: a date for a datetime
    await step.wait_for_event("approval")  # error: no type
    await step.wait_for_event("approval", "order.approval", timeout=60)  # error: a bare number
    await step.wait_for_event("approval", "order.approval", "24 hours")  # error: the timeout is a keyword
    await step.wait_for_event("approval", "order.approval", payload="Receipt")  # error: a name for a type
    await step.wait_for_event("approval", "order.approval", payload=Receipt("c", 1))  # error: a value for a type
    (await step.wait_for_event("approval", "order.approval", payload=Receipt)).payload.total  # error: no such field
    (await step.wait_for_event("approval", "order.approval")).body  # error: no such field


async def declared(step: WorkflowStep) -> None:
    @step.do("fetch")
    async def fetch() -> int: ...

    step.do("fetch", confg={})  # error: a typo in an option
    step.do("fetch", config={"timout": "1 hour"})  # error: a typo in a key
    step.do("fetch", concurrent="yes")  # error: a string for a truth value
    text: str = await fetch()  # error: a number is no string
    print(text)


class WrongParams(WorkflowEntrypoint[ShopEnv, OrderParams]):
    async def run(self, event: WorkflowEvent[Receipt], step: WorkflowStep) -> None: ...  # error: other params


class WrongRun(WorkflowEntrypoint):
    def run(self, event: WorkflowEvent, step: WorkflowStep) -> None: ...  # error: not async


class WrongEnv(WorkflowEntrypoint[OrderParams]):  # error: not an Env
    pass


class WrongFetch(WorkerEntrypoint[ShopEnv]):
    async def fetch(self, request: str) -> Response: ...  # error: not a Request


class Uses(WorkflowEntrypoint[ShopEnv, OrderParams]):
    async def run(self, event: WorkflowEvent[OrderParams], step: WorkflowStep) -> None:
        event.payload.orderId  # error: the field is order_id
        event.body  # error: no such attribute
        self.env.PAYMENT_API_KYE  # error: a typo in a declared member
        self.env.MAX_ITEMS.upper()  # error: it is a number
        event.payload = OrderParams("x", 1)  # error: events are frozen
        step.run("charge", charge)  # error: no such method


async def bindings(pipeline: Workflow[OrderParams], instance: WorkflowInstance, ctx: StepContext, env: Env) -> None:
    await pipeline.create(params={"orderId": "ord_1"})  # error: a dict where OrderParams are declared
    await pipeline.create(params=Receipt("c", 1))  # error: other params
    await pipeline.create("ord_1")  # error: id is a keyword
    await pipeline.create(parms=OrderParams("x", 1))  # error: a typo in a keyword
    await pipeline.get(1)  # error: ids are strings
    await pipeline.start()  # error: no such method
    await instance.stop()  # error: no such method
    await instance.send_event("order.approval")  # error: type is a keyword
    await instance.result(timeout=30)  # error: a bare number
    (await instance.status()).state  # error: no such field
    ctx.attempts  # error: no such field
    ctx.step.counter  # error: no such field
    env.NOT_DECLARED  # error: declare it, or use env["NOT_DECLARED"]


async def embedded(es: Everstep) -> None:
    await es.workflow(OrderPipeline).create(params={"orderId": "ord_1"})  # error: a dict where OrderParams are declared
    es.workflow(Default)  # error: not a workflow
    Everstep([Default])  # error: not a workflow
    Everstep([OrderPipeline], databse="sqlite:///state.db")  # error: a typo in a keyword
    OrderPipeline.run_once("ord_1")  # error: not the declared params
    OrderPipeline.run_once(OrderParams("x", 1), 5)  # error: id is a keyword
