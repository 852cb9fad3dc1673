"""Keeps foreign web pages away from a server on this machine: an ASGI middleware, nothing about users or tokens.

Two attacks reach a server that listens on loopback only, both through a page in the developer's own browser:

- DNS rebinding: a foreign name is made to point at 127.0.0.1, and its page reads and writes everything here as its own
  origin. The name stays in the Host header, so only known hosts are answered.
- Cross-site request forgery: a page posts to http://localhost:8787 without being able to read the answer. Browsers say
  where such a request comes from (Origin, Sec-Fetch-Site), so state changes of the control API and the inspector are
  refused unless they come from here. Clients that are no browsers send neither header and pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

PROTECTED = ("/__workflows", "/client/v4")
"""Where state changes must not come from other sites. The user's own routes may be meant for them."""

_FOR_ANYBODY = ("/__workflows/-/health", "/__workflows/-/metrics")
"""What load balancers and monitoring read, by whatever address they know this machine: it tells of no instance."""

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class RequestGuard:
    """Refuses foreign hosts nearly everywhere, and cross-site state changes under `PROTECTED`, with 403 and the cure.

    Args:
        app: The guarded app.
        allowed_hosts: Host names to answer besides loopback addresses and `localhost`; `*.example.com` allows every
            name below example.com, `*` every name at all. Their pages may change state, too.
    """

    def __init__(self, app: ASGIApp, *, allowed_hosts: Sequence[str] = ()) -> None:
        self._app = app
        self._allowed = [name.lower().rstrip(".") for name in allowed_hosts]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await PlainTextResponse(refusal + "\n", 403)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": "refused"})  # 403, as nothing was accepted

    def _refusal(self, scope: Scope) -> str | None:
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and scope["path"] in _FOR_ANYBODY:
            return None
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1:
            return f"This request was refused: it has {len(hosts)} Host headers; send exactly one, e.g. Host: localhost"
        if not self._is_known(hosts[0]):
            name = _name(hosts[0]) or hosts[0]
            return (
                f"This request was refused: its Host is {hosts[0]!r}, which is not this machine; a foreign name that "
                "points here may be DNS rebinding. Open http://localhost instead; if the name is yours, allow it: "
                f"everstep dev --allow-host {name}"
            )
        if _changes_state(scope) and _is_protected(scope["path"]):
            return self._foreign_origin(headers, hosts[0])
        return None

    def _foreign_origin(self, headers: Headers, host: str) -> str | None:
        origin = headers.get("origin")
        if origin is not None and not self._is_own(origin, host):
            return (
                f"This request was refused: it comes from a page of {origin!r}, and only pages of {host!r} may change "
                "anything here (cross-site request forgery). Send it without an Origin header, as curl and SDKs do, "
                f"or allow the page's host: everstep dev --allow-host {_name(_authority(origin)) or 'NAME'}"
            )
        if origin is None and headers.get("sec-fetch-site") == "cross-site":
            return (
                "This request was refused: the browser says another site made it (Sec-Fetch-Site: cross-site), and "
                "only pages of this server may change anything here (cross-site request forgery)."
            )
        return None

    def _is_known(self, host: str) -> bool:
        name = _name(host)
        return name is not None and (_is_loopback(name) or self._is_allowed(name))

    def _is_own(self, origin: str, host: str) -> bool:
        authority = _authority(origin)
        if authority == host.lower():
            return True
        name = _name(authority)
        return name is not None and self._is_allowed(name)

    def _is_allowed(self, name: str) -> bool:
        return any(
            pattern in ("*", name) or (pattern.startswith("*.") and name.endswith(pattern[1:]))
            for pattern in self._allowed
        )


def _changes_state(scope: Scope) -> bool:
    return scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS


def _is_protected(path: str) -> bool:
    return any(path == prefix or path.startswith(prefix + "/") for prefix in PROTECTED)


def _authority(origin: str) -> str:
    """What an Origin header has after `://`: nothing if it is `null`, as the one of a sandboxed page."""
    return origin.partition("://")[2].lower()


def _name(host: str) -> str | None:
    """The name in a Host header, without its port; None if it is no host at all."""
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018  # reading it checks it
    except ValueError:
        return None
    if parts.netloc != host or "@" in host or not parts.hostname:
        return None
    return parts.hostname.lower().rstrip(".")


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
