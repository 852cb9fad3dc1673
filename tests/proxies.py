"""A TCP proxy that stands between a client and a server, in a thread of its own, and does harm to what passes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any


class Proxy:
    """Passes bytes on, holds them back, or cuts everybody off.

    Args:
        port: Where the server listens, on loopback.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._flows, self._open = asyncio.Event(), True
        self._on_request: Callable[[bytes], str] | None = None
        self._passing: set[asyncio.Task[Any]] = set()
        self.port = self._in_loop(self._listen())

    def hold(self) -> None:
        """Let no byte through in either direction, and lose none: a network that hangs."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def cut(self) -> None:
        """Break every connection, and take no new ones."""
        self._in_loop(self._cut())

    def heal(self) -> None:
        """Pass on what was held and everything that comes."""
        self._open = True
        self._loop.call_soon_threadsafe(self._flows.set)

    def watch(self, on_request: Callable[[bytes], str] | None) -> None:
        """Look at what clients send: "pass" it, "drop" the connection, or pass it and drop that before the "answer"."""
        self._on_request = on_request

    def close(self) -> None:
        """End, with every connection."""
        self._in_loop(self._cut())
        self._in_loop(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _in_loop(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _listen(self) -> int:
        self._flows.set()
        self._listening = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._listening.sockets[0].getsockname()[1])

    async def _stop(self) -> None:
        self._listening.close()

    async def _cut(self) -> None:
        self._open = False
        passing = list(self._passing)
        for task in passing:
            task.cancel()
        await asyncio.gather(*passing, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        ends = [writer]
        try:
            if not self._open:
                return
            await self._flows.wait()
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
            ends.append(to_server)
            ways = [
                asyncio.ensure_future(self._pass(reader, to_server, asks=True)),
                asyncio.ensure_future(self._pass(from_server, writer, asks=False)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._passing.discard(task)
            for end in ends:
                end.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, asks: bool) -> None:
        with contextlib.suppress(OSError):
            while some := await source.read(65_536):
                await self._flows.wait()
                what = self._on_request(some) if asks and self._on_request is not None else "pass"
                if what == "drop":
                    return
                target.write(some)
                await target.drain()
                if what == "answer":
                    await asyncio.sleep(0.2)  # the server reads it, and answers into nothing
                    return
