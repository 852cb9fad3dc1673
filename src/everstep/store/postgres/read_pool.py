"""Connections that only read: few of them, lent one at a time, tried again while the database is in trouble."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from everstep.core.errors import StoreUnavailableError
from everstep.store.postgres.connection import DatabaseUrl, ReconnectingConnection
from everstep.store.retry import OUTAGE_TIMEOUT_SECONDS, Retry

T = TypeVar("T")


class ReadPool:
    """Up to `most` reading connections, the one used last first: the others stay closed until there is need."""

    def __init__(self, address: DatabaseUrl, *, most: int) -> None:
        self._connections = [ReconnectingConnection(address) for _ in range(most)]
        self._idle = list(self._connections)
        self._closed = False
        self._slots = asyncio.Semaphore(most)
        self.busy = 0

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        """Run one statement and return its rows."""
        return await self.read(lambda connection: connection.fetch(sql, *arguments))

    async def read(self, work: Callable[[ReconnectingConnection], Awaitable[T]]) -> T:
        """Read with a connection of one's own; what is lost with it is read again, as long as patience lasts."""
        retry = Retry(patience=OUTAGE_TIMEOUT_SECONDS, latest=1.0)
        self.busy += 1
        try:
            while True:
                try:
                    async with self._acquire() as connection:
                        return await work(connection)
                except StoreUnavailableError:
                    pause = retry.failed()
                    if retry.exhausted or self._closed:
                        raise
                    await asyncio.sleep(pause)
        finally:
            self.busy -= 1

    def close(self) -> list[ReconnectingConnection]:
        """Lend no more, and return the connections that are left to close.

        Those that are lent out are dropped at once: a frozen server would keep their readers for long.
        """
        self._closed = True
        for connection in self._connections:
            if connection not in self._idle:
                connection.abort()
        return list(self._idle)

    @contextlib.asynccontextmanager
    async def _acquire(self) -> AsyncIterator[ReconnectingConnection]:
        async with self._slots:
            connection = self._idle.pop()
            try:
                yield connection
            except BaseException:
                connection.abort()  # it may stand in the middle of something
                raise
            finally:
                self._idle.append(connection)
