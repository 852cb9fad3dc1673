"""Connections that only read: few of them, lent one at a time, tried again while the database is in trouble."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from everstep.core.errors import StoreUnavailableError
from everstep.store.group import PATIENCE_SECONDS
from everstep.store.postgres.link import Address, Link

T = TypeVar("T")


class Readers:
    """Up to `most` reading connections, the one used last first: the others stay closed until there is need."""

    def __init__(self, address: Address, *, most: int) -> None:
        self._links = [Link(address) for _ in range(most)]
        self._free = asyncio.Semaphore(most)
        self.busy = 0

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        """Run one statement and return its rows."""
        return await self.read(lambda link: link.fetch(sql, *arguments))

    async def read(self, work: Callable[[Link], Awaitable[T]]) -> T:
        """Read with a connection of one's own; what is lost with it is read again, as long as patience lasts."""
        began, delay = time.monotonic(), 0.05
        while True:
            try:
                async with self._lent() as link:
                    return await work(link)
            except StoreUnavailableError:
                if time.monotonic() - began > PATIENCE_SECONDS:
                    raise
                await asyncio.sleep(delay)
                delay = min(delay * 2, 1.0)

    async def close(self) -> None:
        """Close the connections."""
        for link in self._links:
            await link.close()

    @contextlib.asynccontextmanager
    async def _lent(self) -> AsyncIterator[Link]:
        self.busy += 1
        try:
            async with self._free:
                link = self._links.pop()
                try:
                    yield link
                except BaseException:
                    link.drop()  # it may stand in the middle of something
                    raise
                finally:
                    self._links.append(link)
        finally:
            self.busy -= 1
