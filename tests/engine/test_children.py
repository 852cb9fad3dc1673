"""Children: started by a step of their parent, which waits for their end across evictions, crashes and verbs."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import ClassVar

import pytest

from everstep import InstanceExistsError, InstanceStateError, InstanceTerminatedError, WorkflowEntrypoint
from everstep.core.types import InstanceLink, WaitingFor
from everstep.engine.runtime.options import EngineOptions
from everstep.store.protocol import Change, InstanceChange

from .virtual import flow


@dataclasses.dataclass
class Parcel:
    number: int


class OutOfStockError(Exception):
    pass


class Ship(WorkflowEntrypoint):
    lives: ClassVar[list[str]] = []

    async def run(self, event, step) -> Parcel:
        Ship.lives.append(event.instance_id)
        order = event.payload
        await step.sleep("pack", "1 hour")
        if order.get("fail"):
            raise OutOfStockError("none left")
        return Parcel(await step.do("number", lambda: order.get("number", 1)))


def parent_of(id=None, params=None):
    @flow
    async def order(event, step):
        parcel = await step.run_workflow("ship", Ship, params or {"number": 7}, id=id)
        return [type(parcel).__name__, parcel.number, await step.do("after", lambda: "after")]

    return order


@pytest.fixture(autouse=True)
def _fresh():
    Ship.lives = []


@pytest.fixture(params=[0, 1_000], ids=["evicted", "cached"])
def options(request):
    return EngineOptions(max_cached=request.param, drain_ms=0)


async def test_a_parent_gets_its_childs_result_as_its_own_type(running, options):
    order = parent_of()
    machine = await running(order, Ship, options=options)
    instance = await machine.create(order)
    status = await instance.status()
    assert (status.status, status.waiting_for) == ("waiting", WaitingFor("workflow", "ship"))
    await machine.advance("1 hour")
    assert await machine.output(instance) == ["Parcel", 7, "after"]


async def test_parent_and_child_know_each_other(running):
    order = parent_of("child-1")
    machine = await running(order, Ship)
    instance = await machine.create(order)
    assert (await instance.status()).children == [InstanceLink("ship", "child-1")]
    assert (await machine.handle(Ship, "child-1").status()).parent == InstanceLink("order", "one")


@pytest.mark.residency
async def test_a_waiting_parent_leaves_memory(running):
    order = parent_of()
    machine = await running(order, Ship, options=EngineOptions(max_cached=0, drain_ms=0))
    instance = await machine.create(order)
    assert not await machine.in_memory(instance)


async def test_a_childs_error_is_raised_in_its_parent_and_can_be_caught(running, options):
    @flow
    async def order(event, step):
        try:
            await step.run_workflow("ship", "ship", {"fail": True})
        except OutOfStockError as error:
            told = str(error)
        return await step.do("note", lambda: told)

    machine = await running(order, Ship, options=options)
    instance = await machine.create(order)
    await machine.advance("1 hour")
    assert await machine.output(instance) == "none left"


async def test_a_childs_uncaught_error_fails_its_parent_and_rolls_it_back(running):
    undone = []

    @flow
    async def order(event, step):
        await step.do("a", {"rollback": lambda rb: undone.append(rb.error)}, lambda: 1)
        await step.run_workflow("ship", Ship, {"fail": True})

    machine = await running(order, Ship)
    instance = await machine.create(order)
    await machine.advance("1 hour")
    assert (await instance.status()).error.name == "OutOfStockError"
    assert isinstance(undone[0], OutOfStockError)


@pytest.mark.parametrize("crash_at", ["start", "middle"])
async def test_a_crash_leaves_one_child_whose_end_its_parent_hears_of(running, crash_at):
    order = parent_of()
    machine = await running(order, Ship)
    instance = await machine.create(order)
    if crash_at == "middle":
        await machine.advance("30 minutes")
    await machine.reboot()
    await machine.advance("1 hour")
    assert (await machine.output(instance))[1] == 7
    assert len((await machine.es.workflow(Ship).list()).instances) == 1


async def test_a_crash_between_the_record_and_the_child_creates_the_child_once(running):
    order = parent_of()
    machine = await running(order, Ship)
    store, create = machine.engine.store, machine.engine.store.create
    lost = asyncio.get_running_loop().create_future()

    async def lose_children(new):
        return await (lost if new.parent is not None else create(new))

    store.create = lose_children
    instance = await machine.create(order)
    [link] = (await instance.status()).children
    await machine.crash()
    lost.cancel()
    await machine.boot()
    await machine.advance("1 hour")
    assert (await machine.output(instance))[1] == 7
    assert (await instance.status()).children == [link]


async def test_a_child_that_ended_while_the_engine_was_off_is_heard_of(running):
    order = parent_of()
    machine = await running(order, Ship)
    instance = await machine.create(order)
    store, write = machine.engine.store, machine.engine.store.write
    ended = []

    def note(change, **more):
        if change.instance is not None and change.instance.status == "complete":
            ended.append(change)
        return write(change, **more)

    store.write = note
    await machine.advance("1 hour", until=lambda: bool(ended))
    await machine.reboot()
    assert (await machine.output(instance))[1] == 7


async def test_an_id_taken_by_a_stranger_fails_the_step(running):
    order = parent_of("taken")
    machine = await running(order, Ship)
    await machine.create(Ship, {}, id="taken")
    instance = await machine.create(order)
    status = await instance.status()
    assert (status.status, status.error.name) == ("errored", "InstanceExistsError")
    assert Ship.lives == ["taken"]


async def test_an_id_taken_can_be_caught_and_stays_so_on_replay(running, options):
    @flow
    async def order(event, step):
        try:
            await step.run_workflow("ship", Ship, id="taken")
        except InstanceExistsError:
            await step.sleep("nap", "1 hour")
            return "taken"

    machine = await running(order, Ship, options=options)
    await machine.create(Ship, {}, id="taken")
    instance = await machine.create(order)
    await machine.handle(Ship, "taken").delete()
    await machine.reboot()
    await machine.advance("1 hour")
    assert await machine.output(instance) == "taken"


async def test_two_steps_of_one_parent_cannot_share_a_child(running):
    @flow
    async def order(event, step):
        first = await step.run_workflow("first", Ship, {"number": 1}, id="same")
        second = await step.run_workflow("second", Ship, {"number": 2}, id="same")
        return [first, second]

    machine = await running(order, Ship)
    instance = await machine.create(order)
    await machine.advance("2 hours")
    assert (await instance.status()).error.name == "InstanceExistsError"


async def test_params_that_cannot_be_stored_are_the_callers_error_and_leave_nothing(running):
    @flow
    async def order(event, step):
        await step.run_workflow("ship", Ship, object())

    machine = await running(order, Ship)
    instance = await machine.create(order)
    status = await instance.status()
    assert (status.status, status.children) == ("errored", [])
    assert len((await machine.es.workflow(Ship).list()).instances) == 0


async def test_terminating_a_parent_ends_its_child(running, options):
    order = parent_of("c")
    machine = await running(order, Ship, options=options)
    instance = await machine.create(order)
    await instance.terminate()
    assert (await machine.handle(Ship, "c").status()).status == "terminated"
    await machine.advance("1 day")
    assert (await instance.status()).status == "terminated"


async def test_pausing_a_parent_pauses_its_child_and_resuming_moves_its_timers(running, options):
    order = parent_of("c")
    machine = await running(order, Ship, options=options)
    instance = await machine.create(order)
    child = machine.handle(Ship, "c")
    await machine.advance("30 minutes")
    await instance.pause()
    await machine.settle()
    assert [(await one.status()).status for one in (instance, child)] == ["paused", "paused"]
    await machine.advance("1 day")
    await instance.resume()
    await machine.settle()
    await machine.advance("29 minutes")
    assert (await child.status()).status == "waiting"
    await machine.advance("1 minute")
    assert (await machine.output(instance))[1] == 7


async def test_a_parent_of_a_terminated_child_is_told_so(running, options):
    order = parent_of("c")
    machine = await running(order, Ship, options=options)
    instance = await machine.create(order)
    await machine.handle(Ship, "c").terminate()
    await machine.settle()
    with pytest.raises(InstanceTerminatedError, match="terminated"):
        await machine.output(instance)


async def test_a_parent_of_a_deleted_child_is_told_so_and_starts_no_other(running, options):
    order = parent_of("c")
    machine = await running(order, Ship, options=options)
    instance = await machine.create(order)
    await machine.handle(Ship, "c").delete()
    await machine.settle()
    await machine.reboot()
    assert (await instance.status()).error.name == "InstanceTerminatedError"
    await machine.advance("1 day")
    assert set(Ship.lives) == {"c"}
    assert len((await machine.es.workflow(Ship).list()).instances) == 0


async def test_a_child_deleted_while_its_parent_is_paused_is_not_started_again(running):
    order = parent_of("c")
    machine = await running(order, Ship)
    instance = await machine.create(order)
    await instance.pause()
    await machine.settle()
    await machine.handle(Ship, "c").delete()
    lives = list(Ship.lives)
    await instance.resume()
    await machine.settle()
    assert (await instance.status()).error.name == "InstanceTerminatedError"
    assert Ship.lives == lives


async def test_a_child_that_ends_while_its_parent_is_paused_is_heard_of_on_resuming(running):
    order = parent_of("c")
    machine = await running(order, Ship)
    instance = await machine.create(order)
    await instance.pause()
    await machine.settle()
    await machine.handle(Ship, "c").resume()
    await machine.advance("1 day")
    assert (await machine.handle(Ship, "c").status()).status == "complete"
    await instance.resume()
    assert (await machine.output(instance))[1] == 7


async def test_a_pause_taken_back_at_the_moment_a_child_ends_loses_nothing(running):
    hold = asyncio.Event()

    @flow
    async def order(event, step):
        _held, parcel = await asyncio.gather(step.do("hold", {"timeout": "7 days"}, hold.wait), late(step))
        return parcel.number

    async def late(step):
        await step.sleep("nap", "30 minutes")
        return await step.run_workflow("ship", Ship, {"number": 3}, id="c")

    machine = await running(order, Ship)
    instance = await machine.create(order)
    await machine.advance("30 minutes")
    await instance.pause()
    await machine.settle()
    await machine.handle(Ship, "c").resume()
    await machine.advance("2 hours")
    await instance.resume()
    hold.set()
    await machine.settle()
    assert await machine.output(instance) == 3


async def test_deleting_a_parent_ends_its_child(running):
    order = parent_of("c")
    machine = await running(order, Ship)
    instance = await machine.create(order)
    await instance.delete()
    assert (await machine.handle(Ship, "c").status()).status == "terminated"
    await machine.advance("1 day")


@pytest.mark.parametrize("after", ["30 minutes", "1 hour"], ids=["child at work", "child ended"])
async def test_restarting_a_parent_starts_its_child_anew_also_under_its_own_id(running, after):
    order = parent_of("c")
    machine = await running(order, Ship)
    instance = await machine.create(order)
    await machine.advance(after)
    await instance.restart()
    await machine.settle()
    assert (await instance.status()).status == "waiting"
    await machine.advance("59 minutes")
    assert (await instance.status()).status == "waiting"
    await machine.advance("1 minute")
    assert (await machine.output(instance))[1] == 7


async def test_restarting_a_parent_leaves_no_child_of_before_at_work(running):
    order = parent_of()
    machine = await running(order, Ship)
    instance = await machine.create(order)
    await instance.restart()
    await machine.settle()
    page = await machine.es.workflow(Ship).list()
    assert [(await one.status()).status for one in page] == ["waiting", "terminated"]


async def test_children_of_children_end_with_their_grandparent(running):
    middle = parent_of("c")

    @flow
    async def top(event, step):
        return await step.run_workflow("middle", middle, id="m")

    machine = await running(top, middle, Ship)
    instance = await machine.create(top)
    await instance.terminate()
    assert (await machine.handle(middle, "m").status()).status == "terminated"
    assert (await machine.handle(Ship, "c").status()).status == "terminated"


@pytest.mark.parametrize("verb", ["terminate", "delete", "restart"])
async def test_a_child_begun_while_its_parent_is_ended_is_not_left_behind(running, monkeypatch, verb):
    @flow
    async def order(event, step):
        await step.wait_for_event("go", type="go")
        return await step.run_workflow("ship", Ship, id="c")

    machine = await running(order, Ship)
    instance = await machine.create(order)
    asked = _slow_family(machine, monkeypatch, meanwhile=lambda: instance.send_event(type="go"))
    await getattr(instance, verb)()
    assert asked
    assert [(await one.status()).status for one in await machine.es.workflow(Ship).list()] in ([], ["terminated"])


@pytest.mark.parametrize("verb", ["terminate", "delete"])
async def test_a_child_begun_by_a_child_while_their_parent_is_ended_ends_as_well(running, monkeypatch, verb):
    @flow
    async def middle(event, step):
        await step.wait_for_event("go", type="go")
        return await step.run_workflow("ship", Ship, id="c")

    @flow
    async def top(event, step):
        return await step.run_workflow("middle", middle, id="m")

    machine = await running(top, middle, Ship)
    instance = await machine.create(top)
    asked = _slow_family(machine, monkeypatch, meanwhile=lambda: machine.handle(middle, "m").send_event(type="go"))
    await getattr(instance, verb)()
    assert asked
    assert (await machine.handle(middle, "m").status()).status == "terminated"
    assert (await machine.handle(Ship, "c").status()).status == "terminated"


@pytest.mark.parametrize("verb", ["terminate", "delete", "restart"])
async def test_a_child_that_ends_while_its_parent_is_ended_keeps_nobody_from_it(running, monkeypatch, verb):
    @flow
    async def ship(event, step):
        return (await step.wait_for_event("packed", type="packed")).payload

    @flow
    async def order(event, step):
        return await asyncio.gather(step.run_workflow("ship", ship), step.run_workflow("ship", ship))

    machine = await running(order, ship)
    instance = await machine.create(order)
    await machine.settle()
    second, first = await machine.es.workflow(ship).list()
    _slow_family(machine, monkeypatch, meanwhile=lambda: first.send_event(type="packed"))
    await getattr(instance, verb)()
    assert (await second.status()).status == "terminated"


async def test_a_child_that_nobody_waited_for_goes_on_when_its_parent_is_deleted_later(running):
    @flow
    async def order(event, step):
        begun = asyncio.ensure_future(step.run_workflow("ship", Ship, id="c"))
        await step.sleep("a moment", "1 second")
        return begun.done()

    machine = await running(order, Ship)
    instance = await machine.create(order)
    await machine.advance("2 seconds")
    assert (await instance.status()).output is False
    await instance.delete()
    assert (await machine.handle(Ship, "c").status()).status == "waiting"
    await machine.advance("1 hour")
    assert (await machine.handle(Ship, "c").status()).status == "complete"


@pytest.mark.parametrize("verb", ["pause", "terminate", "restart", "delete"])
async def test_a_child_that_reaches_the_disk_after_its_parent_was_moved_does_not_run(running, monkeypatch, verb):
    machine, instance = await _order_about_to_begin_its_child(running)
    store, create, now = machine.engine.store, machine.engine.store.create, machine.clock.now()
    more = {"version": None} if verb == "restart" else {}
    asked = []

    async def create_afterwards(new):
        if not asked:
            asked.append(new)
            await getattr(store, verb)("order", instance.id, now=now, **more)  # as another worker does
        return await create(new)

    monkeypatch.setattr(store, "create", create_afterwards)
    await instance.send_event(type="go")
    await machine.settle()
    assert asked
    children = [(await one.status()).status for one in await machine.es.workflow(Ship).list()]
    assert (children, Ship.lives) == (["paused"] if verb == "pause" else [], [])


async def test_a_child_begun_while_its_parent_is_being_paused_goes_on_with_it(running, monkeypatch, options):
    machine, instance = await _order_about_to_begin_its_child(running, options)
    create, paused = machine.engine.store.create, []

    async def create_afterwards(new):
        if not paused:
            paused.append(new)
            await instance.pause()
        return await create(new)

    monkeypatch.setattr(machine.engine.store, "create", create_afterwards)
    await instance.send_event(type="go")
    await machine.settle()
    child = machine.handle(Ship, "c")
    assert [(await one.status()).status for one in (instance, child)] == ["paused", "paused"]
    await machine.advance("1 day")
    assert Ship.lives == []
    await instance.resume()
    await machine.settle()
    assert [(await one.status()).status for one in (instance, child)] == ["waiting", "waiting"]
    await machine.advance("1 hour")
    assert await machine.output(instance) == 1


async def test_a_child_at_work_is_paused_with_its_parent_while_its_id_is_asked_for_again(running, monkeypatch):
    hold = asyncio.Event()

    @flow
    async def kid(event, step):
        await step.do("hold", hold.wait)
        return await step.do("after", lambda: "after")

    @flow
    async def order(event, step):
        return await step.run_workflow("kid", kid, id="c")

    machine = await running(order, kid)
    instance = await machine.create(order)
    await machine.settle()
    create, late = machine.engine.store.create, asyncio.Event()

    async def create_late(new):
        await late.wait()
        return await create(new)

    monkeypatch.setattr(machine.engine.store, "create", create_late)
    again = asyncio.ensure_future(machine.es.workflow(kid).create(id="c"))  # as its parent does in another life
    await machine.settle()
    pausing = asyncio.ensure_future(instance.pause())
    await machine.settle()
    late.set()
    with pytest.raises(InstanceExistsError):
        await again
    await pausing
    hold.set()
    await machine.settle()
    child = machine.handle(kid, "c")
    assert [(await one.status()).status for one in (instance, child)] == ["paused", "paused"]
    await instance.resume()
    await machine.settle()
    assert await machine.output(instance) == "after"


async def _order_about_to_begin_its_child(running, options=None):
    @flow
    async def order(event, step):
        await step.wait_for_event("go", type="go")
        return (await step.run_workflow("ship", Ship, id="c")).number

    machine = await running(order, Ship, options=options)
    instance = await machine.create(order)
    await machine.settle()
    return machine, instance


@pytest.mark.parametrize("after", ["at once", "when it had failed"])
async def test_restarting_a_parent_ends_every_child_it_had(running, after):
    @flow
    async def order(event, step):
        broken = step.run_workflow("broken", Ship, {"fail": True})
        return await asyncio.gather(broken, step.run_workflow("whole", Ship, id="c"), step.sleep("wait", "2 hours"))

    machine = await running(order, Ship)
    instance = await machine.create(order)
    await machine.settle()
    if after == "when it had failed":
        await machine.advance("59 minutes")
        await machine.handle(Ship, "c").pause()
        await machine.advance("1 minute")
        assert (await instance.status()).status == "errored"
    old = await machine.engine.store.find("ship", "c")
    await instance.restart()
    await machine.settle()
    new = await machine.engine.store.find("ship", "c")
    assert (new.status, new.pk > old.pk) == ("waiting", True)
    live = [one.id for one in await machine.es.workflow(Ship).list(status="waiting")]
    assert len(live) == 2


async def test_the_store_ends_a_family_in_the_transaction_that_ends_the_parent(running):
    order = parent_of("c")
    machine = await running(order, Ship)
    instance = await machine.create(order)
    # All that happens if whoever asked dies before it hears the answer.
    await machine.engine.store.terminate("order", instance.id, now=machine.clock.now())
    await machine.reboot()
    assert (await machine.handle(Ship, "c").status()).status == "terminated"
    await machine.advance("1 day")
    with pytest.raises(InstanceStateError):
        await instance.terminate()


@pytest.mark.parametrize("verb", ["terminate", "restart", "delete"])
async def test_what_the_store_refuses_leaves_parent_and_child_at_work(running, monkeypatch, verb):
    order = parent_of("c")
    machine = await running(order, Ship)
    instance = await machine.create(order)
    await machine.settle()

    async def refuse(*_, **__):
        raise InstanceStateError("not now", "instance.refused")

    with monkeypatch.context() as patched:
        patched.setattr(machine.engine.store, verb, refuse)
        with pytest.raises(InstanceStateError, match="not now"):
            await getattr(instance, verb)()
    await machine.advance("1 hour")
    assert (await machine.output(instance))[1] == 7


async def test_deleting_a_parent_that_ends_meanwhile_leaves_the_child_nobody_waited_for_at_work(running, monkeypatch):
    @flow
    async def order(event, step):
        begun = asyncio.ensure_future(step.run_workflow("ship", Ship, id="c"))
        await step.wait_for_event("go", type="go")
        return begun.done()

    machine = await running(order, Ship)
    instance = await machine.create(order)
    await machine.settle()
    store, delete = machine.engine.store, machine.engine.store.delete

    async def delete_once_ended(workflow, id, *, now):
        pk = (await store.find(workflow, id)).pk
        await store.write(Change(pk, instance=InstanceChange("complete", ended_at=now)))
        return await delete(workflow, id, now=now)

    monkeypatch.setattr(store, "delete", delete_once_ended)
    await instance.delete()
    await machine.advance("1 hour")
    assert (await machine.handle(Ship, "c").status()).status == "complete"


def _slow_family(machine, monkeypatch, *, meanwhile):
    """Have something happen once, and all that follows from it, while the store is asked for a family."""
    family, asked = machine.engine.store.descendants, []

    async def slow_family(pk):
        found = await family(pk)
        if not asked:
            asked.append(pk)
            await meanwhile()
            await asyncio.sleep(0.1)
        return found

    monkeypatch.setattr(machine.engine.store, "descendants", slow_family)
    return asked


async def test_a_child_still_in_line_when_its_parent_is_ended_is_not_begun(running):
    @flow
    async def order(event, step):
        await step.wait_for_event("go", type="go")
        return await step.run_workflow("ship", Ship, id="c")

    machine = await running(order, Ship, options=EngineOptions(max_creating=1))
    instance = await machine.create(order)
    places = machine.engine.creator._admission
    await places.acquire()
    await instance.send_event(type="go")
    await machine.settle()
    assert places.waiting == 1
    await instance.terminate()
    places.release()
    await machine.settle()
    assert not await machine.es.workflow(Ship).list()
    assert places.taken == 0


async def test_a_hundred_children_at_once_all_come_back(running, options):
    @flow
    async def order(event, step):
        parcels = await asyncio.gather(*(step.run_workflow(f"ship {n}", Ship, {"number": n}) for n in range(100)))
        return sum(parcel.number for parcel in parcels)

    machine = await running(order, Ship, options=options)
    instance = await machine.create(order)
    await machine.advance("1 hour")
    assert await machine.output(instance) == sum(range(100))
