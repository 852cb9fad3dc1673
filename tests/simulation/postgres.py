"""The PostgreSQL store in a simulated world: a real server; machines die and connections are lost by a seed.

What is simulated is the machine: time, the order of its tasks, when a statement arrives and when its answer does, what
is lost, and when the machine dies. What is real is the store, to the last statement, and the server. Each statement is
carried out at one moment of simulated time, so that a seed gives the same trace again: the server answers the same to
the same statements. It is asked for nothing that depends on its clock but whether a lease stands, and the leases of the
dead are ended by the test.

Not simulated: the server's own death, a lease that lapses while its worker lives, several workers at a time, and
notifications (a heartbeat brings the same). `tests/workers` has these, with real processes in real time.
Beats are rarer than in life, as each one is a statement and seeds live for hours.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any
from unittest import mock

from everstep.engine.scheduling import lease
from everstep.store import retry
from everstep.store.postgres import write_pipeline
from everstep.store.postgres.batch import ChangeRows, InstanceInsert
from everstep.store.postgres.store import PostgresStore

from .store import Faults, SeededFaults
from .wires import SeededWireFaults, Server, WireFaults, Wires

LEASE_MS = 10 * 3_600_000
HEARTBEAT_SECONDS = 20.0
_TABLES = ("instance", "step", "attempt", "event", "status_event", "chunk", "tag", "invalidation", "writer", "worker")


class PostgresDisk:
    """What a crash leaves: a schema, and what is still under way to the server. One for all seeds, emptied for each."""

    def __init__(self, url: str) -> None:
        self.url = url
        server, schema = url.split("?schema=")
        asyncio.run(_migrated(url))
        self._server = Server(server, schema)
        self._late: list[tuple[str, tuple[Any, ...]]] = []

    def rows(self, sql: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Look at what is written."""
        numbers = itertools.count(1)
        asked = "".join(f"${next(numbers)}" if one == "?" else one for one in sql)
        return [tuple(row) for row in self._server.run(self._server.admin.fetch(asked, *arguments))]

    def seeded_faults(self, rng: random.Random) -> SeededFaults:
        return SeededWireFaults(rng)

    def store(
        self, faults: Faults, *, committed: Callable[[list[str]], None], cut_off: Callable[[], None]
    ) -> SimulatedPostgresStore:
        wire_faults = faults if isinstance(faults, WireFaults) else _Reliable(faults)
        wires = Wires(self._server, wire_faults, self._late, committed=committed, cut_off=cut_off)
        return SimulatedPostgresStore(self.url, wires)

    def clear(self) -> None:
        """Forget everything, the numbers given out included."""
        self._late.clear()
        keys = ("instance', 'pk", "event', 'id", "invalidation', 'id", "worker', 'id")
        sequences = [f"select setval(pg_get_serial_sequence('{key}'), 1, false)" for key in keys]
        emptied = [f"delete from {table}" for table in _TABLES]
        script = "; ".join([*emptied, *sequences, "select setval('position', 1, false)"])
        self._server.run(self._server.admin.execute(script))

    def close(self) -> None:
        self._server.close()

    def died(self) -> None:
        self._server.run(self._server.admin.execute("update worker set lease_until = '-infinity'"))


class SimulatedPostgresStore(PostgresStore):
    """The store as it is, on connections of a simulated machine; says in words what it is asked for."""

    def __init__(self, url: str, wires: Wires) -> None:
        super().__init__(url, lease_ms=LEASE_MS)
        self._wires = wires
        self._listen_connection = None
        self.released = False
        for link in (self._control_connection, *(writer.connection for writer in self._writers)):
            link.asked = []  # type: ignore[attr-defined]  # for the wires
        wires.names = {sql: name for name, sql in self._queries.items()}

    @property
    def idle(self) -> bool:
        """Whether everything that was asked for is done, and heard of."""
        return not (self.busy or self._wires.busy or self._wires.unswept)

    @property
    def off(self) -> bool:
        return self._wires.off

    @off.setter
    def off(self, off: bool) -> None:
        self._wires.off = off

    @contextlib.contextmanager
    def alive(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Have time pass for the store, and for the worker's heartbeat, as it does in the simulation."""
        with contextlib.ExitStack() as stack:
            for module in (lease, write_pipeline, retry):
                stack.enter_context(mock.patch.object(module, "time", SimpleNamespace(monotonic=loop.time)))
            stack.enter_context(mock.patch.object(lease, "EVERY_SECONDS", HEARTBEAT_SECONDS))
            stack.enter_context(mock.patch.object(retry, "_chance", random.Random(1)))
            stack.enter_context(self._wires.laid())
            yield

    async def release(self, *, now: int) -> None:
        await super().release(now=now)
        self.released = True

    def _work(self, verb: str, *arguments: Any, **named: Any) -> Any:
        work = super()._work(verb, *arguments, **named)
        by_name = len(arguments) > 1 and isinstance(arguments[1], str)
        work.asked = f"{verb} {arguments[1]}" if by_name else verb  # type: ignore[attr-defined]
        return work

    async def _execute(self, writer: int, operations: Sequence[Any], token: object) -> list[Any]:
        self._writers[writer - 1].connection.asked[:] = map(_in_words, operations)  # type: ignore[attr-defined]
        return await super()._execute(writer, operations, token)


class _Reliable(WireFaults):
    """Connections that are never lost, with a machine that has faults of its own."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    @property  # type: ignore[override]
    def commits(self) -> int:
        return self._faults.commits

    @commits.setter
    def commits(self, number: int) -> None:
        self._faults.commits = number

    def delay(self) -> float:
        return self._faults.delay()

    def cut(self) -> Any:
        return self._faults.cut()


async def _migrated(url: str) -> None:
    store = PostgresStore(url)
    await store.open()
    await store.close()


def _in_words(operation: Any) -> str:
    if isinstance(operation, InstanceInsert):
        return f"create {operation.new.id}"
    if isinstance(operation, ChangeRows):
        steps = [f"{row[2]} {row[3]} {row[5]}#{row[6]}" for row in operation.steps]
        moved = [f"{operation.transition[1]} due {operation.transition[2]}"] if operation.transition else []
        return f"write {operation.pk}: " + ", ".join(steps + moved)
    return getattr(operation.work, "asked", "something")
