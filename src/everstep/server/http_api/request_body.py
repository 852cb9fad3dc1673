"""What requests say, checked: JSON bodies and query strings. Every complaint names the place and the cure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar

from starlette.requests import ClientDisconnect, Request

from everstep.core.limits import MIB
from everstep.core.names import check_event_type, check_instance_id
from everstep.core.suggest import did_you_mean
from everstep.server.http_api.errors import BadRequestError, RequestTooLargeError

BODY_BYTES = 8 * MIB
"""The largest body that is read. A value may have 1 MiB, and more as an escaped string in a JSON text."""

NameT = TypeVar("NameT", bound=str)


async def json_body(request: Request, *, empty: Any) -> Any:
    """Return the JSON value of a request's body, `empty` if there is none.

    Raises:
        BadRequestError: with the line and the column, if it is no JSON.
        RequestTooLargeError: if it has more than `BODY_BYTES`.
    """
    data = await _read(request)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise BadRequestError(f"the body is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}") from None
    return parse_json(text, "the body") if text.strip() else empty


def parse_json(text: str, what: str) -> Any:
    """Parse JSON. Raises BadRequestError with the line and the column."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise BadRequestError(f"{what} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise BadRequestError(f"{what} is nested too deeply") from None
    except ValueError as error:  # NaN, or a number of too many digits
        raise BadRequestError(f"{what} is not JSON that can be read here: {error}") from None


def object_body(value: Any, known: Iterable[str], what: str = "the body") -> dict[str, Any]:
    """Return a body, or a part of one, that must be an object of known keys. Raises BadRequestError."""
    known = list(known)
    if not isinstance(value, dict):
        raise BadRequestError(f"{what} must be a JSON object with {', '.join(known)}")
    for key in value:
        if key not in known:
            raise BadRequestError(f"unknown key {key!r}{did_you_mean(key, known)}; known: {', '.join(known)}")
    return value


def one_of(value: Any, allowed: Iterable[NameT], what: str) -> NameT:
    """Return `value` if it is one of the allowed words. Raises BadRequestError."""
    words = list(allowed)
    for word in words:
        if value == word:
            return word
    hint = did_you_mean(value, words) if isinstance(value, str) else ""
    raise BadRequestError(f"{what} must be one of {', '.join(words)}, got {value!r}{hint}")


def flag(value: Any, what: str) -> bool:
    """Return a value that is true or false; null is false. Raises BadRequestError."""
    if value is None or isinstance(value, bool):
        return bool(value)
    raise BadRequestError(f"{what} must be true or false, got {value!r}")


def whole_number(request: Request, name: str, *, default: int, most: int | None = None) -> int:
    """Return a query parameter that is a whole number from 1. Raises BadRequestError."""
    text = request.query_params.get(name)
    if text is None:
        return default
    range_text = "1 or more" if most is None else f"from 1 to {most}"
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BadRequestError(f"{name} must be a whole number, {range_text}, got {text!r}")
    number = int(text)
    if number < 1 or (most is not None and number > most):
        raise BadRequestError(f"{name} must be {range_text}, got {number}")
    return number


def instance_id(id: object) -> str:
    """Return a legal instance id. Raises BadRequestError."""
    try:
        return check_instance_id(id)
    except (TypeError, ValueError) as error:
        raise BadRequestError(str(error)) from None


def event_type(type: object) -> str:
    """Return a legal event type. Raises BadRequestError."""
    try:
        return check_event_type(type)
    except (TypeError, ValueError) as error:
        raise BadRequestError(str(error)) from None


def refuse_unsupported(request: Request, names: Iterable[str]) -> None:
    """Refuse query parameters of the original that have no effect here: a wrong answer would look right."""
    for name in names:
        if name in request.query_params:
            raise BadRequestError(f"{name} is not supported here; leave it out")


async def _read(request: Request) -> bytearray:
    data = bytearray()
    try:
        async for chunk in request.stream():
            data += chunk
            if len(data) > BODY_BYTES:
                raise RequestTooLargeError(f"the body has more than {BODY_BYTES:,} bytes, the most that is read here")
    except ClientDisconnect:
        raise BadRequestError("the client left before its body was complete") from None
    return data


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value")
