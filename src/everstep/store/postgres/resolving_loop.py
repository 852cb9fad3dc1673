"""An event loop for the driver that looks hosts up in threads of its own: the application's may hang."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from everstep.threads import run_beside_loop


class ResolvingLoop:
    """The event loop `loop`, but for the names of hosts that connections are made to."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(self, factory: Callable[[], Any], host: str, port: int, **options: Any) -> Any:
        """Connect to the first address of a host that answers. Raises OSError with what each of them said."""
        found = await run_beside_loop(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        said: list[str] = []
        for address in dict.fromkeys(str(one[4][0]) for one in found):
            try:
                return await self._loop.create_connection(factory, address, port, **options)
            except OSError as error:
                if len(found) == 1:
                    raise
                said.append(str(error))
        raise OSError("; ".join(said) or f"{host} has no address")
