"""What a step may know of itself."""

from __future__ import annotations

import pytest

from everstep import current_step

from .factories import AWAY, Flaky, flow, one_step


async def test_a_parameter_named_ctx_receives_the_steps_name_count_attempt_and_config(running):
    """I §1.3.3, S §1.2"""

    async def look(ctx):
        return [ctx.step.name, ctx.step.count, ctx.attempt, ctx.config["timeout"]]

    @flow
    async def shop(event, step):
        return [await step.do("look", look), await step.do("look", {"timeout": "1 minute"}, look)]

    machine = await running(shop)
    assert await machine.run(shop) == [["look", 1, 1, "10 minutes"], ["look", 2, 1, "1 minute"]]


async def test_a_ctx_that_got_an_argument_is_left_alone(running):
    """S §1.2"""
    machine = await running(shop := flow_of(lambda ctx: ctx, "mine"))
    assert await machine.run(shop) == "mine"


def flow_of(fn, *args):
    @flow
    async def shop(event, step):
        return await step.do("look", fn, *args)

    return shop


@pytest.mark.parametrize("kind", ["async", "def", "lambda"])
async def test_every_kind_of_function_receives_ctx(running, kind):
    """S §1.2"""

    async def coroutine(ctx):
        return ctx.step.name

    def plain(ctx):
        return ctx.step.name

    fn = {"async": coroutine, "def": plain, "lambda": lambda ctx: ctx.step.name}[kind]
    machine = await running(shop := flow_of(fn))
    assert await machine.run(shop) == "look"


async def test_attempts_are_counted_from_1(running):
    """I §1.3.3"""
    seen = []

    async def look(ctx):
        seen.append(ctx.attempt)
        raise ConnectionError

    machine = await running(shop := one_step(look, {"retries": {"limit": 2, "delay": 0}}), options=AWAY)
    await machine.create(shop)
    await machine.advance("1 second")
    assert seen == [1, 2, 3]


async def test_the_config_is_a_copy_so_changing_it_changes_nothing(running):
    """I §1.3.3"""
    charge = Flaky()

    async def change(ctx):
        ctx.config["retries"]["limit"] = 0
        ctx.config["timeout"] = "1 second"
        return await charge()

    machine = await running(shop := one_step(change, {"retries": {"limit": 2, "delay": 0}}))
    await machine.create(shop)
    await machine.advance("1 second")
    assert len(charge.times) == 3


@pytest.mark.parametrize("kind", ["async", "def"])
async def test_current_step_gives_the_same_anywhere_below(running, kind):
    """S §1.2"""

    def below():
        return current_step().step.name

    async def coroutine(ctx):
        return [below(), current_step() == ctx]

    def plain(ctx):
        return [below(), current_step() == ctx]

    machine = await running(shop := flow_of(coroutine if kind == "async" else plain))
    assert await machine.run(shop) == ["look", True]


async def test_outside_a_step_there_is_no_current_step(running):
    """S §1.2"""

    @flow
    async def shop(event, step):
        with pytest.raises(RuntimeError, match="outside a step"):
            current_step()
        return "none"

    assert await (await running(shop)).run(shop) == "none"


async def test_arguments_reach_the_function_and_are_not_stored(running):
    """S §1.2"""

    class Client:
        def get(self, key, *, region):
            return f"{key} in {region}"

    def fetch(client, key, *, region):
        return client.get(key, region=region)

    @flow
    async def shop(event, step):
        return await step.do("fetch", fetch, Client(), "tea", region="eu")

    machine = await running(shop)
    assert await machine.run(shop) == "tea in eu"


async def test_the_decorator_runs_a_step_named_after_its_function(running):
    """S §1.2"""

    @flow
    async def shop(event, step):
        @step.do
        async def total(ctx):
            return ctx.step.name

        @step.do("sum up", config={"retries": {"limit": 0}})
        async def other(ctx):
            return [ctx.step.name, ctx.config["retries"]["limit"]]

        return [await total(), await other()]

    assert await (await running(shop)).run(shop) == ["total", ["sum up", 0]]


@pytest.mark.parametrize("concurrent", [False, True])
async def test_the_decorator_fills_parameters_from_earlier_steps_of_that_name(running, concurrent):
    """S §1.2"""

    @flow
    async def shop(event, step):
        @step.do("price")
        async def price():
            return 5

        @step.do("count")
        async def count():
            return 3

        @step.do("total", concurrent=concurrent)
        async def total(price, count):
            return price * count

        return await total()

    assert await (await running(shop)).run(shop) == 15
