"""Parents at work with one worker that another one moves: no child of theirs is left at work, whoever is late."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from everstep import Everstep, WorkflowEntrypoint
from everstep.engine.engine import Engine
from everstep.store.postgres.batch import InstanceInsert
from everstep.store.protocol import Claim, NewInstance, Transition
from postgres_server import PostgresServer

RAN: list[str] = []


class Kid(WorkflowEntrypoint[Any, Any]):
    """Has one effect, after a moment."""

    async def run(self, event: Any, step: Any) -> Any:
        if nap := event.payload["nap"]:
            await step.sleep("nap", nap)
        return await step.do("effect", self.effect, event.instance_id)

    async def effect(self, id: str) -> int:
        RAN.append(id)
        return 7


class Dad(WorkflowEntrypoint[Any, Any]):
    """Has some children, with ids that say whose they are."""

    async def run(self, event: Any, step: Any) -> Any:
        await step.do("first", asyncio.sleep, event.payload.get("first", 0))
        kids = range(event.payload.get("kids", 1))
        begun = (step.run_workflow(f"kid {n}", Kid, event.payload, id=f"{event.instance_id}-{n}") for n in kids)
        return sum(await asyncio.gather(*begun))


@pytest.fixture
async def two(postgres_server: PostgresServer) -> AsyncIterator[tuple[Everstep, Everstep]]:
    """An engine that takes instances, and another one on the same database that does not."""
    RAN.clear()
    url = postgres_server.empty_schema()
    async with Everstep([Dad, Kid], database=url) as takes, Everstep([Dad, Kid], database=url) as asks:
        engine_of(asks).dispatcher.stop()
        yield takes, asks


def engine_of(es: Everstep) -> Engine:
    return es.control._engine


async def live_kids(es: Everstep) -> list[str]:
    counts = (await es.control.counts()).get("kid", {})
    return sorted(status for status in counts if status not in ("complete", "terminated", "errored"))


async def until(condition: Any) -> None:
    async with asyncio.timeout(15):
        while not await condition():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("verb", ["pause", "terminate", "restart", "delete"])
async def test_a_child_that_reaches_the_disk_after_another_worker_moved_its_parent_does_not_run(two, verb: str):
    takes, asks = two
    store, late = engine_of(takes).store, asyncio.Event()
    create, held = store.create, list[str]()

    async def create_late(new: NewInstance) -> int:
        if new.parent is not None and not held:
            held.append(new.id)
            await late.wait()
        return await create(new)

    store.create = create_late  # type: ignore[method-assign]
    dad = await takes.workflow(Dad).create(id="d", params={"nap": "0.5 seconds"})
    await until(lambda: asyncio.sleep(0, bool(held)))
    more = {"version": None} if verb == "restart" else {}
    await getattr(engine_of(asks).store, verb)("dad", "d", now=engine_of(asks).clock.now(), **more)
    late.set()
    if verb == "restart":
        assert await dad.result(timeout="10 seconds") == 7
        assert RAN == ["d-0"]
        return
    await asyncio.sleep(1.5)
    assert RAN == []
    assert await live_kids(asks) == (["paused"] if verb == "pause" else [])
    if verb == "pause":
        await dad.resume()
        assert await dad.result(timeout="10 seconds") == 7


def late_answer(es: Everstep, holds_back: Callable[[Any, Any], bool]) -> tuple[asyncio.Event, asyncio.Event]:
    """Hold an answer of the database back: the first event says that it was carried out, the second one lets it in."""
    carried_out, let_in = asyncio.Event(), asyncio.Event()
    pipeline = engine_of(es).store._pipeline  # type: ignore[attr-defined]
    carry = pipeline._execute

    async def carry_late(writer: int, operations: Sequence[Any], token: object) -> list[Any]:
        answers: list[Any] = await carry(writer, operations, token)
        if not carried_out.is_set() and holds_back(operations[0], answers[0]):
            carried_out.set()
            await let_in.wait()
        return answers

    pipeline._execute = carry_late
    return carried_out, let_in


def followed(es: Everstep, pk: int) -> asyncio.Event:
    """Tell when an engine has followed what others did to an instance."""
    done, lease = asyncio.Event(), engine_of(es).lease
    assert lease is not None
    reconcile = lease.reconcile

    async def reconcile_and_tell(one: int) -> None:
        await reconcile(one)
        if one == pk:
            done.set()

    lease.reconcile = reconcile_and_tell  # type: ignore[method-assign]
    return done


VERBS = ["pause", "terminate", "restart", "delete"]


async def kid_runs_once_and_not_before_its_time(
    two, verb: str, dad: Any, held_back: tuple[asyncio.Event, asyncio.Event]
) -> None:
    """Have another worker move the family of a child that its owner has yet to hear of."""
    takes, asks = two
    carried_out, let_in = held_back
    async with asyncio.timeout(15):
        await carried_out.wait()
        kid = await engine_of(asks).store.find("kid", "d-0")
        heard = followed(takes, kid.pk)
        await getattr(await asks.workflow(Dad).get("d"), verb)()
        await heard.wait()
    let_in.set()
    if verb == "pause":
        await until(lambda: _is_paused(asks, "dad", "d"))
    if verb != "restart":
        await asyncio.sleep(0.3)
        assert RAN == []
        assert await live_kids(asks) == (["paused"] if verb == "pause" else [])
    if verb == "pause":
        await dad.resume()
    if verb in ("pause", "restart"):
        assert await dad.result(timeout="10 seconds") == 7
        assert RAN == ["d-0"]


@pytest.mark.parametrize("verb", VERBS)
async def test_a_child_that_another_worker_moves_while_a_claim_brings_it_does_not_run(two, monkeypatch, verb: str):
    takes, _ = two
    monkeypatch.setattr(engine_of(takes).slots, "acquire", lambda _: False)  # it is created as if there were no room
    held_back = late_answer(takes, lambda _, answer: isinstance(answer, Claim) and _has_kid_in(answer))
    dad = await takes.workflow(Dad).create(id="d", params={"nap": None})
    await kid_runs_once_and_not_before_its_time(two, verb, dad, held_back)


@pytest.mark.parametrize("verb", VERBS)
async def test_a_child_that_another_worker_moves_before_its_creator_has_heard_of_it_does_not_run(two, verb: str):
    takes, _ = two
    held_back = late_answer(takes, lambda one, _: isinstance(one, InstanceInsert) and one.new.parent is not None)
    dad = await takes.workflow(Dad).create(id="d", params={"nap": None})
    await kid_runs_once_and_not_before_its_time(two, verb, dad, held_back)


def _has_kid_in(claim: Claim) -> bool:
    return any(one.instance.workflow == "kid" for one in claim.claimed)


async def _is_paused(es: Everstep, workflow: str, id: str) -> bool:
    found = await engine_of(es).store.find(workflow, id)
    return found is not None and found.status == "paused"


async def test_a_restart_that_is_slow_to_return_ends_no_child_of_the_new_life(two):
    takes, asks = two
    dad = await takes.workflow(Dad).create(id="d", params={"nap": "0.5 seconds"})
    store = engine_of(asks).store
    await until(lambda: _has_kid(store, above=0))
    old = await store.find("kid", "d-0")
    restart = store.restart

    async def slow_restart(*which: Any, **named: Any) -> Transition:
        done = await restart(*which, **named)
        await until(lambda: _has_kid(store, above=old.pk))
        return done

    store.restart = slow_restart  # type: ignore[method-assign]
    await (await asks.workflow(Dad).get("d")).restart()
    assert await dad.result(timeout="10 seconds") == 7
    assert RAN == ["d-0"]


async def _has_kid(store: Any, *, above: int) -> bool:
    kid = await store.find("kid", "d-0")
    return kid is not None and kid.pk > above


@pytest.mark.parametrize("verb", ["terminate", "delete"])
async def test_no_child_of_those_that_another_worker_ends_is_left(two, verb: str):
    takes, asks = two
    moments = random.Random(3)
    for number in range(30):
        await takes.workflow(Dad).create(id=f"d{number}", params={"nap": "2 seconds", "kids": 3, "first": 0.02})
        await asyncio.sleep(moments.random() * 0.06)
        dad = await asks.workflow(Dad).get(f"d{number}")
        await getattr(dad, verb)()
    assert await live_kids(asks) == []
    await asyncio.sleep(2.5)
    assert RAN == []


async def test_parents_restarted_by_another_worker_get_the_results_of_their_new_children(two):
    takes, asks = two
    moments = random.Random(5)

    async def one(number: int) -> int:
        dad = await takes.workflow(Dad).create(id=f"d{number}", params={"nap": "0.3 seconds", "kids": 3})
        await asyncio.sleep(moments.random() * 0.3)
        await (await asks.workflow(Dad).get(f"d{number}")).restart()
        return await dad.result(timeout="20 seconds")

    for start in range(0, 40, 10):
        assert await asyncio.gather(*(one(number) for number in range(start, start + 10))) == [21] * 10


async def test_a_parent_and_its_child_ended_at_once_by_two_workers_do_not_wait_for_each_other(two):
    takes, asks = two
    for number in range(20):
        await takes.workflow(Dad).create(id=f"d{number}", params={"nap": "1 hour", "kids": 2})
    await until(lambda: _counted(asks, 40))

    async def end(es: Everstep, workflow: Any, id: str) -> None:
        await engine_of(es).store.terminate(workflow, id, now=engine_of(es).clock.now())

    began = asyncio.get_running_loop().time()
    for number in range(20):
        racers = (end(takes, "kid", f"d{number}-0"), end(asks, "dad", f"d{number}"), end(takes, "kid", f"d{number}-1"))
        await asyncio.gather(*racers, return_exceptions=True)
    assert asyncio.get_running_loop().time() - began < 10  # a deadlock takes the server a second to find
    assert await live_kids(asks) == []


async def _counted(es: Everstep, count: int) -> bool:
    return (await es.control.counts()).get("kid", {}).get("waiting") == count
