"""Two workers and one instance: what is in the memory of one while the other moves it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from everstep import Everstep, WorkflowEntrypoint
from everstep.core.errors import InstanceLostError, StoreUnavailableError
from everstep.engine.engine import Engine
from postgres_server import PostgresServer

RAN: list[str] = []


class Naps(WorkflowEntrypoint[Any, Any]):
    """A step, a nap, a step, a nap, a step."""

    async def run(self, event: Any, step: Any) -> Any:
        await step.do("first", {"rollback": self.undo}, self.note, "first")
        await step.sleep("nap", "1 second")
        await step.do("second", self.note, "second")
        await step.sleep("another", "0.8 seconds")
        return await step.do("third", self.note, "third")

    async def note(self, what: str) -> str:
        RAN.append(what)
        return what

    async def undo(self, _: Any) -> None:
        RAN.append("undone")


class Short(WorkflowEntrypoint[Any, Any]):
    """Twenty steps that last a moment each."""

    async def run(self, event: Any, step: Any) -> Any:
        for number in range(20):
            await step.do(f"step {number}", asyncio.sleep, event.payload["seconds"])
        return "done"


class Hears(WorkflowEntrypoint[Any, Any]):
    """Waits for an event while a step is at work."""

    async def run(self, event: Any, step: Any) -> Any:
        busy = asyncio.ensure_future(step.do("busy", asyncio.sleep, 30))
        heard = await step.wait_for_event("news", type="go", timeout="1 hour")
        busy.cancel()
        return heard.payload


class Pays(WorkflowEntrypoint[Any, Any]):
    """A step with an effect and a handler, which lasts until it is ended."""

    async def run(self, event: Any, step: Any) -> Any:
        await step.do("charge", {"rollback": self.refund}, self.charge)

    async def charge(self) -> None:
        RAN.append("charged")
        await asyncio.sleep(30)

    async def refund(self, _: Any) -> None:
        RAN.append("refunded")


WORKFLOWS = [Naps, Short, Hears, Pays]


@pytest.fixture
async def two(postgres_server: PostgresServer) -> AsyncIterator[tuple[Everstep, Everstep]]:
    """An engine that takes instances, and another one on the same database that does not."""
    RAN.clear()
    url = postgres_server.empty_schema()
    async with Everstep(WORKFLOWS, database=url) as takes, Everstep(WORKFLOWS, database=url) as asks:
        engine_of(asks).dispatcher.stop()
        yield takes, asks


def engine_of(es: Everstep) -> Engine:
    return es.control._engine


@contextlib.contextmanager
def deaf(es: Everstep) -> Iterator[None]:
    """Hold a worker's news back for as long as the block lasts."""
    worker: Any = engine_of(es).lease
    heartbeat, hears = worker._heartbeat, asyncio.Event()

    async def late() -> None:
        await hears.wait()
        await heartbeat()

    worker._heartbeat = late
    yield
    worker._heartbeat = heartbeat
    hears.set()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("verb", ["restart", "rollback"])
async def test_who_has_not_heard_yet_that_an_instance_was_moved_goes_on_from_what_is_on_disk(two, verb: str):
    takes, asks = two
    instance = await takes.workflow(Naps).create(id="x")
    await until(lambda: RAN == ["first"])
    with deaf(takes):
        await asyncio.sleep(0.1)
        asked = await asks.workflow(Naps).get("x")
        await (asked.restart() if verb == "restart" else asked.terminate(rollback=True))
        engine_of(takes).dispatcher.claim_soon()
        await asyncio.sleep(0.3)
    if verb == "restart":
        assert await instance.result(timeout="10 seconds") == "third"
        assert RAN == ["first", "first", "second", "third"]
    else:
        await until(lambda: "undone" in RAN)
        assert RAN == ["first", "undone"]


async def test_a_step_in_flight_at_one_worker_is_undone_when_another_terminates_with_rollback(two):
    takes, asks = two
    instance = await takes.workflow(Pays).create(id="x")
    await until(lambda: RAN == ["charged"])
    await (await asks.workflow(Pays).get("x")).terminate(rollback=True)
    await until(lambda: "refunded" in RAN)
    async with asyncio.timeout(5):
        while (status := await instance.status()).rollback is None:
            await asyncio.sleep(0.01)
    assert (status.status, status.rollback.outcome, RAN) == ("terminated", "complete", ["charged", "refunded"])


async def test_who_was_slow_goes_on_from_where_another_has_brought_its_instance(two):
    slow, other = two
    instance = await slow.workflow(Naps).create(id="x")
    await until(lambda: RAN == ["first"])
    with deaf(slow):
        engine_of(slow).dispatcher.stop()
        engine_of(other).dispatcher._stopped = False
        engine_of(other).dispatcher.claim_soon()
        await until(lambda: RAN == ["first", "second"])
        await until(lambda: engine_of(other).cache.get(1).waits.parked)
        engine_of(other).dispatcher.stop()
        engine_of(slow).dispatcher._stopped = False
        await asyncio.sleep(1)
        engine_of(slow).dispatcher.claim_soon()
        assert await instance.result(timeout="10 seconds") == "third"
    assert RAN == ["first", "second", "third"]


async def test_a_look_that_a_claim_overtakes_is_taken_again(two):
    takes, asks = two
    instance = await takes.workflow(Short).create(id="x", params={"seconds": 0.02})
    read = engine_of(takes).store._read

    async def slow(query: str, *arguments: Any) -> Any:
        rows = await read(query, *arguments)
        if query == "find_with_owner":
            await asyncio.sleep(0.3)
        return rows

    engine_of(takes).store._read = slow
    asked = await asks.workflow(Short).get("x")
    await asked.pause()
    await asyncio.sleep(0.1)
    await asked.resume()
    await asyncio.sleep(0.05)
    engine_of(takes).dispatcher.claim_soon()
    assert await instance.result(timeout="10 seconds") == "done"


async def test_a_pause_taken_back_before_its_owner_has_heard_stops_nobody(two):
    takes, asks = two
    instance = await takes.workflow(Short).create(id="x", params={"seconds": 0.1})
    asked = await asks.workflow(Short).get("x")
    await asked.pause()
    await asyncio.sleep(0.05)  # its owner knows, and waits for the end of the step
    with deaf(takes):
        await asked.resume()
        await asyncio.sleep(0.3)
    assert await instance.result(timeout="10 seconds") == "done"


async def test_news_whose_answer_was_lost_is_told_again(two):
    takes, asks = two
    instance = await takes.workflow(Hears).create(id="x")
    store = engine_of(takes).store
    heartbeat, lost = store.heartbeat, []

    async def loses_one(*arguments: Any) -> Any:
        news = await heartbeat(*arguments)
        if news.changed and not lost:
            lost.append(news)
            raise StoreUnavailableError("the answer was lost")
        return news

    store.heartbeat = loses_one
    await (await asks.workflow(Hears).get("x")).send_event(type="go", payload="heard")
    assert await instance.result(timeout="10 seconds") == "heard"
    assert lost


async def test_whoever_created_an_instance_that_others_have_by_now_leaves_it_to_them(two):
    creates, has_it = two
    create = engine_of(has_it).store.create

    def slow(new: Any) -> Any:
        async def others_are_quicker() -> int:
            raise InstanceLostError(await create(new))

        return asyncio.ensure_future(others_are_quicker())

    engine_of(creates).store.create = slow
    instance = await creates.workflow(Naps).create(id="x")
    assert (await instance.status()).status == "running"
    await asyncio.sleep(0.2)
    assert RAN == []


async def test_notes_are_not_left_for_those_who_have_left(postgres_server: PostgresServer):
    url = postgres_server.empty_schema()
    async with Everstep(WORKFLOWS, database=url) as stays:
        async with Everstep(WORKFLOWS, database=url) as leaves:
            engine_of(stays).dispatcher.stop()
            instances = [await leaves.workflow(Naps).create(id=f"x{number}") for number in range(3)]
            await until(lambda: all(one.waits.parked for one in engine_of(leaves).cache.all()))
        for instance in instances:
            await (await stays.workflow(Naps).get(instance.id)).terminate()
        store: Any = engine_of(stays).store
        assert await store._control_connection.fetch(f"select * from {store._url.schema}.invalidation") == []
