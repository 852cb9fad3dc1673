"""Connections of a simulated machine to a real PostgreSQL server: what is sent arrives when the seed says so, or never.

The server's part is carried out at one moment of simulated time, while the loop stands still: a thread speaks to it.
Knows nothing of workflows.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any
from unittest import mock

import asyncpg

from everstep.core.errors import StoreUnavailableError
from everstep.store.postgres.connection import ReconnectingConnection

from .store import CutAt, Faults, SeededFaults

_WRITES = re.compile(r"\b(insert into|update|delete from) \w+\.\w+")
_CARRYING = (None, "write_steps", "write_group")
"""Statements that commit what was asked for; the first is `commit`."""
_LOOK_AGAIN_SECONDS = 0.05
"""Real time after which a statement that has not been answered is asked about: it may wait for a lock."""
SWEPT_SECONDS = 120.0
"""A creation that comes late is run by nobody until the worker's sweep has found it twice."""
_HANGS = 400
"""After so many looks the server itself hangs."""


class WireFaults(Faults):
    """What goes wrong with connections: nothing in this one."""

    def loss(self) -> CutAt | None:
        """Whether the connection is lost before a statement arrives, or before its answer does."""
        return None

    def arrives_late(self) -> bool:
        """Whether a statement whose connection is lost, or whose sender is dead, arrives all the same, later."""
        return False

    def is_later(self) -> bool:
        """Whether what arrives late does so now."""
        return True

    def away(self) -> float:
        """For how many seconds nobody is let in once a connection was lost."""
        return 0.0


class SeededWireFaults(SeededFaults, WireFaults):
    """Everything that happens to a machine, and to its connections."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._losing = rng.choice((0.0, 0.02, 0.08))
        self._late = rng.choice((0.0, 1.0, 1.0))
        self._soon = rng.choice((0.03, 0.5))
        self._outages /= 10  # each of a transaction's statements may meet one, on its way and back

    def loss(self) -> CutAt | None:
        if self.peace or self._rng.random() >= self._losing:
            return None
        return self._rng.choice(("before", "after"))

    def arrives_late(self) -> bool:
        return self._rng.random() < self._late

    def is_later(self) -> bool:
        return self._rng.random() < self._soon

    def away(self) -> float:
        return self._rng.choice((0.0, 0.0, 0.3, 20.0))


class Server:
    """A thread that speaks to the server, and connections for whoever needs one; they are never made twice.

    Args:
        url: The server's first database.
        schema: What unqualified names of tables mean.
    """

    def __init__(self, url: str, schema: str) -> None:
        self._url = url
        self._settings = {"search_path": schema, "jit": "off", "plan_cache_mode": "force_generic_plan"}
        self._settings |= {"synchronous_commit": "off"}  # nobody cuts the server's power here
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._free: list[Any] = []
        self.admin = self.connect()

    def connect(self) -> Any:
        """Return a connection that nobody uses."""
        if self._free:
            return self._free.pop()
        options = {"max_cached_statement_lifetime": 0, "statement_cache_size": 200}
        return self.run(asyncpg.connect(self._url, server_settings=self._settings, **options))

    def leave(self, connection: Any) -> None:
        """Take a connection back, as the server does when its client is gone: what was not committed never was."""
        if connection.is_in_transaction():
            self.run(connection.execute("rollback"))
        self._free.append(connection)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Have something carried out while everything else stands still."""
        return self.begin(work).result(30)

    def begin(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def waits_for_a_lock(self, connection: Any) -> bool:
        pid = connection.get_server_pid()
        return bool(self.run(self.admin.fetchval("select cardinality(pg_blocking_pids($1)) > 0", pid)))

    def throw_out(self, connection: Any) -> None:
        """End a connection whose statement waits for a lock."""
        self.run(self.admin.fetchval("select pg_terminate_backend($1, 5000)", connection.get_server_pid()))

    def close(self) -> None:
        for connection in (*self._free, self.admin):
            self.run(connection.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Wires:
    """All connections of one machine, as long as it lives.

    Args:
        server: Where they lead.
        faults: What goes wrong.
        late: Statements of this machine, and of those before it, that are still under way though nobody waits.
        committed: Told after each commit what it was, in words.
        cut_off: Told that the machine dies.
    """

    def __init__(
        self,
        server: Server,
        faults: WireFaults,
        late: list[tuple[str, tuple[Any, ...]]],
        *,
        committed: Callable[[list[str]], None],
        cut_off: Callable[[], None],
    ) -> None:
        self.server = server
        self.faults = faults
        self.names: dict[str, str] = {}
        self.off = False
        self.busy = 0
        self._late = late
        self._committed = committed
        self._cut_off = cut_off
        self._open: set[Wire] = set()
        self._away_until = 0.0
        self._swept_by = 0.0

    @property
    def unswept(self) -> bool:
        """Whether something came late, and the worker that looks after what nobody runs may not have found it yet."""
        return asyncio.get_running_loop().time() < self._swept_by

    @contextmanager
    def laid(self) -> Iterator[None]:
        """Lead every connection of the store here."""

        async def let_in(link: ReconnectingConnection, _: dict[str, Any]) -> Wire:
            return await self.connect(getattr(link, "asked", None))

        with mock.patch.object(ReconnectingConnection, "_connect_to_any_host", let_in):
            try:
                yield
            finally:
                for wire in list(self._open):
                    wire.terminate()

    async def connect(self, asked: list[str] | None) -> Wire:
        self.busy += 1
        try:
            await self.way()
        finally:
            self.busy -= 1
        if asyncio.get_running_loop().time() < self._away_until and not self.faults.peace:
            raise StoreUnavailableError("nobody is let in")
        wire = Wire(self, self.server.connect(), asked)
        self._open.add(wire)
        return wire

    async def way(self) -> None:
        """Be under way to the server, or back."""
        if self.off:
            await asyncio.get_running_loop().create_future()  # nobody is there to go on
        await asyncio.sleep(self.faults.delay())

    def part(self, wire: Wire) -> None:
        self._open.discard(wire)

    def lose(self) -> None:
        self._away_until = asyncio.get_running_loop().time() + self.faults.away()

    def committed(self, asked: list[str]) -> None:
        self._committed(asked)

    async def die(self) -> None:
        self.off = True
        self._cut_off()
        await asyncio.get_running_loop().create_future()

    def keep_for_later(self, sql: str, arguments: tuple[Any, ...]) -> None:
        """Let a statement that is complete in itself arrive when nobody expects it any more."""
        if self.faults.arrives_late():
            self._late.append((sql, arguments))

    def let_late_ones_arrive(self) -> None:
        while self._late and self.faults.is_later():
            sql, arguments = self._late.pop(0)
            self.server.run(self.server.admin.fetch(sql, *arguments))
            self._swept_by = asyncio.get_running_loop().time() + SWEPT_SECONDS
            self.committed(["what comes late"])


class Wire:
    """One connection as the store has it, in place of the driver's."""

    def __init__(self, wires: Wires, connection: Any, asked: list[str] | None) -> None:
        self._wires = wires
        self._connection = connection
        self._asked = asked
        self._waiting: Future[Any] | None = None
        self._closed = False

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        return await self._exchanged(sql, arguments, lambda: self._connection.fetch(sql, *arguments))

    async def execute(self, sql: str) -> str:
        return await self._exchanged(sql, (), lambda: self._connection.execute(sql))

    def is_closed(self) -> bool:
        return self._closed

    def is_in_transaction(self) -> bool:
        return not self._closed and self._connection.is_in_transaction()

    def terminate(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._wires.part(self)
        if self._waiting is None:
            self._wires.server.leave(self._connection)
        else:
            self._wires.server.throw_out(self._connection)

    async def close(self, timeout: float) -> None:  # the driver's
        self.terminate()

    async def _exchanged(self, sql: str, arguments: tuple[Any, ...], ask: Callable[[], Any]) -> Any:
        wires = self._wires
        whole = not self.is_in_transaction() and _WRITES.search(sql) is not None and bool(arguments)
        commits = self._asked is not None and (sql == "commit" or whole) and "renewed as" not in sql
        wires.busy += 1
        try:
            try:
                await wires.way()
                self._may_be_lost("before")
                cut = self._cut() if commits else None
                if cut == "before":
                    await wires.die()
            except BaseException:
                if whole and "fence as" in sql:
                    wires.keep_for_later(sql, arguments)
                raise
            wires.let_late_ones_arrive()
            answer = await self._answered(ask)
            if commits and not isinstance(answer, Exception):
                name = wires.names.get(sql)
                wires.committed(list(self._asked or ()) if name in _CARRYING else [name or "something"])
            if cut == "after":
                await wires.die()
            await wires.way()
            self._may_be_lost("after")
        finally:
            wires.busy -= 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _cut(self) -> CutAt | None:
        self._wires.faults.commits += 1
        return self._wires.faults.cut()

    def _may_be_lost(self, when: CutAt) -> None:
        if self._closed:
            raise ConnectionResetError("the connection is closed")
        self._lost = self._wires.faults.loss() if when == "before" else self._lost
        if self._lost == when:
            self._wires.lose()
            self.terminate()
            raise ConnectionResetError(f"lost {when} a statement")

    async def _answered(self, ask: Callable[[], Any]) -> Any:
        """Have the server carry a statement out; where it waits for a lock, time passes here."""
        server, looks, seconds = self._wires.server, 0, 0.001
        self._waiting = server.begin(ask())
        while looks < _HANGS:
            try:
                answer = self._waiting.result(_LOOK_AGAIN_SECONDS)
            except TimeoutError:
                looks += 1
                if server.waits_for_a_lock(self._connection):
                    looks = 0
                    await asyncio.sleep(seconds)
                    seconds = min(2 * seconds, 5.0)
                continue
            except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                answer = error
            self._waiting = None
            return answer
        raise AssertionError("the server hangs")
