"""Connections that only read: few of them, lent one at a time, tried again while the database is in trouble."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from everstep.core.errors import StoreUnavailableError
from everstep.store.postgres.connection import Address, Link
from everstep.store.retry import PATIENCE_SECONDS, Retry

T = TypeVar("T")


class Readers:
    """Up to `most` reading connections, the one used last first: the others stay closed until there is need."""

    def __init__(self, address: Address, *, most: int) -> None:
        self._every = [Link(address) for _ in range(most)]
        self._links = list(self._every)
        self._closed = False
        self._free = asyncio.Semaphore(most)
        self.busy = 0

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        """Run one statement and return its rows."""
        return await self.read(lambda link: link.fetch(sql, *arguments))

    async def read(self, work: Callable[[Link], Awaitable[T]]) -> T:
        """Read with a connection of one's own; what is lost with it is read again, as long as patience lasts."""
        retry = Retry(patience=PATIENCE_SECONDS, latest=1.0)
        self.busy += 1
        try:
            while True:
                try:
                    async with self._lent() as link:
                        return await work(link)
                except StoreUnavailableError:
                    pause = retry.failed()
                    if retry.exhausted or self._closed:
                        raise
                    await asyncio.sleep(pause)
        finally:
            self.busy -= 1

    def close(self) -> list[Link]:
        """Lend no more, and return the connections that are left to close.

        Those that are lent out are dropped at once: a frozen server would keep their readers for long.
        """
        self._closed = True
        for link in self._every:
            if link not in self._links:
                link.drop()
        return list(self._links)

    @contextlib.asynccontextmanager
    async def _lent(self) -> AsyncIterator[Link]:
        async with self._free:
            link = self._links.pop()
            try:
                yield link
            except BaseException:
                link.drop()  # it may stand in the middle of something
                raise
            finally:
                self._links.append(link)
