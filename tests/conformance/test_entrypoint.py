"""What a workflow class is."""

from __future__ import annotations

import asyncio

import pytest

import everstep
from everstep import ConfigError, Env, Everstep, Workflow, WorkflowEntrypoint, WorkflowNotFoundError

from .factories import AWAY, flow, state

MEMORY = "sqlite:///:memory:"


async def test_what_run_returns_becomes_the_output(running):
    """I §1.1"""

    @flow
    async def answer(event, step):
        return {"answer": 42}

    machine = await running(answer)
    instance = await machine.create(answer)
    assert (await instance.status()).output == {"answer": 42}
    assert await instance.result() == {"answer": 42}


async def test_an_uncaught_exception_makes_the_instance_errored(running):
    """I §1.1"""

    @flow
    async def fails(event, step):
        raise LookupError("nothing there")

    machine = await running(fails)
    instance = await machine.create(fails)
    found = await instance.status()
    assert (found.status, found.error.name, found.error.message) == ("errored", "LookupError", "nothing there")


async def test_any_control_flow_of_python_may_be_used(running):
    """I §1.1"""

    @flow
    async def flows(event, step):
        seen = []
        for n in range(3):
            try:
                if n == 1:
                    raise LookupError
                seen.append(await step.do(f"step {n}", lambda n=n: n))
            except LookupError:
                seen.append(await step.do("caught", lambda: "caught"))
            finally:
                seen.append(await step.do("finally", lambda: "finally"))
        return seen

    assert await (await running(flows)).run(flows) == [0, "finally", "caught", "finally", 2, "finally"]


async def test_a_workflow_without_steps_completes(running):
    """S §1.1 (the original only expects at least one step)"""

    @flow
    async def empty(event, step):
        return None

    machine = await running(empty)
    assert await state(await machine.create(empty)) == "complete"


@pytest.mark.residency
async def test_code_outside_steps_runs_again_on_every_wake(running):
    """I §1.1, §1.4"""
    lives = []

    @flow
    async def naps(event, step):
        lives.append(1)
        await step.sleep("one", "1 hour")
        await step.sleep("two", "1 hour")

    machine = await running(naps, options=AWAY)
    await machine.create(naps)
    await machine.advance("2 hours")
    assert len(lives) == 3


async def test_memory_is_lost_while_the_instance_is_away(running):
    """I §1.1, S §2.6"""

    class Remembers(WorkflowEntrypoint):
        async def run(self, event, step):
            self.seen = getattr(self, "seen", 0) + 1
            await step.sleep("nap", "1 hour")
            return self.seen

    machine = await running(Remembers, options=AWAY)
    instance = await machine.create(Remembers)
    await machine.advance("1 hour")
    assert await machine.output(instance) == 1


@pytest.mark.parametrize("wrong", [dict, object, "OrderPipeline"])
async def test_a_class_that_is_no_workflow_is_refused(wrong):
    """I §1.1"""
    with pytest.raises(ConfigError, match="WorkflowEntrypoint"):
        Everstep([wrong], database=MEMORY)


async def test_a_workflow_without_an_async_run_is_refused():
    """I §1.1"""

    class NoRun(WorkflowEntrypoint):
        pass

    class SyncRun(WorkflowEntrypoint):
        def run(self, event, step):
            return 1

    for wrong in (NoRun, SyncRun):
        with pytest.raises(ConfigError, match="run"):
            Everstep([wrong], database=MEMORY)


async def test_both_type_arguments_are_optional(running):
    """S §1.1"""

    class Plain(WorkflowEntrypoint):
        async def run(self, event, step):
            return event.payload

    class OnlyEnv(WorkflowEntrypoint[Env]):
        async def run(self, event, step):
            return event.payload

    machine = await running(Plain, OnlyEnv)
    assert await machine.run(Plain, [1]) == [1]
    assert await machine.run(OnlyEnv, [2]) == [2]


async def test_a_workflow_is_named_after_its_class_in_kebab_case(running):
    """S §1.1"""

    class OrderPipeline(WorkflowEntrypoint):
        async def run(self, event, step):
            return event.workflow_name

    machine = await running(OrderPipeline)
    assert machine.es.workflow(OrderPipeline).name == "order-pipeline"
    assert machine.es.workflow("order-pipeline").name == "order-pipeline"
    assert await machine.run(OrderPipeline) == "order-pipeline"


async def test_an_unknown_workflow_is_an_error_that_says_which_are_known(running):
    """S §1.4"""

    @flow
    async def shop(event, step):
        return 1

    machine = await running(shop)
    with pytest.raises(WorkflowNotFoundError, match=r"'shpo'.*shop"):
        machine.es.workflow("shpo")


async def test_bindings_vars_and_secrets_are_members_of_self_env(running):
    """I §1.1, S §1.1"""

    class OrderPipeline(WorkflowEntrypoint):
        async def run(self, event, step):
            return [isinstance(self.env.ORDER_PIPELINE, Workflow), self.env.PAYMENT_API_KEY]

    machine = await running(OrderPipeline, env={"PAYMENT_API_KEY": "key"})
    assert await machine.run(OrderPipeline) == [True, "key"]


async def test_everstep_env_works_inside_steps_and_outside(running):
    """S §1.1"""

    @flow
    async def ask(event, step):
        return [everstep.env.REGION, await step.do("ask", lambda: everstep.env.REGION)]

    machine = await running(ask, env={"REGION": "eu"})
    assert await machine.run(ask) == ["eu", "eu"]


async def test_every_missing_member_of_a_declared_env_is_named_in_one_error_at_the_start():
    """S §3"""
    with pytest.raises(ConfigError, match=r"(?s)FIRST.*SECOND"):
        async with Everstep([NeedsTwo], database=MEMORY):
            pass


class TwoMissing(Env):
    FIRST: str
    SECOND: int


class NeedsTwo(WorkflowEntrypoint[TwoMissing]):
    async def run(self, event, step):
        return None


async def test_self_ctx_can_wait_until_something_is_done(running):
    """I §1.1"""
    done = asyncio.Event()

    async def work():
        done.set()

    class Waits(WorkflowEntrypoint):
        async def run(self, event, step):
            self.ctx.wait_until(work())

    machine = await running(Waits)
    await machine.run(Waits)
    await machine.settle()
    assert done.is_set()
