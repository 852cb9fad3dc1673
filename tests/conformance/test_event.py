"""What `run` is told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC

import msgspec
import pytest

from everstep import InvalidParamsError, WorkflowEntrypoint

from .factories import AWAY, START, flow


@flow
async def look(event, step):
    await step.sleep("nap", "1 hour")
    return [event.payload, event.timestamp, event.instance_id, event.workflow_name, event.schedule]


async def test_the_event_says_what_when_which_instance_and_which_workflow_live_and_on_replay(running):
    """I §1.2, S §1.1"""
    machine = await running(look, options=AWAY)
    instance = await machine.create(look, {"order": 1}, id="order-1")
    await machine.advance("1 hour")
    assert await machine.output(instance) == [{"order": 1}, START, "order-1", "look", None]


async def test_the_timestamp_is_the_creations_and_aware_utc(running):
    """I §1.2, S §1.1"""

    @flow
    async def when(event, step):
        return event.timestamp.tzinfo is UTC and event.timestamp == START

    machine = await running(when)
    assert await machine.run(when) is True


async def test_the_payload_is_an_empty_dict_when_no_params_were_given(running):
    """I §1.2"""

    @flow
    async def params(event, step):
        return event.payload

    assert await (await running(params)).run(params) == {}


@pytest.mark.parametrize("field", ["payload", "timestamp", "instance_id", "workflow_name", "schedule"])
async def test_the_event_is_frozen(running, field):
    """I §1.2, S §1.1"""

    @flow
    async def change(event, step):
        with pytest.raises(AttributeError):
            setattr(event, field, 1)
        return "frozen"

    assert await (await running(change)).run(change) == "frozen"


async def test_a_replay_sees_the_payload_without_what_was_done_to_it(running):
    """I §1.2"""
    seen = []

    @flow
    async def change(event, step):
        seen.append(dict(event.payload))
        event.payload["order"] = 2
        await step.sleep("nap", "1 hour")

    machine = await running(change, options=AWAY)
    await machine.create(change, {"order": 1})
    await machine.advance("1 hour")
    assert len(seen) >= 2
    assert all(one == {"order": 1} for one in seen)


@dataclass
class Dataclass:
    order: int


class Struct(msgspec.Struct, rename="camel"):
    order_number: int


class TakesDataclass(WorkflowEntrypoint[object, Dataclass]):  # type: ignore[type-var]
    async def run(self, event, step):
        return [type(event.payload).__name__, event.payload.order]


class TakesStruct(WorkflowEntrypoint[object, Struct]):  # type: ignore[type-var]
    async def run(self, event, step):
        return [type(event.payload).__name__, event.payload.order_number]


async def test_the_payload_is_of_the_declared_type(running):
    """S §1.1"""
    machine = await running(TakesDataclass, TakesStruct)
    assert await machine.run(TakesDataclass, {"order": 1}) == ["Dataclass", 1]
    assert await machine.run(TakesStruct, {"orderNumber": 2}) == ["Struct", 2]


async def test_params_that_do_not_fit_their_type_are_refused_and_nothing_is_created(running):
    """S §1.2"""
    machine = await running(TakesDataclass)
    with pytest.raises(InvalidParamsError, match="order"):
        await machine.create(TakesDataclass, {"order": "one"})
    assert len(await machine.es.workflow(TakesDataclass).list()) == 0
