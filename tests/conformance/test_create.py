"""Creating instances, alone and in batches."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

import pytest

from everstep import InstanceExistsError, InstanceNotFoundError, WorkflowEntrypoint

from .factories import Gate, flow, one_step, quick, state


@pytest.fixture
async def shop(running):
    """A machine, and the binding of a workflow on it."""
    machine = await running(quick)
    return machine.es.workflow(quick), machine


async def test_create_returns_a_handle_as_soon_as_the_instance_is_accepted(running):
    """I §2.1"""
    machine = await running(shop := one_step(gate := Gate()))
    instance = await machine.es.workflow(shop).create(id="order-1")
    assert instance.id == "order-1"
    assert await state(instance) in {"queued", "running"}
    gate.open()


async def test_what_was_created_survives_a_crash_right_after(shop):
    """S §2.1"""
    binding, machine = shop
    await binding.create(id="order-1", params={"n": 1})
    await machine.reboot()
    assert await machine.output(machine.handle(quick, "order-1")) == 42


@pytest.mark.parametrize("id", ["a", "9", "_", "order-1", "A_b-C", "x" * 100])
async def test_an_id_has_1_to_100_letters_digits_underscores_and_hyphens(shop, id):
    """I §2.1, S §1.3"""
    binding, _ = shop
    assert (await binding.create(id=id)).id == id


@pytest.mark.parametrize("id", ["", "-a", "x" * 101, "a b", "a.b", "ä", "a/b", "a\n"])
async def test_an_impossible_id_is_refused_by_its_code(shop, id):
    """I §2.1, S §1.3"""
    binding, _ = shop
    with pytest.raises(ValueError, match="instance id") as refused:
        await binding.create(id=id)
    assert refused.value.code == "instance.invalid_id"
    assert len(await binding.list()) == 0


async def test_an_id_is_given_out_when_omitted_and_ids_are_time_ordered(shop):
    """I §2.1, S §1.3"""
    binding, machine = shop
    ids = []
    for _ in range(5):
        ids.append((await binding.create()).id)
        await machine.advance(1)
    assert ids == sorted(ids)
    assert len(set(ids)) == 5
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}", id) for id in ids)


async def test_an_id_that_exists_is_refused_and_changes_nothing(shop):
    """I §2.1, S §1.3"""
    binding, machine = shop
    instance = await machine.create(quick, {"n": 1})
    before = await instance.status(steps=True)
    with pytest.raises(InstanceExistsError, match="'one'") as refused:
        await binding.create(id="one", params={"n": 2})
    assert refused.value.code == "instance.already_exists"
    assert await instance.status(steps=True) == before


async def test_of_callers_that_race_for_an_id_one_wins(shop):
    """S §1.3"""
    binding, _ = shop
    made = await asyncio.gather(*(binding.create(id="one") for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(one, InstanceExistsError) for one in made) == 19


async def test_an_id_is_unique_per_workflow(running):
    """I §2.1"""

    @flow
    async def other(event, step):
        return "other"

    machine = await running(quick, other)
    assert [await machine.run(quick), await machine.run(other)] == [42, "other"]


async def test_an_id_is_free_again_once_its_instance_is_deleted(shop):
    """I §2.1"""
    _, machine = shop
    instance = await machine.create(quick)
    await instance.delete()
    assert await machine.run(quick) == 42


@dataclass
class Params:
    n: int


class Typed(WorkflowEntrypoint[object, Params]):  # type: ignore[type-var]
    async def run(self, event, step):
        return event.payload.n


# Batches


async def test_a_batch_creates_every_instance(shop):
    """I §2.2, S §1.3"""
    binding, machine = shop
    result = await binding.create_batch([{"id": "a"}, {"id": "b", "params": {"n": 1}}, {}])
    assert [one.id for one in result.created][:2] == ["a", "b"]
    assert (len(result.created), result.errors) == (3, [])
    await machine.settle()
    assert [await state(one) for one in result.created] == ["complete"] * 3


async def test_an_id_that_exists_fails_alone_and_is_reported_at_its_place(shop):
    """I §2.2, S §1.3"""
    binding, machine = shop
    await machine.create(quick, id="b")
    result = await binding.create_batch([{"id": "a"}, {"id": "b"}, {"id": "c"}])
    assert [one.id for one in result.created] == ["a", "c"]
    [error] = result.errors
    assert (error.index, error.id, error.code) == (1, "b", "instance.already_exists")
    assert error.message


async def test_an_id_that_stands_twice_in_a_batch_is_created_once(shop):
    """I §2.2, S §1.3"""
    binding, _ = shop
    result = await binding.create_batch([{"id": "a"}, {"id": "a"}])
    [error] = result.errors
    assert [one.id for one in result.created] == ["a"]
    assert (error.index, error.id, error.code) == (1, "a", "instance.duplicate_in_batch")


@pytest.mark.parametrize("size", [0, 101])
async def test_a_batch_has_1_to_100_instances(shop, size):
    """I §2.2, S §5"""
    binding, _ = shop
    with pytest.raises(ValueError, match="1 to 100"):
        await binding.create_batch([{} for _ in range(size)])
    assert len(await binding.list()) == 0


async def test_a_batch_may_have_100_instances(shop):
    """I §2.2, S §5"""
    binding, _ = shop
    assert len((await binding.create_batch([{} for _ in range(100)])).created) == 100


@pytest.mark.parametrize("wrong", [{"idd": "b"}, "b", 5], ids=str)
async def test_a_batch_with_something_that_describes_no_instance_creates_nothing(shop, wrong):
    """I §2.2"""
    binding, _ = shop
    with pytest.raises((TypeError, ValueError)):
        await binding.create_batch([{"id": "a"}, wrong])
    assert len(await binding.list()) == 0


@pytest.mark.parametrize("wrong", [{"retention": "soon"}, {"retention": 5}, {"tags": "x"}, {"id": 5}], ids=str)
async def test_a_batch_with_malformed_options_creates_nothing(shop, wrong):
    """I §2.2"""
    binding, _ = shop
    with pytest.raises((TypeError, ValueError)):
        await binding.create_batch([{"id": "a"}, wrong])
    assert len(await binding.list()) == 0


async def test_params_that_do_not_fit_fail_alone_in_a_batch(running):
    """S §1.3"""
    machine = await running(Typed)
    result = await machine.es.workflow(Typed).create_batch([{"params": {"n": 1}}, {"params": {"n": "x"}}])
    assert len(result.created) == 1
    assert [(one.index, one.code) for one in result.errors] == [(1, "instance.invalid_params")]


# Finding and deleting


async def test_get_returns_a_handle_on_an_instance_that_exists(shop):
    """I §2.3"""
    binding, machine = shop
    await machine.create(quick)
    found = await binding.get("one")
    assert (found.id, await found.result()) == ("one", 42)


async def test_get_of_an_unknown_id_is_not_found(shop):
    """I §2.3, §2.8"""
    binding, _ = shop
    with pytest.raises(InstanceNotFoundError, match="'nobody'") as error:
        await binding.get("nobody")
    assert error.value.code == "instance.not_found"


async def test_delete_removes_the_instance_and_all_its_state(running):
    """I §2.4"""
    machine = await running(shop := one_step(Gate()))
    instance = await machine.create(shop)
    await instance.send_event(type="tick")
    await instance.delete()
    with pytest.raises(InstanceNotFoundError):
        await instance.status()
    assert len(await machine.es.workflow(shop).list()) == 0
    again = await machine.create(shop)
    assert [step.attempts[0].attempt for step in (await again.status(steps=True)).steps] == [1]


async def test_an_instance_that_deletes_itself_stops_at_the_await(running):
    """I §2.4"""
    seen = []

    class Shop(WorkflowEntrypoint):
        async def run(self, event, step):
            me = await self.env.SHOP.get(event.instance_id)
            seen.append("before")
            await me.delete()
            seen.append("after")

    machine = await running(Shop)
    await machine.es.workflow(Shop).create(id="one")
    await machine.settle()
    assert seen == ["before"]
    assert len(await machine.es.workflow(Shop).list()) == 0


async def test_whoever_waits_for_the_result_of_a_deleted_instance_is_told(running):
    """I §2.4"""
    machine = await running(shop := one_step(Gate()))
    instance = await machine.create(shop)
    waiting = asyncio.ensure_future(instance.result())
    await machine.settle()
    await instance.delete()
    with pytest.raises(InstanceNotFoundError):
        await waiting


async def test_delete_batch_deletes_what_is_there_and_reports_what_is_not(shop):
    """I §2.3"""
    binding, machine = shop
    for id in ("a", "b"):
        await machine.create(quick, id=id)
    result = await binding.delete_batch(["a", "nobody", "b"])
    assert list(result.deleted) == ["a", "b"]
    assert [(one.index, one.id, one.code) for one in result.errors] == [(1, "nobody", "instance.not_found")]


async def test_an_id_that_stands_twice_is_deleted_once_and_reported_at_each_place(shop):
    """I §2.3"""
    binding, machine = shop
    await machine.create(quick, id="a")
    result = await binding.delete_batch(["a", "a"])
    assert (list(result.deleted), list(result.errors)) == (["a", "a"], [])


@pytest.mark.parametrize("ids", [[], ["a"] * 101, ["a", "not allowed"]], ids=["empty", "101", "malformed"])
async def test_a_malformed_batch_of_ids_deletes_nothing(shop, ids):
    """I §2.3"""
    binding, machine = shop
    await machine.create(quick, id="a")
    with pytest.raises(ValueError, match=r"batch|instance id"):
        await binding.delete_batch(ids)
    assert await state(await binding.get("a")) == "complete"


# Listing


async def test_list_gives_the_newest_first_and_a_cursor_for_the_rest(shop):
    """S §1.3"""
    binding, machine = shop
    for n in range(5):
        await machine.create(quick, id=f"i{n}")
    first = await binding.list(limit=2)
    second = await binding.list(limit=2, cursor=first.cursor)
    third = await binding.list(limit=2, cursor=second.cursor)
    assert [[one.id for one in page] for page in (first, second, third)] == [["i4", "i3"], ["i2", "i1"], ["i0"]]
    assert third.cursor is None


async def test_list_can_be_narrowed_by_status_and_by_tag(shop):
    """S §1.3"""
    binding, machine = shop
    await binding.create(id="a", tags=["red", "big"])
    await binding.create(id="b", tags=["red"])
    await binding.create(id="c")
    await machine.settle()
    assert {one.id for one in await binding.list(tag="red")} == {"a", "b"}
    assert {one.id for one in await binding.list(tag="big", status="complete")} == {"a"}
    assert len(await binding.list(status="running")) == 0
    assert (await (await binding.get("a")).status()).tags == ["red", "big"]


async def test_an_unknown_status_to_list_by_is_an_error(shop):
    """S §1.3"""
    binding, _ = shop
    with pytest.raises(ValueError, match="complete"):
        await binding.list(status="completed")
