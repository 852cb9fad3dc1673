"""Values for people and for HTTP: JSON without tags. Easy to read, not meant to be read back exactly.

Datetimes are ISO 8601 (UTC as `Z`), durations ISO 8601 (`PT1.5S`), Decimal and UUID strings, bytes base64, enum
members their values, classes with fields objects under their wire names, and the floats that JSON lacks the strings
`"NaN"`, `"Infinity"` and `"-Infinity"`.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import orjson
from msgspec import UNSET

from everstep.core.errors import NotSerializableError
from everstep.core.serialization.class_lookup import kind_of, to_fields
from everstep.core.serialization.unserializable import UnserializableError, circular, explain

_DIGITS_BITS = 14_000
"""Python writes at most 4300 decimal digits; a larger number is shown in hexadecimal."""


def plain(value: object) -> Any:
    """Turn anything that can be stored into None, bool, int, float, str, list and dict.

    Raises:
        NotSerializableError: for what cannot be stored either.

    Example:
        >>> plain({"at": datetime(2026, 1, 2), "total": Decimal("9.90"), "tags": {"b", "a"}})
        {'at': '2026-01-02T00:00:00', 'total': '9.90', 'tags': ['a', 'b']}
    """
    try:
        return _plain(value)
    except RecursionError:
        refused = circular(value)
    except UnserializableError as error:
        refused = error
    raise NotSerializableError(f"it cannot be written as JSON: {refused.what}; {refused.hint}")


def plain_json(value: object) -> bytes:
    """`plain`, as the bytes of a JSON text.

    Example:
        >>> plain_json({1: float("nan")})
        b'{"1":"NaN"}'
    """
    simple = plain(value)
    try:
        return orjson.dumps(simple)
    except TypeError:  # a number of more than 64 bits, or more than 254 levels
        return json.dumps(simple, ensure_ascii=False, separators=(",", ":")).encode()


def _plain(value: object) -> Any:
    cls = type(value)
    write = _WRITERS.get(cls)
    if write is not None:
        return write(value)
    match kind_of(cls):
        case "enum":
            return _member(value)
        case "struct":
            return _struct(value)
        case "pydantic":
            return _model(value)
        case "dataclass" | "namedtuple" as kind:
            return _dict(to_fields(value, kind)[0])
    raise explain(value)


def _member(member: Any) -> Any:
    try:
        return _plain(member.value)
    except UnserializableError:  # stored by its name, so its value may be anything
        return member.name


def _int(value: int) -> int | str:
    return value if value.bit_length() <= _DIGITS_BITS else hex(value)


def _float(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _str(value: str) -> str:
    # Lone surrogates are no Unicode; clients could not even parse the answer.
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()


def _list(value: Iterable[object]) -> list[Any]:
    simple = []
    for item in value:
        simple.append(_plain(item))  # noqa: PERF401  # a comprehension is one more frame for every level
    return simple


def _sorted_list(value: Iterable[Any]) -> list[Any]:
    try:
        value = sorted(value)
    except Exception:  # noqa: BLE001  # items without an order, or with a broken one
        return _list(value)
    return _list(value)


def _dict(value: Mapping[Any, object]) -> dict[str, Any]:
    simple = {}
    for key, item in value.items():
        simple[_key(key)] = _plain(item)
    return simple


def _key(key: object) -> str:
    simple = _plain(key)
    return simple if isinstance(simple, str) else json.dumps(simple, ensure_ascii=False, separators=(",", ":"))


def _time(value: datetime | time) -> str:
    text = value.isoformat()
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def _timedelta(value: timedelta) -> str:
    text: str = msgspec.to_builtins(value)
    return text


def _struct(value: Any) -> Any:
    config = value.__struct_config__
    items = [getattr(value, name, UNSET) for name in value.__struct_fields__]
    if config.array_like:
        return _list(items if config.tag is None else [config.tag, *items])
    fields = dict(zip(value.__struct_encode_fields__, items, strict=True))
    tag = {} if config.tag is None else {config.tag_field: config.tag}
    return _dict({**tag, **{name: item for name, item in fields.items() if item is not UNSET}})


def _model(value: Any) -> Any:
    try:
        return _plain(value.model_dump(mode="json", by_alias=True, warnings=False))
    except Exception:  # noqa: BLE001  # an app's serializer must not keep a stored value from being shown
        fields, state = to_fields(value, "pydantic")
        return _dict({**fields, **state.get("extra", {})})


def _base64(value: bytes) -> str:
    return b64encode(value).decode("ascii")


def _itself(value: object) -> Any:
    return value


_WRITERS: dict[type, Callable[[Any], Any]] = {
    type(None): _itself,
    bool: _itself,
    int: _int,
    float: _float,
    str: _str,
    list: _list,
    tuple: _list,
    dict: _dict,
    set: _sorted_list,
    frozenset: _sorted_list,
    bytes: _base64,
    bytearray: _base64,
    datetime: _time,
    date: date.isoformat,
    time: _time,
    timedelta: _timedelta,
    Decimal: str,
    UUID: str,
    type(UNSET): lambda _: None,
}
