"""The guard: what DNS rebinding and cross-site requests look like, and what must pass."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from everstep.server.request_guard import RequestGuard


async def ask(method: str, path: str, headers: Any, *, allowed: tuple[str, ...] = ()) -> httpx.Response:
    transport = httpx.ASGITransport(RequestGuard(PlainTextResponse("in"), allowed_hosts=allowed))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8787") as http:
        return await http.request(method, path, headers=headers)


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:8787", "LOCALHOST", "localhost.", "app.localhost:8787", "127.0.0.1:8787", "127.1.2.3",
        "[::1]", "[::1]:8787",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/__workflows", "/client/v4/x"])
async def test_this_machine_is_answered(host: str, path: str):
    assert (await ask("GET", path, {"host": host})).text == "in"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:8787", "localhost.evil.example", "notlocalhost", "10.0.0.1", "[::2]:8787", "",
        "localhost/evil", "evil@localhost", "localhost:port", "[::1", "localhost:99999", "127.0.0.1.evil.example",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/orders", "/__workflows", "/client/v4/x"])
async def test_foreign_hosts_are_refused_everywhere(host: str, path: str):
    answer = await ask("GET", path, {"host": host})
    assert answer.status_code == 403
    assert "--allow-host" in answer.text


@pytest.mark.parametrize("headers", [{"host": "10.0.0.1:8787"}, {"host": "box.internal"}, {"host": ""}])
@pytest.mark.parametrize("path", ["/__workflows/-/health", "/__workflows/-/metrics"])
async def test_load_balancers_and_monitoring_are_answered_by_any_address(path: str, headers: dict[str, str]):
    assert (await ask("GET", path, headers)).text == "in"
    assert (await ask("HEAD", path, headers)).status_code == 200
    assert (await ask("POST", path, headers)).status_code == 403
    assert (await ask("GET", f"{path}/x", headers)).status_code == 403


async def test_a_refusal_says_what_to_do():
    answer = await ask("GET", "/", {"host": "box.internal:8787"})
    assert "DNS rebinding" in answer.text
    assert "everstep dev --allow-host box.internal" in answer.text


async def test_two_host_headers_are_refused():
    answer = await ask("GET", "/", [("host", "localhost"), ("host", "evil.example")])
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("allowed", "host", "status"),
    [
        ("box.internal", "BOX.internal:80", 200),
        ("box.internal", "a.box.internal", 403),
        ("*.internal", "box.internal", 200),
        ("*.internal", "internal", 403),
        ("*", "anything.example", 200),
        ("10.0.0.1", "10.0.0.1:8787", 200),
    ],
)
async def test_allowed_hosts_are_answered(allowed: str, host: str, status: int):
    assert (await ask("GET", "/", {"host": host}, allowed=(allowed,))).status_code == status


FOREIGN = [
    {"origin": "https://evil.example"},
    {"origin": "http://localhost:3000"},
    {"origin": "null"},
    {"origin": "http://["},
    {"sec-fetch-site": "cross-site"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/__workflows", "/__workflows/x", "/client/v4/accounts/local/workflows"])
async def test_other_sites_change_nothing(method: str, path: str, headers: dict[str, str]):
    answer = await ask(method, path, headers)
    assert answer.status_code == 403
    assert "cross-site request forgery" in answer.text


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize(("method", "path"), [("GET", "/client/v4/x"), ("POST", "/orders"), ("POST", "/client/v45")])
async def test_reading_and_the_users_own_routes_are_left_alone(method: str, path: str, headers: dict[str, str]):
    assert (await ask(method, path, headers)).text == "in"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://localhost:8787"},
        {"origin": "http://localhost:8787", "sec-fetch-site": "same-origin"},
        {"host": "127.0.0.1:8787", "origin": "http://127.0.0.1:8787"},
        {"sec-fetch-site": "none"},
    ],
)
async def test_own_pages_and_programs_change_state(headers: dict[str, str]):
    assert (await ask("POST", "/client/v4/x", headers)).text == "in"


async def test_pages_of_allowed_hosts_change_state():
    headers = {"origin": "https://box.internal"}
    assert (await ask("POST", "/client/v4/x", headers, allowed=("box.internal",))).text == "in"


@pytest.mark.parametrize(
    "headers",
    [
        [(b"host", b"evil.example")],
        [(b"host", b"localhost:8787"), (b"origin", b"https://evil.example")],
    ],
)
async def test_foreign_websockets_are_closed_before_they_open(headers: list[tuple[bytes, bytes]]):
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def never(*_: Any) -> None:
        raise AssertionError("the app was reached")

    await RequestGuard(never)({"type": "websocket", "path": "/client/v4/x", "headers": headers}, never, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_the_lifespan_passes():
    reached = []

    async def app(scope: Any, *_: Any) -> None:
        reached.append(scope["type"])

    await RequestGuard(app)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]  # never called
    assert reached == ["lifespan"]
