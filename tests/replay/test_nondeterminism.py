"""Changed code is stopped at once where it contradicts its history, and goes on where it does not."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import sys

import pytest

from engine.virtual import Machine, flow
from everstep import WorkflowEntrypoint, WorkflowInstance

from .interrupting import interrupt


class Ship(WorkflowEntrypoint):
    """A child that takes an hour."""

    async def run(self, event, step):
        await step.sleep("sails", "1 hour")
        return "shipped"


class Pack(Ship):
    """Another one."""


class Code:
    """A workflow whose code changes between two lives."""

    def __init__(self, body) -> None:
        self.body = body
        self.ran: list[str] = []

    async def note(self, what):
        self.ran.append(what)
        return what

    def flow(self):
        @flow
        async def shop(event, step):
            return await self.body(step, self.note)

        return shop


# An order: three recorded steps, and a sleep that has not ended


async def order(step, note):
    await step.do("reserve", note, "reserve")
    await step.do("charge", note, "charge")
    await step.sleep("cool off", "1 hour")
    return await step.do("ship", note, "ship")


async def renamed(step, note):
    await step.do("book", note, "book")
    await step.do("charge", note, "charge")
    await step.sleep("cool off", "1 hour")
    return await step.do("ship", note, "ship")


async def second_renamed(step, note):
    await step.do("reserve", note, "reserve")
    await step.do("pay", note, "pay")
    await step.sleep("cool off", "1 hour")
    return await step.do("ship", note, "ship")


async def inserted_first(step, note):
    await step.do("check", note, "check")
    return await order(step, note)


async def inserted(step, note):
    await step.do("reserve", note, "reserve")
    await step.do("check", note, "check")
    await step.do("charge", note, "charge")
    await step.sleep("cool off", "1 hour")
    return await step.do("ship", note, "ship")


async def dropped(step, note):
    await step.do("charge", note, "charge")
    await step.sleep("cool off", "1 hour")
    return await step.do("ship", note, "ship")


async def second_dropped(step, note):
    await step.do("reserve", note, "reserve")
    await step.sleep("cool off", "1 hour")
    return await step.do("ship", note, "ship")


async def swapped(step, note):
    await step.do("charge", note, "charge")
    await step.do("reserve", note, "reserve")
    await step.sleep("cool off", "1 hour")
    return await step.do("ship", note, "ship")


async def another_kind(step, note):
    await step.do("reserve", note, "reserve")
    await step.wait_for_event("charge", "charge")


async def child_instead(step, note):
    await step.run_workflow("reserve", Ship)


async def branch_added(step, note):
    await asyncio.gather(step.do("reserve", note, "reserve"), step.do("call", note, "call"))
    await step.do("charge", note, "charge")
    await step.sleep("cool off", "1 hour")
    return await step.do("ship", note, "ship")


async def returns_at_once(step, note):
    return "early"


async def returns_early(step, note):
    await step.do("reserve", note, "reserve")
    return "early"


async def raises_at_once(step, note):
    raise ValueError("broken")


async def raises_early(step, note):
    await step.do("reserve", note, "reserve")
    raise ValueError("broken")


async def swallows_everything(step, note):
    try:
        await step.do("book", note, "book")
    except Exception:
        await note("caught")
    return "done"


# Two branches, both of which sleep


async def branches(step, note):
    async def branch(name, hours):
        await step.do(f"{name} one", note, f"{name} one")
        await step.sleep(f"{name} nap", f"{hours} hours")
        return await step.do(f"{name} two", note, f"{name} two")

    return await asyncio.gather(branch("a", 1), branch("b", 2))


async def a_third_branch(step, note):
    async def branch(name, hours):
        await step.do(f"{name} one", note, f"{name} one")
        await step.sleep(f"{name} nap", f"{hours} hours")
        return await step.do(f"{name} two", note, f"{name} two")

    return await asyncio.gather(branch("a", 1), branch("b", 2), branch("c", 3))


async def a_branch_dropped(step, note):
    async def branch(name, hours):
        await step.do(f"{name} one", note, f"{name} one")
        await step.sleep(f"{name} nap", f"{hours} hours")
        return await step.do(f"{name} two", note, f"{name} two")

    return await asyncio.gather(branch("a", 1))


async def a_branch_of_other_names(step, note):
    async def branch(name, hours):
        await step.do(f"{name} one", note, f"{name} one")
        await step.sleep(f"{name} nap", f"{hours} hours")
        return await step.do(f"{name} two", note, f"{name} two")

    return await asyncio.gather(branch("a", 1), branch("x", 2))


# A wait and two children


async def waits(step, note):
    await step.do("ask", note, "ask")
    return (await step.wait_for_event("answer", "approval", timeout="24 hours")).payload


async def another_event_type(step, note):
    await step.do("ask", note, "ask")
    return (await step.wait_for_event("answer", "decision", timeout="24 hours")).payload


async def child(step, note):
    await step.do("ask", note, "ask")
    return await step.run_workflow("delivery", Ship, id="first-parcel")


async def another_child(step, note):
    await step.do("ask", note, "ask")
    return await step.run_workflow("delivery", Pack, id="first-parcel")


async def another_child_id(step, note):
    await step.do("ask", note, "ask")
    return await step.run_workflow("delivery", Ship, id="second-parcel")


async def loop(step, note, items="abc"):
    for item in items:
        await step.do("pack", note, item)
    await step.sleep("cool off", "1 hour")
    return await step.do("ship", note, "ship")


async def another_item_first(step, note):
    return await loop(step, note, "xabc")


async def items_swapped(step, note):
    return await loop(step, note, "bac")


async def an_item_left_out(step, note):
    return await loop(step, note, "bc")


async def crates(step, note, sizes=(1, 2)):
    await asyncio.gather(*(step.run_workflow("delivery", Ship, {"size": size}) for size in sizes))
    return "shipped"


async def crates_swapped(step, note):
    return await crates(step, note, (2, 1))


async def another_crate(step, note):
    return await crates(step, note, (1, 3))


CONTRADICTIONS = [
    (order, renamed, ["'book'", "'reserve'"]),
    (order, second_renamed, ["'pay'", "'charge'"]),
    (order, inserted_first, ["'check'", "'reserve'"]),
    (order, inserted, ["'check'", "'charge'"]),
    (order, dropped, ["'reserve'"]),
    (order, second_dropped, ["'charge'"]),
    (order, swapped, ["'charge'", "'reserve'"]),
    (order, another_kind, ["step.wait_for_event('charge')", "step.do('charge')"]),
    (order, child_instead, ["step.run_workflow('reserve')", "step.do('reserve')"]),
    (order, branch_added, ["'call'"]),
    (order, returns_at_once, ["'reserve'"]),
    (order, returns_early, ["'charge'"]),
    (order, raises_at_once, ["'reserve'"]),
    (order, raises_early, ["'charge'"]),
    (order, swallows_everything, ["'book'", "'reserve'"]),
    (branches, a_third_branch, ["'c one'"]),
    (branches, a_branch_dropped, ["'b one'"]),
    (branches, a_branch_of_other_names, ["'x one'", "'b one'"]),
    (waits, another_event_type, ["'approval'", "'decision'"]),
    (child, another_child, ["ship", "pack"]),
    (child, another_child_id, ["first-parcel", "second-parcel"]),
    (loop, another_item_first, ["step.do('pack') (the 2. of that name)", "for the 1. of that name"]),
    (loop, items_swapped, ["step.do('pack')", "for the 2. of that name"]),
    (loop, an_item_left_out, ["step.do('pack')", "for the 2. of that name"]),
    (crates, crates_swapped, ["step.run_workflow('delivery')", "for the 2. of that name"]),
]
RESULTS = {order: "ship", branches: ["a two", "b two"], waits: "yes", child: "shipped", loop: "ship", crates: "shipped"}

every_contradiction = pytest.mark.parametrize(
    ("before", "after", "named"),
    [pytest.param(*one, id=f"{one[0].__name__}-{one[1].__name__}") for one in CONTRADICTIONS],
)


async def changed(running, before, after, way="crashed") -> tuple[Machine, WorkflowInstance, Code]:
    """Run one code until it rests, and bring the instance into memory with another code."""
    code = Code(before)
    shop = code.flow()
    machine = await running(shop, Ship, Pack)
    instance = await machine.create(shop)
    code.body = after
    await interrupt(machine, instance, way, wake=True)
    await machine.settle()
    return machine, instance, code


@every_contradiction
@pytest.mark.parametrize("way", ["evicted", "crashed"])
async def test_changed_code_is_stopped_at_once_and_nothing_new_runs(running, before, after, named, way):
    code = Code(before)
    shop = code.flow()
    machine = await running(shop, Ship, Pack)
    instance = await machine.create(shop)
    ran, then = list(code.ran), machine.now
    code.body = after
    await interrupt(machine, instance, way, wake=True)
    await machine.settle()
    status = await instance.status()
    assert (status.status, status.error and status.error.name) == ("errored", "NonDeterminismError")
    assert [name for name in named if name not in status.error.message] == []
    assert (code.ran, machine.now) == (ran, then)
    lists = [await machine.es.workflow(name).list() for name in ("shop", "ship", "pack")]
    assert len([one for listed in lists for one in listed.instances]) == 1 + {child: 1, crates: 2}.get(before, 0)


@every_contradiction
async def test_an_instance_resumed_on_the_repaired_code_goes_on_to_the_right_result(running, before, after, named):
    machine, instance, code = await changed(running, before, after)
    assert (await instance.status()).status == "errored"
    code.body = before
    await instance.resume()
    await machine.settle()
    assert (await instance.status()).error is None
    if before is waits:
        await instance.send_event(type="approval", payload="yes")
    await machine.advance("2 hours")
    assert await machine.output(instance) == RESULTS[before]
    assert sorted(code.ran) == sorted(set(code.ran))


async def test_an_instance_resumed_on_code_that_is_still_wrong_is_stopped_again(running):
    machine, instance, code = await changed(running, order, renamed)
    await instance.resume()
    await machine.settle()
    assert (await instance.status()).error.name == "NonDeterminismError"
    assert code.ran == ["reserve", "charge"]


# Code that is changed behind its history


async def appended(step, note):
    await order(step, note)
    return await step.do("receipt", note, "receipt")


async def last_renamed(step, note):
    await step.do("reserve", note, "reserve")
    await step.do("charge", note, "charge")
    await step.sleep("cool off", "1 hour")
    return await step.do("send", note, "send")


async def last_dropped(step, note):
    await step.do("reserve", note, "reserve")
    await step.do("charge", note, "charge")
    await step.sleep("cool off", "1 hour")
    return "kept"


async def branches_at_the_end(step, note):
    await step.do("reserve", note, "reserve")
    await step.do("charge", note, "charge")
    await step.sleep("cool off", "1 hour")
    return await asyncio.gather(step.do("x", note, "x"), step.do("y", note, "y"))


async def raises_at_the_end(step, note):
    await order(step, note)
    await step.do("refund", note, "refund")
    raise ValueError("too late")


@pytest.mark.parametrize("way", ["evicted", "crashed"])
@pytest.mark.parametrize(
    ("after", "result", "ran"),
    [
        (appended, "receipt", ["ship", "receipt"]),
        (last_renamed, "send", ["send"]),
        (last_dropped, "kept", []),
        (branches_at_the_end, ["x", "y"], ["x", "y"]),
        (raises_at_the_end, ValueError, ["ship", "refund"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_code_that_is_changed_behind_its_history_goes_on(running, after, result, ran, way):
    machine, instance, code = await changed(running, order, after, way)
    await machine.advance("1 hour")
    if result is ValueError:
        with pytest.raises(ValueError, match="too late"):
            await machine.output(instance)
    else:
        assert await machine.output(instance) == result
    assert code.ran == ["reserve", "charge", *ran]


@pytest.mark.parametrize("items", ["xyz", "axc", "aaa"], ids=["all", "one", "equal ones"])
async def test_steps_may_be_given_arguments_that_no_step_of_their_name_had(running, items):
    """What is recorded keeps its result; only arguments of another call of that name tell that calls were moved."""

    async def before(step, note):
        return await loop(step, note, "abc" if items != "aaa" else "aab")

    async def other_items(step, note):
        return await loop(step, note, items if items != "aaa" else "aax")

    machine, instance, code = await changed(running, before, other_items)
    await machine.advance("1 hour")
    assert await machine.output(instance) == "ship"
    assert len(code.ran) == 4


@pytest.mark.parametrize("what", [object(), {1, 2}, {"a": {"b"}}], ids=["object", "set", "a set inside"])
async def test_arguments_that_have_no_digest_are_not_compared(running, what):
    async def gives(step, note):
        async def ship(_, name):
            return await note(name)

        await step.do("pack", ship, what, "a")
        await step.do("pack", ship, what, "b")
        if type(what) is not object:
            await asyncio.wait_for(asyncio.shield(step.run_workflow("delivery", Ship, {"what": what})), 7200)
        return "done"

    machine, instance, _ = await changed(running, gives, gives)
    rows = await machine.engine.store.steps(1)
    assert [row.digest for row in rows] == [None] * len(rows)
    await machine.advance("2 hours")
    assert await machine.output(instance) == "done"


async def test_a_child_may_be_given_params_that_no_child_of_its_name_had(running):
    """A field with a default that is added to the class of the params must not stop the parents that wait."""
    machine, instance, _ = await changed(running, crates, another_crate)
    await machine.advance("2 hours")
    assert await machine.output(instance) == "shipped"


async def test_a_child_whose_params_todays_code_would_refuse_keeps_those_it_has(running):
    async def refused(step, note):
        await step.do("ask", note, "ask")
        return await step.run_workflow("delivery", Ship, object(), id="first-parcel")

    machine, instance, _ = await changed(running, child, refused)
    await machine.advance("2 hours")
    assert await machine.output(instance) == "shipped"


@pytest.mark.parametrize(("began", "told"), [("3.10", True), (None, False), ("here", False)])
async def test_a_contradiction_tells_of_another_version_of_python(running, began, told):
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    code = Code(order)
    shop = code.flow()
    machine = await running(shop)
    await machine.create(shop)
    assert (await machine.engine.store.find("shop", "one")).python == here
    code.body = renamed
    await machine.stop()
    with contextlib.closing(sqlite3.connect(machine.database.removeprefix("sqlite:///"))) as database, database:
        database.execute("update instance set python = ?", (here if began == "here" else began,))
    await machine.boot()
    await machine.advance("1 hour")
    status = await machine.handle(shop, "one").status()
    assert status.error.name == "NonDeterminismError"
    assert (f"begun by Python 3.10, and this is Python {here}" in status.error.message) == told


async def test_a_sleep_may_be_given_another_length_while_it_lasts(running):
    """A sleep is keyed by its name alone, and its end is fixed when it begins."""

    async def longer(step, note):
        await step.do("reserve", note, "reserve")
        await step.do("charge", note, "charge")
        await step.sleep("cool off", "3 hours")
        return await step.do("ship", note, "ship")

    machine, instance, _code = await changed(running, order, longer)
    await machine.advance("1 hour")
    assert await machine.output(instance) == "ship"
