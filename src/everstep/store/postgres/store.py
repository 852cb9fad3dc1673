"""The store on PostgreSQL: every verb, and how it gets onto the pipeline. The statements are in `sql/postgres.sql`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from everstep.core.errors import LeaseLostError, StoreError, StoreUnavailableError
from everstep.store.cluster import HeartbeatResult
from everstep.store.health import StoreHealth
from everstep.store.postgres.batch import ChangeRows, InstanceInsert, WriteBatch
from everstep.store.postgres.connection import DatabaseUrl, ReconnectingConnection, close_links
from everstep.store.postgres.direct_url import check_same_database, direct_url
from everstep.store.postgres.key_cache import KeyCache
from everstep.store.postgres.operations import TAKEOVER_BATCH, Operations
from everstep.store.postgres.read_pool import ReadPool
from everstep.store.postgres.reads import PostgresReads
from everstep.store.postgres.schema import migrate
from everstep.store.postgres.statements import load_statements
from everstep.store.postgres.write_pipeline import TransactionOp, WritePipeline
from everstep.store.postgres.writer import FencingToken, Work, WorkerIdentity, Writer
from everstep.store.protocol import (
    Change,
    Claim,
    Deletion,
    NewInstance,
    SentEvent,
    StepKey,
    Transition,
)
from everstep.store.retry import OUTAGE_TIMEOUT_SECONDS
from everstep.store.write_callback import WriteCallback

WRITERS = 3
READERS = 3
FENCE_BATCH = 8
"""Dead workers one of the living takes over at a time: others find the rest, should many die at once."""
TAKEOVER_LEASE_MS = 1_000
"""How long a dead worker is left to whoever began to adopt its instances, before another one joins."""


class PostgresStore(PostgresReads):
    """A `Store` in a PostgreSQL database that many workers share.

    Args:
        url: The database: `postgresql://user@host/database`, with `?schema=…` for tables elsewhere than in the schema
            `everstep`, and `?statement_cache_size=0` behind a pooler in transaction mode.
        lease_ms: How long the instances of a worker that fell silent stay its own.
        direct: Another URL of the same database, past a pooler, for notifications.
    """

    def __init__(self, url: str, *, lease_ms: int = 15_000, direct: str | None = None) -> None:
        self._url = address = DatabaseUrl.parse(url)
        self.lease_ms = lease_ms
        self._queries = load_statements(address.schema)
        self._writers = [
            Writer(number, ReconnectingConnection(address, idle_ms=max(1_000, lease_ms // 2)), self._queries)
            for number in range(1, WRITERS + 1)
        ]
        self._control_connection = ReconnectingConnection(address)
        # Behind a pooler nobody hears anything without a connection past it.
        self._direct_connection = ReconnectingConnection(direct_url(direct)) if direct else None
        self._listen_connection = self._direct_connection or (
            None if address.pooled else ReconnectingConnection(address)
        )
        self._read_pool: ReadPool | None = None
        self._pipeline: WritePipeline | None = None
        self._key_cache = KeyCache()
        self._identity = WorkerIdentity(0, 0)
        self._highest_lost_worker = 0
        self._lease_lost_callback: Callable[[], Awaitable[None]] | None = None
        self._registering = asyncio.Lock()
        self._notify_callback: Callable[[], None] | None = None

    # A worker's life

    async def open(self) -> None:
        """Connect, bring the schema up to date and become a worker."""
        try:
            await migrate(self._control_connection, self._url.schema)
            if self._direct_connection is not None:
                await check_same_database(
                    self._direct_connection, self._control_connection, self._queries["which_database"]
                )
            await self._register()
        except BaseException:
            for connection in (self._control_connection, self._listen_connection):
                if connection is not None:
                    connection.abort()
            raise
        self._read_pool = ReadPool(self._url, most=READERS)
        self._pipeline = WritePipeline(self._execute, writers=WRITERS, on_lease_lost=self._on_lease_lost)

    async def close(self) -> None:
        """Finish what was asked for and leave. What this worker still owns may be taken_over at once."""
        silent = False
        if self._pipeline is not None:
            silent = await self._pipeline.close()
            self._pipeline = None
        if not silent:
            with contextlib.suppress(StoreError, TimeoutError):  # the lease ends by itself
                async with asyncio.timeout(OUTAGE_TIMEOUT_SECONDS):
                    await self._leave()
        connections = [
            connection
            for connection in (
                *(writer.connection for writer in self._writers),
                self._control_connection,
                self._listen_connection,
            )
            if connection is not None
        ]
        if self._read_pool is not None:
            connections += self._read_pool.close()
            self._read_pool = None
        await close_links(connections, answered=not silent)

    @property
    def busy(self) -> bool:
        """Whether anything is on its way to the database or back."""
        return (self._pipeline is not None and self._pipeline.busy) or (
            self._read_pool is not None and self._read_pool.busy > 0
        )

    @property
    def outage(self) -> str | None:
        """What keeps the database from being written, or None."""
        return None if self._pipeline is None else self._pipeline.outage

    def health(self) -> StoreHealth:
        who = self._identity
        return StoreHealth("postgresql", self.outage, who.worker, who.epoch, self.lease_ms, WRITERS)

    def on_lost_lease(self, callback: Callable[[], Awaitable[None]]) -> None:
        self._lease_lost_callback = callback

    async def listen(self, callback: Callable[[], None]) -> bool:
        self._notify_callback = callback
        if self._listen_connection is None:
            return False
        channels = (f"{self._url.schema}_due", f"{self._url.schema}_{self._identity.worker}")
        await self._listen_connection.listen(channels, self._on_notify)
        return True

    def _on_notify(self, *_: Any) -> None:
        if self._notify_callback is not None:
            self._notify_callback()

    async def heartbeat(
        self, workflows: Sequence[str], watched: Sequence[int], followed: Sequence[int] = ()
    ) -> HeartbeatResult:
        who = self._identity
        if self._notify_callback is not None and self._listen_connection is not None and self._listen_connection.closed:
            with contextlib.suppress(StoreUnavailableError):  # deaf for now: the heartbeat brings the same news, later
                await self.listen(self._notify_callback)
        [row] = await self._control_connection.fetch(
            self._queries["heartbeat"],
            who.worker,
            who.epoch,
            self.lease_ms,
            list(workflows),
            list(watched),
            list(followed),
        )
        if not row["stands"]:
            self._highest_lost_worker = max(self._highest_lost_worker, who.worker)
            await self._on_lease_lost()
        return HeartbeatResult(
            row["now"],
            row["changed"],
            row["next_due"],
            row["expired_workers"],
            row["ended"],
            row["workers"],
            row["change_ids"],
        )

    async def take_over(self, workers: Sequence[int], *, now: int) -> int:
        taken_over, expired = 0, list(workers)
        while expired:
            rows = await self._control_connection.fetch(
                self._queries["fence_workers"], expired, FENCE_BATCH, TAKEOVER_LEASE_MS
            )
            dead = [row["id"] for row in rows]
            if not dead:  # somebody else is at it
                break
            taken_over += await self._take_over_all(dead, now)
            for worker in dead:
                await self._delete_worker(worker)
        return taken_over

    async def recover(self, *, now: int) -> int:
        own = await self._in_batches(None, [self._identity.worker], now)  # in its turn: it is about this worker's own
        expired = [row["id"] for row in await self._read("expired_workers")]
        return own + await self.take_over(expired, now=now)

    async def _take_over_all(self, workers: Sequence[int], now: int) -> int:
        """Take over in batches, on two writers: they skip each other's rows, and nobody's work waits for them."""
        turns = (self._in_batches([("take_over", turn)], workers, now) for turn in (1, 2))
        return sum(await asyncio.gather(*turns))

    async def _in_batches(self, keys: Any, workers: Sequence[int], now: int) -> int:
        taken_over = piece = int(await self._run_operation(keys, "take_over", workers, now=now))
        while piece >= TAKEOVER_BATCH:
            piece = int(await self._run_operation(keys, "take_over", workers, now=now))
            taken_over += piece
        return taken_over

    async def release(self, *, now: int) -> None:
        asked = self._run_operation(None, "release", now=now)
        if self._pipeline is not None:
            await self._pipeline.wait_responsive(asked)

    async def _register(self) -> None:
        about = (platform.node(), os.getpid(), None)
        [row] = await self._control_connection.fetch(self._queries["register_worker"], self.lease_ms, *about)
        await self._control_connection.fetch(self._queries["insert_writers"], row["id"], row["epoch"], WRITERS)
        self._identity = WorkerIdentity(row["id"], row["epoch"])  # not before it can write
        for writer in self._writers:
            writer.reset()

    async def _leave(self) -> None:
        worker = self._identity.worker
        await self._control_connection.fetch(self._queries["expire_own_lease"], worker)
        await self._delete_worker(worker)

    async def _delete_worker(self, worker: int) -> None:
        await self._control_connection.fetch(self._queries["delete_writers"], worker)
        await self._control_connection.fetch(self._queries["delete_invalidations"], worker)
        await self._control_connection.fetch(self._queries["delete_worker"], worker)

    async def _on_lease_lost(self) -> None:
        """Register a new worker, unless another writer did so since: each writer finds the lost lease by itself."""
        async with self._registering:
            if self._identity.worker > self._highest_lost_worker:
                return
            if self._listen_connection is not None:
                self._listen_connection.abort()
            await self._register()
        if self._lease_lost_callback is not None:
            await self._lease_lost_callback()

    # What changes

    def create(self, new: NewInstance) -> asyncio.Future[int]:
        # Inserts run one after another: later instances have higher keys, and follow what their parents wrote before.
        name = (new.workflow, new.id)
        created = self._enqueue(
            InstanceInsert(new), (name, InstanceInsert) if new.parent is None else (name, InstanceInsert, new.parent)
        )
        created.add_done_callback(partial(self._key_cache.put_created, new.workflow, new.id))
        return created

    def write(
        self, change: Change, *, awaited: bool = False, answer: WriteCallback | None = None
    ) -> asyncio.Future[None]:
        rows = ChangeRows(change)
        return self._enqueue(rows, (rows.pk,) if rows.parent is None else (rows.pk, rows.parent))

    @property
    def answers_at_once(self) -> bool:
        return False

    async def claim(self, workflows: Sequence[str], *, now: int, limit: int, woken_first: bool = False) -> Claim:
        names = list(workflows)

        async def first(connection: ReconnectingConnection) -> Claim | None:
            """Look before locking anything: most claims find nothing, and a transaction for nothing is one on disk."""
            rows = await connection.fetch(self._queries["peek"], names)
            due = rows[0][0] if rows else None
            return Claim([], due) if due is None or due > now else None

        work = self._work("claim", names, now=now, limit=limit, woken_first=woken_first)
        claim: Claim = await self._enqueue(TransactionOp(work, must_complete=True, precheck=first), None)
        for one in claim.claimed:
            self._key_cache.put(one.instance.workflow, one.instance.id, one.instance.pk)
        return claim

    async def send_event(self, workflow: str, id: str, *, type: str, payload: str | None, now: int) -> SentEvent:
        return await self._named("send_event", workflow, id, type=type, payload=payload, now=now)  # type: ignore[no-any-return]

    async def pause(self, workflow: str, id: str, *, now: int) -> Transition:
        return await self._named("pause", workflow, id, now=now)  # type: ignore[no-any-return]

    async def resume(self, workflow: str, id: str, *, now: int) -> Transition:
        return await self._named("resume", workflow, id, now=now)  # type: ignore[no-any-return]

    async def terminate(self, workflow: str, id: str, *, now: int) -> Transition:
        return await self._named("terminate", workflow, id, now=now)  # type: ignore[no-any-return]

    async def begin_rollback(self, workflow: str, id: str, *, now: int, error: str) -> Transition:
        return await self._named("begin_rollback", workflow, id, now=now, error=error)  # type: ignore[no-any-return]

    async def restart(
        self, workflow: str, id: str, *, now: int, version: str | None, from_step: StepKey | None = None
    ) -> Transition:
        return await self._named("restart", workflow, id, now=now, version=version, from_step=from_step)  # type: ignore[no-any-return]

    async def delete(self, workflow: str, id: str, *, now: int) -> Deletion:
        return await self._named("delete", workflow, id, now=now)  # type: ignore[no-any-return]

    async def expire(self, *, now: int, limit: int) -> int:
        return await self._run_operation(None, "expire", now=now, limit=limit)  # type: ignore[no-any-return]

    async def write_chunk(self, pk: int, seq: int, attempt: int, number: int, data: bytes) -> None:
        await self._run_operation((pk,), "write_chunk", pk, seq, attempt, number, data)

    def _named(self, verb: str, workflow: str, id: str, **named: Any) -> Awaitable[Any]:
        """Carry out a verb on one instance: after what was asked of it before, beside what is asked of others."""
        pk = self._key_cache.pk_of(workflow, id)
        keys = None if pk is None else (pk, (workflow, id))
        return self._run_operation(keys, verb, workflow, id, **named)

    def _run_operation(
        self, keys: Sequence[Any] | None, verb: str, *arguments: Any, **named: Any
    ) -> asyncio.Future[Any]:
        # The engine's own affairs. A clean stop is none of them: while the database is away, the lease has to end.
        kept = verb in ("take_over", "expire", "write_chunk")
        return self._enqueue(TransactionOp(self._work(verb, *arguments, **named), kept), keys)

    def _work(self, verb: str, *arguments: Any, **named: Any) -> Work:
        async def work(connection: ReconnectingConnection, token: FencingToken) -> Any:
            return await getattr(Operations(self._queries, connection, token), verb)(*arguments, **named)

        return work

    def _enqueue(self, operation: Any, keys: Sequence[Any] | None) -> asyncio.Future[Any]:
        if self._pipeline is None:
            raise StoreError("the store is not open")
        return self._pipeline.submit(operation, keys)

    async def _execute(self, writer: int, operations: Sequence[Any], token: object) -> list[Any]:
        identity, carrier = self._identity, self._writers[writer - 1]
        try:
            if type(operations[0]) is TransactionOp:
                verb = operations[0]
                if verb.precheck is not None and not carrier.in_doubt:
                    answer = await verb.precheck(carrier.connection)
                    if answer is not None:
                        return [answer]
                return [await carrier.run_transaction(identity, operations[0].work, retry_key=token)]
            group = WriteBatch(self._queries, operations)
            return await carrier.run_statement(identity, group.write, group.read_back, retry_key=token)  # type: ignore[no-any-return]
        except LeaseLostError:
            self._highest_lost_worker = max(self._highest_lost_worker, identity.worker)
            raise

    def discard_queued(self, pk: int) -> None:
        if self._pipeline is not None:
            self._pipeline.discard_queued(pk)
