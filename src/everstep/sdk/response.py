"""The requests and responses of `fetch`: Starlette's, plus `Response.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.background import BackgroundTask
from starlette.requests import Request as Request  # noqa: PLC0414  # re-exported on purpose
from starlette.responses import Response as _StarletteResponse

from everstep.core.serialization.codec import plain_json


class Response(_StarletteResponse):
    """Starlette's `Response`, with `status` as another word for `status_code`, and JSON of anything Everstep can store.

    Raises:
        TypeError: for a body that is neither text nor bytes, and for a status that is no number.

    Example:
        >>> Response("Not found", status=404).status_code
        404
    """

    def __init__(
        self,
        content: Any = None,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: BackgroundTask | None = None,
        *,
        status: int | None = None,
    ) -> None:
        if not (content is None or isinstance(content, (str, bytes, memoryview))):
            raise TypeError(
                f"the body of a Response is text or bytes, got {type(content).__name__}; "
                "for JSON write Response.json(value)"
            )
        code = status_code if status is None else status
        if not isinstance(code, int):
            raise TypeError(f"the status of a Response is a number, got {code!r}; write Response(body, status=404)")
        super().__init__(content, code, headers, media_type, background)

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
