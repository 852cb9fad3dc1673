"""The listening socket as asyncio sees it."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from everstep.server.dev import listener as listening


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.fixture(params=["new", "inherited"])
def listener(request):
    made = listening.listen("127.0.0.1", 0)
    if request.param == "inherited":
        handed_on = made.dup()
        made.close()
        os.environ[listening._INHERITED] = str(handed_on.detach())
        made = listening.listen("127.0.0.1", 0)
    yield made
    made.close()


async def test_small_answers_are_not_held_back(listener):
    """A socket that does not say it is TCP is left with Nagle's algorithm: 40 ms for every request."""
    at_once = asyncio.get_running_loop().create_future()

    async def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at_once.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async with await asyncio.start_server(connected, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        assert await asyncio.wait_for(at_once, 10)
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("host", "everywhere", "url"),
    [
        ("127.0.0.1", False, "http://127.0.0.1"),
        ("localhost", False, "http://localhost"),
        ("0.0.0.0", True, "http://127.0.0.1"),
        ("0", True, "http://127.0.0.1"),
        ("", True, "http://127.0.0.1"),
        pytest.param("::1", False, "http://[::1]", marks=needs_ipv6),
        pytest.param("::", True, "http://[::1]", marks=needs_ipv6),
    ],
)
def test_the_url_can_be_opened_whatever_it_listens_on(host: str, everywhere: bool, url: str):
    with listening.listen(host, 0) as listener:
        assert listening.on_all_interfaces(listener) == everywhere
        assert listening.url_of(listener, host) == f"{url}:{listener.getsockname()[1]}"
