"""What can be stored, and that it comes back as itself."""

from __future__ import annotations

import enum
import math
from collections import namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

import msgspec
import pydantic
import pytest

from everstep import NotSerializableError

from .factories import AWAY, attempts_of, flow, one_step, state

MIB = 1024 * 1024


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclass
class Item:
    sku: str
    price: Decimal


class Order(msgspec.Struct):
    items: list[Item]


class Model(pydantic.BaseModel):
    name: str
    when: date


class Point(NamedTuple):
    x: int
    y: int


Pair = namedtuple("Pair", "a b")  # noqa: PYI024  # the untyped kind is what is tested

VALUES = [
    None,
    True,
    0,
    -(2**80),
    1.5,
    "",
    "text ☂",
    [1, [2, [3]]],
    {"a": {"b": [None]}},
    {1: "int key", (2, 3): "tuple key"},
    datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
    datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001  # a naive one comes back naive
    date(2026, 1, 2),
    time(3, 4, 5),
    timedelta(days=-1, microseconds=7),
    Decimal("1.10"),
    UUID(int=7),
    b"\x00\xff",
    bytearray(b"\x01"),
    {1, 2},
    frozenset({"a"}),
    (1, (2, [3])),
    Colour.RED,
    Level.HIGH,
    Item("tea", Decimal("9.90")),
    Order([Item("tea", Decimal("9.90"))]),
    Model(name="m", when=date(2026, 1, 2)),
    Point(1, 2),
    Pair(1, (2,)),
    math.inf,
    -math.inf,
    {"$": "set", "v": [1]},
]


def kept(value):
    """Make a workflow that returns its step's value as text, before and after a replay, with its types."""
    seen = []

    @flow
    async def shop(event, step):
        seen.append(await step.do("value", lambda: value))
        await step.sleep("nap", "1 hour")
        return seen[-1]

    return shop, seen


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:40])
async def test_a_result_comes_back_equal_and_of_equal_type_live_and_on_replay(running, value):
    """I §1.7, S §1.2"""
    shop, seen = kept(value)
    machine = await running(shop, options=AWAY)
    instance = await machine.create(shop)
    await machine.advance("1 hour")
    assert len(seen) >= 2
    assert all((one == value, type(one)) == (True, type(value)) for one in seen)
    output = await instance.result()
    assert (output, type(output)) == (value, type(value))


async def test_nan_keeps_its_value(running):
    """S §1.2"""
    shop, seen = kept({"n": math.nan})
    machine = await running(shop, options=AWAY)
    await machine.create(shop)
    await machine.advance("1 hour")
    assert all(math.isnan(one["n"]) for one in seen)


async def test_params_and_payloads_travel_as_well_as_results(running):
    """S §1.2"""

    @flow
    async def shop(event, step):
        return [event.payload, (await step.wait_for_event("wait", "tick")).payload]

    machine = await running(shop, options=AWAY)
    instance = await machine.create(shop, VALUES)
    await instance.send_event(type="tick", payload=VALUES)
    for got in await machine.output(instance):
        assert got == VALUES
        assert [type(one) for one in got] == [type(one) for one in VALUES]


async def test_the_live_caller_gets_the_stored_value_and_not_the_original(running):
    """S §1.2"""
    original = {"list": [1]}

    @flow
    async def shop(event, step):
        got = await step.do("value", lambda: original)
        original["list"].append(2)
        return got

    assert await (await running(shop)).run(shop) == {"list": [1]}


class Connection:
    pass


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (lambda: None, "function"),
        (Connection(), "Connection"),
        ({"items": [1, 2, 3, {"price": Connection()}]}, r"items\[3\]\.price"),
        (iter([1]), "iterator"),
        (Connection, "class"),
        (ValueError("x"), "exception"),
    ],
)
async def test_what_cannot_be_stored_fails_the_instance_at_once_and_names_the_step_the_path_and_the_cure(
    running, value, shown
):
    """I §1.7, S §1.2"""
    machine = await running(shop := one_step(lambda: value))
    instance = await machine.create(shop)
    with pytest.raises(NotSerializableError, match=rf"'charge'.*{shown}.*(return|move|raise)"):
        await machine.output(instance)
    assert attempts_of(await instance.status(steps=True), "charge") == [(1, "errored", "NotSerializableError")]


async def test_a_workflow_cannot_catch_that_a_result_cannot_be_stored(running):
    """I §1.7, S §1.2"""

    @flow
    async def shop(event, step):
        try:
            await step.do("value", Connection)
        except Exception:
            return "caught"

    machine = await running(shop)
    assert await state(await machine.create(shop)) == "errored"


async def test_a_circular_value_is_refused(running):
    """I §1.7"""
    circle = [1]
    circle.append(circle)
    machine = await running(shop := one_step(lambda: circle))
    found = await (await machine.create(shop)).status()
    assert (found.error.name, "circular" in found.error.message) == ("NotSerializableError", True)


async def test_an_output_that_cannot_be_stored_is_the_instances_error(running):
    """I §1.1, §1.7"""

    @flow
    async def shop(event, step):
        return {"connection": Connection()}

    machine = await running(shop)
    found = await (await machine.create(shop)).status()
    assert (found.status, found.error.name) == ("errored", "NotSerializableError")
    assert "output" in found.error.message


async def test_params_that_cannot_be_stored_are_refused_and_nothing_is_created(running):
    """I §1.2, S §1.2"""
    machine = await running(shop := one_step(lambda: 1))
    with pytest.raises(NotSerializableError, match=r"params.*items\[0\]"):
        await machine.create(shop, {"items": [Connection()]})
    assert len(await machine.es.workflow(shop).list()) == 0


async def test_a_result_has_at_most_1_mib(running):
    """I §1.7, §3.2, S §1.2, §5"""
    fits, too_large = one_step(lambda: "x" * (MIB - 2)), one_step(lambda: "x" * MIB)
    assert len(await (await running(fits)).run(fits)) == MIB - 2
    machine = await running(too_large)
    found = await (await machine.create(too_large)).status()
    assert (found.status, found.error.name) == ("errored", "ValueTooLargeError")
    assert "'charge'" in found.error.message


async def test_params_have_at_most_1_mib(running):
    """I §3.2, S §5"""

    @flow
    async def shop(event, step):
        return len(event.payload)

    machine = await running(shop)
    assert await machine.run(shop, "x" * (MIB - 2)) == MIB - 2
    with pytest.raises(ValueError, match="1,048,576"):
        await machine.create(shop, "x" * MIB, id="two")


async def test_a_declared_result_is_restored(running):
    """S §1.2"""
    seen = []

    async def find() -> Order:
        return {"items": [{"sku": "tea", "price": "9.90"}]}

    @flow
    async def shop(event, step):
        seen.append(await step.do("find", find))
        await step.sleep("nap", "1 hour")

    machine = await running(shop, options=AWAY)
    await machine.create(shop)
    await machine.advance("1 hour")
    assert all(one == Order([Item("tea", Decimal("9.90"))]) for one in seen)
