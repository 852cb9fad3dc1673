"""Results that nobody is shown."""

from __future__ import annotations

import json

import msgspec
import pytest

from .factories import AWAY, flow, follow, one_step

SECRET = "s3cr3t-value"  # a test's


@flow
async def keyed(event, step):
    key = await step.do("key", {"sensitive": "output"}, lambda: {"key": SECRET})
    await step.sleep("nap", "1 hour")
    return len(key["key"])


def whole(value) -> str:
    return json.dumps(msgspec.to_builtins(value), default=str)


async def test_later_code_gets_a_sensitive_result_live_and_on_replay(running):
    """I §1.3.6, S §2.10"""
    machine = await running(keyed, options=AWAY)
    instance = await machine.create(keyed)
    await machine.advance("1 hour")
    assert await machine.output(instance) == len(SECRET)


async def test_the_status_shows_a_sensitive_result_as_redacted(running):
    """I §1.3.6, S §2.10"""
    machine = await running(keyed)
    instance = await machine.create(keyed)
    found = await instance.status(steps=True)
    assert found.steps[0].output == "[REDACTED]"
    assert SECRET not in whole(found)


async def test_subscribers_see_a_sensitive_result_as_redacted(running):
    """I §1.3.6, S §2.10"""
    machine = await running(keyed)
    instance = await machine.create(keyed)
    await machine.advance("1 hour")
    events = await follow(instance)
    [completed] = [event for event in events if event.type == "step_completed"]
    assert completed.output == "[REDACTED]"
    assert SECRET not in whole(events)


async def test_errors_are_not_redacted(running):
    """I §1.3.6"""

    async def fail():
        raise LookupError("shown")

    machine = await running(shop := one_step(fail, {"sensitive": "output", "retries": {"limit": 0}}))
    found = await (await machine.create(shop)).status(steps=True)
    assert found.error.message == "shown"
    assert found.steps[0].error.message == "shown"


async def test_the_config_says_that_a_step_is_sensitive(running):
    """I §1.3.1"""
    machine = await running(keyed)
    found = await (await machine.create(keyed)).status(steps=True)
    assert found.steps[0].config["sensitive"] == "output"


async def test_a_sensitive_stream_is_redacted_too(running):
    """I §1.3.5, §1.3.6"""

    async def export():
        yield SECRET.encode()

    machine = await running(shop := with_export(export))
    instance = await machine.create(shop)
    found = await instance.status(steps=True)
    assert found.steps[0].output == "[REDACTED]"
    assert found.output == SECRET[::-1]


def with_export(export):
    @flow
    async def shop(event, step):
        stream = await step.do("export", {"sensitive": "output"}, export)
        return b"".join([piece async for piece in stream]).decode()[::-1]

    return shop


@pytest.mark.parametrize("bad", [object(), {1, 2, object()}])
async def test_a_sensitive_result_that_cannot_be_stored_shows_no_part_of_itself(running, bad):
    """S §2.10"""
    machine = await running(shop := one_step(lambda: {"key": SECRET, "bad": bad}, {"sensitive": "output"}))
    found = await (await machine.create(shop)).status(steps=True)
    assert found.error.name == "NotSerializableError"
    assert SECRET not in whole(found)
