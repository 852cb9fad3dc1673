"""What a newcomer gets wrong, and the message that says how it is written."""

from __future__ import annotations

import re

import pytest

from everstep import ConfigError, Everstep, WorkflowEntrypoint

from .virtual import flow

MISTAKES = {
    "a step without a name": (
        lambda step: step.do(lambda: 1),
        "begins with its name: await step.do(name, fn, *args)",
    ),
    "a call in place of a function": (
        lambda step: step.do("x", work()),
        "step 'x' needs a function after its name, got coroutine; give the function and its arguments, not its call",
    ),
    "a value in place of a function": (
        lambda step: step.do("x", 5),
        "step 'x' needs a function after its name, got int; give the function and its arguments, not its call",
    ),
    "the arguments of a wait in a dict": (
        lambda step: step.wait_for_event("w", {"type": "order.paid", "timeout": "1 hour"}),
        "not in a dict: write step.wait_for_event('w', type='order.paid', timeout='1 hour')",
    ),
    "a limit outside of retries": (
        lambda step: step.do("x", {"limit": 3}, work),
        """unknown key 'limit'; write {"retries": {"limit": 3}}""",
    ),
    "a limit under another name": (
        lambda step: step.do("x", {"retryLimit": 3}, work),
        """unknown key 'retryLimit'; write {"retries": {"limit": 3}}""",
    ),
    "a limit under another name in retries": (
        lambda step: step.do("x", {"retries": {"max_attempts": 3}}, work),
        "unknown key 'max_attempts', did you mean 'limit'?",
    ),
    "a delay outside of retries": (
        lambda step: step.do("x", {"delay": "5 seconds"}, work),
        """unknown key 'delay'; write {"retries": {"delay": "5 seconds"}}""",
    ),
    "a timeout with its unit": (
        lambda step: step.do("x", {"timeoutMs": 500}, work),
        """unknown key 'timeoutMs'; write {"timeout": "500ms"}""",
    ),
    "a delay in camel case": (
        lambda step: step.do("x", {"retries": {"maxDelay": "1s"}}, work),
        "unknown key 'maxDelay', did you mean 'max_delay'?",
    ),
    "milliseconds of a sleep": (
        lambda step: step.sleep("nap", 1000),
        'write "1000 seconds", or "1000ms" where it is in milliseconds',
    ),
    "milliseconds of a timeout": (
        lambda step: step.do("x", {"timeout": 1000}, work),
        'write "1000 seconds", or "1000ms" where it is in milliseconds',
    ),
    "milliseconds of a moment": (
        lambda step: step.sleep_until("nap", 1_800_000_000_000),
        "write datetime.fromtimestamp(1800000000000 / 1000, UTC)",
    ),
    "seconds of a moment": (
        lambda step: step.sleep_until("nap", 1_800_000_000),
        "write datetime.fromtimestamp(1800000000, UTC)",
    ),
    "waitForEvent": (lambda step: step.waitForEvent("w"), "did you mean 'wait_for_event'?"),
    "sleepUntil": (lambda step: step.sleepUntil("w"), "did you mean 'sleep_until'?"),
}


async def work():
    return 1


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_a_step_that_is_written_wrongly_is_told_how_it_is_written(running, mistake):
    call, message = MISTAKES[mistake]

    @flow
    async def shop(event, step):
        await call(step)

    machine = await running(shop)
    instance = await machine.create(shop)
    found = await instance.status()
    assert found.status == "errored"
    assert message in found.error.message


async def test_an_event_in_camel_case_is_told_its_name(running):
    @flow
    async def shop(event, step):
        return event.instanceId

    machine = await running(shop)
    assert "did you mean 'instance_id'?" in (await (await machine.create(shop)).status()).error.message


CALLS = {
    "create by position": (
        lambda binding, _: binding.create({"id": "x"}),
        TypeError,
        "got a dict: create(id=…, params",
    ),
    "get_or_create by position": (
        lambda binding, _: binding.get_or_create("x"),
        TypeError,
        "got a str: get_or_create(id",
    ),
    "list by position": (lambda binding, _: binding.list("errored"), TypeError, "got a str: list(status=…"),
    "send_event by position": (
        lambda _, instance: instance.send_event("t", 1),
        TypeError,
        "send_event takes its arguments by name, got a str: send_event(type=…, payload=…)",
    ),
    "restart by position": (lambda _, instance: instance.restart({"from": 1}), TypeError, "restart(from_step=…"),
    "terminate by position": (lambda _, instance: instance.terminate(True), TypeError, "terminate(rollback=…)"),
    "createBatch": (lambda binding, _: binding.createBatch([]), AttributeError, "did you mean 'create_batch'?"),
    "sendEvent": (lambda _, instance: instance.sendEvent(), AttributeError, "did you mean 'send_event'?"),
}


@pytest.mark.parametrize("mistake", CALLS)
async def test_a_binding_that_is_called_wrongly_is_told_how_it_is_called(running, mistake):
    @flow
    async def shop(event, step):
        await step.sleep("for long", "1 day")

    call, kind, message = CALLS[mistake]
    machine = await running(shop)
    instance = await machine.create(shop)
    with pytest.raises(kind, match=re.escape(message)):
        await call(machine.es.workflow(shop), instance)


async def test_params_and_payloads_are_passed_and_not_returned(running):
    @flow
    async def shop(event, step):
        await step.sleep("for long", "1 day")

    machine = await running(shop)
    instance = await machine.create(shop)
    large = "x" * 1_100_000
    with pytest.raises(ValueError, match="and pass a reference to it"):
        await machine.es.workflow(shop).create(params=large)
    with pytest.raises(ValueError, match="and pass a reference to it"):
        await instance.send_event(type="t", payload=large)
    with pytest.raises(TypeError, match="a is an object of class object; pass a dict"):
        await machine.es.workflow(shop).create(params={"a": object()})


async def generator(self, event, step):
    yield 1


async def no_event(self, step): ...
async def no_self(event, step): ...
async def one_more(self, event, step, params): ...
async def other_order(self, step, event): ...


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (generator, "`run` has a `yield`, which makes it a generator; return the result"),
        (no_event, "write `async def run(self, event, step)`, not `async def run(self, step)`"),
        (no_self, "write `async def run(self, event, step)`, not `async def run(event, step)`"),
        (one_more, "write `async def run(self, event, step)`, not `async def run(self, event, step, params)`"),
        (other_order, "`run` gets the event first; write `async def run(self, event, step)`"),
    ],
)
def test_a_run_of_another_form_is_refused_before_anything_starts(run, message):
    cls = type("Shop", (WorkflowEntrypoint,), {"run": run})
    with pytest.raises(ConfigError, match=re.escape(message)):
        Everstep([cls])


async def any_arguments(self, *args): ...
async def with_an_option(self, event, step, *, retries=3): ...


@pytest.mark.parametrize("run", [any_arguments, with_an_option])
def test_a_run_that_can_be_called_is_taken(run):
    assert Everstep([type("Shop", (WorkflowEntrypoint,), {"run": run})])


def test_a_class_in_place_of_the_list_of_classes_is_told_its_form():
    cls = type("Shop", (WorkflowEntrypoint,), {"run": any_arguments})
    with pytest.raises(TypeError, match=r"got the class Shop; write \[Shop\]"):
        Everstep(cls)
