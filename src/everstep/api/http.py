"""The requests and responses of `fetch`: Starlette's, plus `Response.json`."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request as Request  # noqa: PLC0414  # re-exported on purpose
from starlette.responses import Response as _StarletteResponse

from everstep.core.codec import plain_json


class Response(_StarletteResponse):
    """Starlette's `Response`, which also makes JSON of anything Everstep can store."""

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
        """Make a JSON response. Datetimes become ISO 8601 text, decimals and UUIDs text, models objects.

        Args:
            value: Anything Everstep can store.
            status: The HTTP status.
            headers: Further headers.

        Example:
            >>> Response.json({"ok": True}, status=201).status_code
            201
        """
        return cls(plain_json(value), status_code=status, headers=headers, media_type="application/json")
