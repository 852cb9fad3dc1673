"""Errors, in steps and out of them."""

from __future__ import annotations

import builtins
import inspect

import pytest

import everstep
from everstep import EverstepError, NonRetryableError, StepError

from .factories import AWAY, flow, one_step, state

ONCE = {"retries": {"limit": 0}}


class AppError(Exception):
    """An importable error with plain arguments."""

    def __init__(self, sku, left):
        super().__init__(sku, left)
        self.sku, self.left = sku, left


def raising(error):
    async def fail():
        raise error

    return fail


def caught(error):
    """Make a workflow that catches what its step ended with, live and on replay."""
    seen = []

    @flow
    async def shop(event, step):
        try:
            await step.do("charge", ONCE, raising(error))
        except Exception as found:
            seen.append(found)
        await step.sleep("nap", "1 hour")

    return shop, seen


@pytest.mark.parametrize(
    "error",
    [ValueError("no"), KeyError("sku"), OSError(2, "gone"), AppError("tea", 3), NonRetryableError("declined")],
)
async def test_a_steps_final_error_is_raised_as_the_same_class_live_and_on_replay(running, error):
    """S §1.4"""
    shop, seen = caught(error)
    machine = await running(shop, options=AWAY)
    await machine.create(shop)
    await machine.advance("1 hour")
    assert len(seen) >= 2
    assert {type(one) for one in seen} == {type(error)}
    assert {one.args for one in seen} == {error.args}


async def test_an_error_whose_class_cannot_be_rebuilt_is_a_step_error_with_name_and_message(running):
    """S §1.4"""

    class LocalError(Exception):
        pass

    shop, seen = caught(LocalError("hidden here"))
    machine = await running(shop, options=AWAY)
    await machine.create(shop)
    await machine.advance("1 hour")
    assert len(seen) >= 2
    assert {(type(one), one.name, one.message) for one in seen} == {(StepError, "LocalError", "hidden here")}


async def test_a_non_retryable_error_can_be_caught_and_the_workflow_goes_on(running):
    """I §1.6"""
    shop, seen = caught(NonRetryableError("declined"))
    machine = await running(shop)
    instance = await machine.create(shop)
    await machine.advance("1 hour")
    assert await state(instance) == "complete"
    assert str(seen[0]) == "declined"


async def test_the_status_has_the_original_name_and_message(running):
    """I §1.6"""
    machine = await running(shop := one_step(raising(NonRetryableError("card 4242 was declined"))))
    found = await (await machine.create(shop)).status()
    assert (found.error.name, found.error.message) == ("NonRetryableError", "card 4242 was declined")


async def test_the_result_raises_what_the_instance_ended_with(running):
    """S §1.3"""
    machine = await running(shop := one_step(raising(AppError("tea", 3)), ONCE))
    instance = await machine.create(shop)
    with pytest.raises(AppError) as failed:
        await instance.result()
    assert (failed.value.sku, failed.value.left) == ("tea", 3)


async def test_the_text_of_the_traceback_is_kept_for_people(running):
    """S §1.4"""
    machine = await running(shop := one_step(raising(LookupError("no")), ONCE))
    found = await (await machine.create(shop)).status(steps=True)
    assert "LookupError: no" in found.steps[0].error.traceback
    assert "in fail" in found.steps[0].error.traceback


async def test_an_error_outside_steps_ends_the_instance_without_retries(running):
    """I §1.1"""
    lives = []

    @flow
    async def shop(event, step):
        lives.append(1)
        raise LookupError("no")

    machine = await running(shop)
    instance = await machine.create(shop)
    await machine.advance("1 day")
    assert (lives, await state(instance)) == ([1], "errored")


async def test_code_that_catches_exception_does_not_swallow_control_flow(running):
    """S §1.4"""
    swallowed = []

    @flow
    async def shop(event, step):
        try:
            await step.sleep("nap", "1 hour")
        except Exception as error:
            swallowed.append(error)
        return "awake"

    machine = await running(shop, options=AWAY)
    instance = await machine.create(shop)
    await machine.advance("1 hour")
    assert await machine.output(instance) == "awake"
    assert swallowed == []


def test_every_error_has_a_stable_code_and_is_an_everstep_error():
    """S §1.4, I §2.8"""
    names = [getattr(everstep, name) for name in everstep.__all__]
    errors = [one for one in names if inspect.isclass(one) and issubclass(one, BaseException)]
    assert len(errors) > 15
    for error in errors:
        assert issubclass(error, EverstepError)
        assert isinstance(error.code, str)
        assert error.code


def test_timeouts_and_wrong_values_are_also_what_python_calls_them():
    """S §1.4"""
    assert issubclass(everstep.WorkflowTimeoutError, builtins.TimeoutError)
    assert issubclass(everstep.InvalidNameError, ValueError)
    assert issubclass(everstep.NotSerializableError, TypeError)


def test_the_shapes_that_functions_of_users_receive_are_public_names():
    """S §1.3"""
    for name in ("RetryContext", "RollbackContext", "RollbackStatus", "BatchError", "CreateBatchResult"):
        assert hasattr(everstep, name), name
