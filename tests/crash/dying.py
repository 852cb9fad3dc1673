"""Stores whose process dies by SIGKILL at one of its commits; which one, and when exactly, is told by a `Death`."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from asyncio import selector_events
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everstep.store.admin.open import is_postgres
from everstep.store.protocol import Store
from everstep.store.sqlite.store import SqliteStore


@dataclass
class Death:
    """Comes at the N-th commit, counted as long as the process lives.

    Attributes:
        moment: "before" the commit, "inside" its transaction, "after" it was written and before anybody heard of it,
            when it is "sent" to a server and nobody is there for the answer, or "between": a waiter heard of it.
        number: Which commit; 0 is none.
        commits: How many there were.
    """

    moment: str = ""
    number: int = 0
    commits: int = 0

    def comes(self) -> bool:
        self.commits += 1
        return self.commits == self.number


def dying_store(url: str, death: Death) -> Store:
    return _dying_postgres(url, death) if is_postgres(url) else DyingSqliteStore(url, death)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingSqliteStore(SqliteStore):
    def __init__(self, url: str, death: Death) -> None:
        super().__init__(Path(url.removeprefix("sqlite:///")))
        self._death = death

    def _commit(self, operations: Sequence[Any]) -> list[Any]:
        if not self._death.comes():
            return super()._commit(operations)
        moment = self._death.moment
        if moment == "before":
            die()
        if moment == "inside":
            super()._commit([*operations, lambda _: die()])
        answers = super()._commit(operations)
        if moment == "after":
            die()
        self._group._loop.call_soon_threadsafe(self._group._loop.call_soon, die)
        return answers


_WRITES = re.compile(r"\b(insert into|update|delete from) \w+\.\w+")


def _dying_postgres(url: str, death: Death) -> Store:
    from everstep.store.postgres import store as module  # the driver is loaded only where it is asked for
    from everstep.store.postgres.connection import ReconnectingConnection
    from everstep.store.postgres.store import PostgresStore

    class DyingLink(ReconnectingConnection):
        """Commits wherever a statement writes outside a transaction, and where one ends. Beats are not counted."""

        async def _fetch(self, sql: str, arguments: tuple[Any, ...]) -> list[Any]:
            inside = self.driver_connection is not None and self.driver_connection.is_in_transaction()
            commits = not inside and _WRITES.search(sql) is not None and "renewed as" not in sql
            work = super()._fetch(sql, arguments)
            return await (_dying(work, death) if commits and death.comes() else work)

        async def _execute(self, sql: str) -> str:
            work = super()._execute(sql)
            return await (_dying(work, death) if sql == "commit" and death.comes() else work)

    module.ReconnectingConnection = DyingLink  # type: ignore[misc]
    return PostgresStore(url)


async def _dying(work: Awaitable[Any], death: Death) -> Any:
    if death.moment == "before":
        await asyncio.sleep(0.05)  # whoever does not wait for the commit has gone on by then
        die()
    if death.moment == "sent":
        _die_once_sent()
    answer = await work
    if death.moment == "after":
        die()
    asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, die)
    return answer


def _die_once_sent() -> None:
    """Die as soon as the system has taken the bytes that make the server carry a statement out."""
    transport = selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
    write = transport.write

    def last(self: Any, data: Any) -> None:
        write(self, data)
        if bytes(data)[:1] in (b"B", b"Q"):  # bind and execute, or a simple query; not the preparation of a statement
            die()

    transport.write = last
