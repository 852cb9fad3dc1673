"""The store on PostgreSQL: every verb, and how it gets onto the road. The statements are in `sql/postgres.sql`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from everstep.core.errors import LeaseLostError, StoreError, StoreUnavailableError
from everstep.store.cluster import News
from everstep.store.health import StoreHealth
from everstep.store.postgres.batch import Birth, Group, Rows
from everstep.store.postgres.connection import Address, Link, close_links
from everstep.store.postgres.direct_url import address_past_the_pooler, check_same_database
from everstep.store.postgres.key_cache import Names
from everstep.store.postgres.operations import ADOPTED_AT_ONCE, Verbs
from everstep.store.postgres.read_pool import Readers
from everstep.store.postgres.reads import PostgresReads
from everstep.store.postgres.schema import migrate
from everstep.store.postgres.statements import load_statements
from everstep.store.postgres.write_pipeline import Road, Verb
from everstep.store.postgres.writer import Identity, Lane, Pass, Work
from everstep.store.protocol import (
    Change,
    Claim,
    Deletion,
    NewInstance,
    SentEvent,
    StepKey,
    Transition,
)
from everstep.store.retry import PATIENCE_SECONDS
from everstep.store.write_callback import Answer

LANES = 3
READERS = 3
EXPELLED_AT_ONCE = 8
"""Dead workers one of the living takes over at a time: others find the rest, should many die at once."""
TURN_MS = 1_000
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
        self._address = address = Address.parse(url)
        self.lease_ms = lease_ms
        self._queries = load_statements(address.schema)
        self._lanes = [
            Lane(number, Link(address, idle_ms=max(1_000, lease_ms // 2)), self._queries)
            for number in range(1, LANES + 1)
        ]
        self._pulse = Link(address)
        # Behind a pooler nobody hears anything without a connection past it.
        self._direct = Link(address_past_the_pooler(direct)) if direct else None
        self._ear = self._direct or (None if address.pooled else Link(address))
        self._readers: Readers | None = None
        self._road: Road | None = None
        self._names = Names()
        self._identity = Identity(0, 0)
        self._fallen = 0
        self._lost_lease: Callable[[], Awaitable[None]] | None = None
        self._registering = asyncio.Lock()
        self._heard: Callable[[], None] | None = None

    # A worker's life

    async def open(self) -> None:
        """Connect, bring the schema up to date and become a worker."""
        try:
            await migrate(self._pulse, self._address.schema)
            if self._direct is not None:
                await check_same_database(self._direct, self._pulse, self._queries["which_database"])
            await self._register()
        except BaseException:
            for link in (self._pulse, self._ear):
                if link is not None:
                    link.drop()
            raise
        self._readers = Readers(self._address, most=READERS)
        self._road = Road(self._carry, lanes=LANES, lost=self._expelled)

    async def close(self) -> None:
        """Finish what was asked for and leave. What this worker still owns may be adopted at once."""
        silent = False
        if self._road is not None:
            silent = await self._road.close()
            self._road = None
        if not silent:
            with contextlib.suppress(StoreError, TimeoutError):  # the lease ends by itself
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._leave()
        links = [link for link in (*(lane.link for lane in self._lanes), self._pulse, self._ear) if link is not None]
        if self._readers is not None:
            links += self._readers.close()
            self._readers = None
        await close_links(links, answered=not silent)

    @property
    def busy(self) -> bool:
        """Whether anything is on its way to the database or back."""
        return (self._road is not None and self._road.busy) or (self._readers is not None and self._readers.busy > 0)

    @property
    def trouble(self) -> str | None:
        """What keeps the database from being written, or None."""
        return None if self._road is None else self._road.trouble

    def health(self) -> StoreHealth:
        who = self._identity
        return StoreHealth("postgresql", self.trouble, who.worker, who.epoch, self.lease_ms, LANES)

    def on_lost_lease(self, callback: Callable[[], Awaitable[None]]) -> None:
        self._lost_lease = callback

    async def listen(self, callback: Callable[[], None]) -> bool:
        self._heard = callback
        if self._ear is None:
            return False
        channels = (f"{self._address.schema}_due", f"{self._address.schema}_{self._identity.worker}")
        await self._ear.listen(channels, self._hear)
        return True

    def _hear(self, *_: Any) -> None:
        if self._heard is not None:
            self._heard()

    async def beat(self, workflows: Sequence[str], watched: Sequence[int], followed: Sequence[int] = ()) -> News:
        who = self._identity
        if self._heard is not None and self._ear is not None and self._ear.lost:
            with contextlib.suppress(StoreUnavailableError):  # deaf for now: the beat brings the same news, later
                await self.listen(self._heard)
        [row] = await self._pulse.fetch(
            self._queries["beat"], who.worker, who.epoch, self.lease_ms, list(workflows), list(watched), list(followed)
        )
        if not row["stands"]:
            self._fallen = max(self._fallen, who.worker)
            await self._expelled()
        return News(
            row["now"], row["noted"], row["next_due"], row["lapsed"], row["ended"], row["workers"], row["notes"]
        )

    async def adopt(self, workers: Sequence[int], *, now: int) -> int:
        adopted, lapsed = 0, list(workers)
        while lapsed:
            rows = await self._pulse.fetch(self._queries["expel"], lapsed, EXPELLED_AT_ONCE, TURN_MS)
            dead = [row["id"] for row in rows]
            if not dead:  # somebody else is at it
                break
            adopted += await self._adopted(dead, now)
            for worker in dead:
                await self._forget(worker)
        return adopted

    async def recover(self, *, now: int) -> int:
        own = await self._pieces(None, [self._identity.worker], now)  # in its turn: it is about this worker's own
        lapsed = [row["id"] for row in await self._read("lapsed")]
        return own + await self.adopt(lapsed, now=now)

    async def _adopted(self, workers: Sequence[int], now: int) -> int:
        """Adopt in pieces, on two lanes: they skip each other's rows, and nobody's work waits for them."""
        turns = (self._pieces([("adopt", turn)], workers, now) for turn in (1, 2))
        return sum(await asyncio.gather(*turns))

    async def _pieces(self, keys: Any, workers: Sequence[int], now: int) -> int:
        adopted = piece = int(await self._do(keys, "adopt", workers, now=now))
        while piece >= ADOPTED_AT_ONCE:
            piece = int(await self._do(keys, "adopt", workers, now=now))
            adopted += piece
        return adopted

    async def release(self, *, now: int) -> None:
        asked = self._do(None, "release", now=now)
        if self._road is not None:
            await self._road.in_time(asked)

    async def _register(self) -> None:
        about = (platform.node(), os.getpid(), None)
        [row] = await self._pulse.fetch(self._queries["register_worker"], self.lease_ms, *about)
        await self._pulse.fetch(self._queries["register_lanes"], row["id"], row["epoch"], LANES)
        self._identity = Identity(row["id"], row["epoch"])  # not before it can write
        for lane in self._lanes:
            lane.reset()

    async def _leave(self) -> None:
        worker = self._identity.worker
        await self._pulse.fetch(self._queries["leave"], worker)
        await self._forget(worker)

    async def _forget(self, worker: int) -> None:
        await self._pulse.fetch(self._queries["leave_lanes"], worker)
        await self._pulse.fetch(self._queries["forget_notes"], worker)
        await self._pulse.fetch(self._queries["forget_worker"], worker)

    async def _expelled(self) -> None:
        """Begin a new life, if the one that is over is still ours: several lanes may hear of it, one after another."""
        async with self._registering:
            if self._identity.worker > self._fallen:
                return
            if self._ear is not None:
                self._ear.drop()
            await self._register()
        if self._lost_lease is not None:
            await self._lost_lease()

    # What changes

    def create(self, new: NewInstance) -> asyncio.Future[int]:
        # Births follow one another, so that later instances have higher keys, and what their parents were asked before.
        name = (new.workflow, new.id)
        created = self._travel(Birth(new), (name, Birth) if new.parent is None else (name, Birth, new.parent))
        created.add_done_callback(partial(self._names.learn_born, new.workflow, new.id))
        return created

    def write(self, change: Change, *, awaited: bool = False, answer: Answer | None = None) -> asyncio.Future[None]:
        rows = Rows(change)
        return self._travel(rows, (rows.pk,) if rows.parent is None else (rows.pk, rows.parent))

    @property
    def answers_at_once(self) -> bool:
        return False

    async def claim(self, workflows: Sequence[str], *, now: int, limit: int, woken_first: bool = False) -> Claim:
        names = list(workflows)

        async def first(link: Link) -> Claim | None:
            """Look before locking anything: most claims find nothing, and a transaction for nothing is one on disk."""
            rows = await link.fetch(self._queries["peek"], names)
            due = rows[0][0] if rows else None
            return Claim([], due) if due is None or due > now else None

        work = self._work("claim", names, now=now, limit=limit, woken_first=woken_first)
        claim: Claim = await self._travel(Verb(work, kept=True, first=first), None)
        for one in claim.claimed:
            self._names.learn(one.instance.workflow, one.instance.id, one.instance.pk)
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
        return await self._do(None, "expire", now=now, limit=limit)  # type: ignore[no-any-return]

    async def write_chunk(self, pk: int, seq: int, attempt: int, number: int, data: bytes) -> None:
        await self._do((pk,), "write_chunk", pk, seq, attempt, number, data)

    def _named(self, verb: str, workflow: str, id: str, **named: Any) -> Awaitable[Any]:
        """Carry out a verb on one instance: after what was asked of it before, beside what is asked of others."""
        pk = self._names.pk_of(workflow, id)
        keys = None if pk is None else (pk, (workflow, id))
        return self._do(keys, verb, workflow, id, **named)

    def _do(self, keys: Sequence[Any] | None, verb: str, *arguments: Any, **named: Any) -> asyncio.Future[Any]:
        # The engine's own affairs. A clean stop is none of them: while the database is away, the lease has to end.
        kept = verb in ("adopt", "expire", "write_chunk")
        return self._travel(Verb(self._work(verb, *arguments, **named), kept), keys)

    def _work(self, verb: str, *arguments: Any, **named: Any) -> Work:
        async def work(link: Link, shown: Pass) -> Any:
            return await getattr(Verbs(self._queries, link, shown), verb)(*arguments, **named)

        return work

    def _travel(self, operation: Any, keys: Sequence[Any] | None) -> asyncio.Future[Any]:
        if self._road is None:
            raise StoreError("the store is not open")
        return self._road.submit(operation, keys)

    async def _carry(self, lane: int, operations: Sequence[Any], token: object) -> list[Any]:
        identity, carrier = self._identity, self._lanes[lane - 1]
        try:
            if type(operations[0]) is Verb:
                verb = operations[0]
                if verb.first is not None and not carrier.doubts:
                    answer = await verb.first(carrier.link)
                    if answer is not None:
                        return [answer]
                return [await carrier.transaction(identity, operations[0].work, of=token)]
            group = Group(self._queries, operations)
            return await carrier.statement(identity, group.write, group.recall, of=token)  # type: ignore[no-any-return]
        except LeaseLostError:
            self._fallen = max(self._fallen, identity.worker)
            raise

    def withdraw(self, pk: int) -> None:
        if self._road is not None:
            self._road.withdraw(pk)
