"""What concurrent clients of several workers are answered: is there one order that explains it, whatever gets lost?"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from everstep import Everstep, WorkflowEntrypoint
from everstep.core.errors import InstanceExistsError, InstanceNotFoundError, InstanceStateError, StoreError
from postgres_server import PostgresServer
from proxies import Proxy

from .linearizable import UNKNOWN, InstanceModel, Operation, is_linearizable

pytestmark = pytest.mark.crash

ENOUGH = 2
SECONDS = 4.5


class Gather(WorkflowEntrypoint[Any, Any]):
    """Returns the payloads of the first events that come."""

    async def run(self, event: Any, step: Any) -> Any:
        got = [await step.wait_for_event(f"w{number}", type="go", timeout="1 hour") for number in range(ENOUGH)]
        return [one.payload for one in got]


class Clients:
    """Clients of several workers that ask for anything, and write down what they were answered."""

    def __init__(self, workers: list[Everstep], chance: random.Random) -> None:
        self._workers = workers
        self._chance = chance
        self._payloads = itertools.count()
        self.history: dict[str, list[Operation]] = defaultdict(list)

    async def ask(self, until: float) -> None:
        """One client: it stays with one worker, and goes from one instance to the next as time goes on."""
        binding = self._chance.choice(self._workers).workflow(Gather)
        began = time.monotonic()
        while time.monotonic() < until:
            id = f"i{int((time.monotonic() - began) / 0.4)}-{self._chance.randrange(3)}"
            what = self._chance.choice(("create", "send", "send", "status", "status", "terminate"))
            payload = next(self._payloads)
            if what == "terminate" and self._chance.random() < 0.6:
                continue
            await self.asked(id, what, payload, self.asking(binding, id, what, payload))
            await asyncio.sleep(self._chance.uniform(0, 0.05))

    async def asking(self, binding: Any, id: str, what: str, payload: int) -> Any:
        if what == "create":
            await binding.create(id=id)
            return "done"
        instance = await binding.get(id)
        match what:
            case "send":
                await instance.send_event(type="go", payload=payload)
            case "terminate":
                await instance.terminate()
            case _:
                status = await instance.status()
                if status.status == "complete":
                    return "complete", tuple(status.output)
                return "terminated" if status.status == "terminated" else "live"
        return "done"

    async def asked(self, id: str, what: str, payload: int, asking: Awaitable[Any]) -> None:
        began, ended = time.monotonic(), float("inf")
        try:
            answer = await asking
        except InstanceExistsError:
            answer = "exists"
        except InstanceNotFoundError:
            answer = "missing"
        except InstanceStateError:
            answer = "refused"
        except StoreError:
            answer = UNKNOWN
        if answer != UNKNOWN:
            ended = time.monotonic()
        elif what == "status":
            return  # says nothing
        self.history[id].append(Operation(what, payload, answer, began, ended))


async def test_one_order_explains_what_clients_of_several_workers_are_answered(postgres_server: PostgresServer):
    url = postgres_server.empty_schema()
    clients = await asked(url, [url, url, url], harm=None)
    answers = Counter(one.answer for history in clients.history.values() for one in history)
    assert answers[UNKNOWN] == 0


async def test_one_order_explains_it_when_connections_are_lost_and_outcomes_unknown(postgres_server: PostgresServer):
    url = postgres_server.empty_schema()
    proxies = [Proxy(postgres_server.port) for _ in range(3)]
    try:
        behind = [url.replace(f":{postgres_server.port}", f":{proxy.port}") for proxy in proxies]

        async def harm(chance: random.Random) -> None:
            admin = await asyncpg.connect(postgres_server.url)
            for _ in range(8):
                await asyncio.sleep(chance.uniform(0.05, 0.2))
                await admin.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where application_name = 'everstep' and random() < 0.3"
                )
            await admin.close()
            proxies[0].hold()  # longer than its lease: what it sent arrives when others have its instances
            await asyncio.sleep(2.6)
            proxies[0].heal()
            await asyncio.to_thread(proxies[1].cut)
            await asyncio.sleep(0.3)
            proxies[1].heal()

        await asked(url, behind, harm=harm)
    finally:
        for proxy in proxies:
            await asyncio.to_thread(proxy.close)


async def asked(url: str, urls: list[str], *, harm: Any) -> Clients:
    """Let clients ask for a while, and check every instance's history."""
    chance = random.Random(3)
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(Everstep([Gather], database=one, lease="2 seconds")) for one in urls]
        clients = Clients(workers, chance)
        until = time.monotonic() + SECONDS
        sides = [clients.ask(until) for _ in range(8)]
        if harm is not None:
            sides.append(harm(random.Random(4)))
        await asyncio.gather(*sides)
        await asyncio.sleep(0.5)
        reader = Everstep([Gather], database=url)
        await stack.enter_async_context(reader)
        for id in clients.history:  # what is there in the end belongs to the history
            await clients.asked(id, "status", 0, clients.asking(reader.workflow(Gather), id, "status", 0))
    answers = Counter(str(one.answer)[:12] for history in clients.history.values() for one in history)
    print(len(clients.history), dict(answers))
    for id, history in clients.history.items():
        told = "\n".join(map(str, sorted(history, key=lambda one: one.began)))
        assert is_linearizable(history, InstanceModel(ENOUGH)), f"{id}:\n{told}"
    return clients
