"""What a request says of an instance to create: its body read and checked, with the place of what is wrong."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from msgspec import Struct

from everstep.core.limits import LONGEST_RETENTION_MS
from everstep.server.http_api.errors import BadRequestError
from everstep.server.http_api.request_body import instance_id, object_body, parse_json

IGNORED = ("location_hint",)
"""Keys of the original that are accepted and have no effect."""
_KEYS = ("instance_id", "params", "instance_retention", "tags", *IGNORED)
_RETENTION_KEYS = ("success_retention", "error_retention")


class CreateRequest(Struct, frozen=True):
    """An instance that somebody asked for."""

    id: str | None
    params: Any
    retention: dict[str, Any] | None
    tags: list[Any]


def read_create_request(body: Any) -> CreateRequest:
    """Read the body of a request to create an instance. Raises BadRequestError."""
    body = object_body(body, _KEYS)
    id, params, tags = body.get("instance_id"), body.get("params"), body.get("tags")
    if isinstance(params, str):
        params = parse_json(params, "params (a JSON-encoded string)")
    if not (tags is None or isinstance(tags, list)):
        raise BadRequestError(f'tags must be a list of words, e.g. ["urgent"], got {tags!r}')
    return CreateRequest(
        None if id is None else instance_id(id), params, _retention(body.get("instance_retention")), tags or []
    )


def _retention(given: Any) -> dict[str, Any] | None:
    """Read a retention as Cloudflare writes it: durations, or milliseconds."""
    if given is None:
        return None
    given = object_body(given, _RETENTION_KEYS, "instance_retention")
    return {key: _duration(value, f"instance_retention.{key}") for key, value in given.items()}


def _duration(value: Any, what: str) -> str | timedelta | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LONGEST_RETENTION_MS:
        return timedelta(milliseconds=value)
    raise BadRequestError(
        f'{what} must be a duration such as "7 days", or a whole number of milliseconds from 0 to '
        f"{LONGEST_RETENTION_MS}, got {value!r}"
    )
