"""Values as they are stored: JSON text in, JSON text out, never pickle. Reads and writes no store.

A value comes back as itself: equal, of equal type, and sharing nothing with the original. Plain JSON takes a fast way
through C; everything else is written by `tagged`. docs/design/values.md says what is stored and why.
"""

from __future__ import annotations

import json
import marshal
from typing import Any

import orjson

from everstep.core.errors import NotSerializableError, StoredValueError, ValueTooLargeError
from everstep.core.limits import VALUE_BYTES
from everstep.core.serialization.class_lookup import UnrestorableError
from everstep.core.serialization.coercion import coerce, coerce_result
from everstep.core.serialization.json_view import plain, plain_json
from everstep.core.serialization.tagged import NESTING, TAG, Decoder, Encoder
from everstep.core.serialization.unserializable import UnserializableError

__all__ = ["coerce", "coerce_result", "decode", "encode", "encode_plain", "encode_tagged", "plain", "plain_json"]

_TAG_IN_TEXT = f'"{TAG}"'
_TAG_IN_BYTES = _TAG_IN_TEXT.encode()
_DOLLAR = ord(TAG)  # to look for one byte is much quicker, and most values have none
_STRICT = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS


def encode(
    value: object, *, where: str, declared: object = Any, limit_bytes: int = VALUE_BYTES, verb: str = "return"
) -> tuple[str, Any]:
    """Write a value as JSON text, and read it back as every replay will.

    Args:
        value: What to store.
        where: How messages call it, e.g. `"the result of step 'charge'"`.
        declared: The declared type; only needed to find classes that are local to a function.
        limit_bytes: The most bytes the text may have.
        verb: How messages call what brought the value here: a step returns one, a caller passes one.

    Returns:
        The text, and the value decoded from it: a fresh object.

    Raises:
        NotSerializableError: names the place, the path inside the value, and what to return instead.
        ValueTooLargeError: names the place, the size and what to do.

    Example:
        >>> encode({"total": 3, "parts": (1, 2)}, where="the result of step 'sum'")
        ('{"total":3,"parts":{"$":"tuple","v":[1,2]}}', {'total': 3, 'parts': (1, 2)})
    """
    return encode_plain(value, limit_bytes) or encode_tagged(value, where, declared, limit_bytes, verb)


def decode(text: str, declared: object = Any, *, where: str = "a stored value") -> Any:
    """Read a value back from the text that `encode` wrote.

    Args:
        text: The stored text.
        declared: The declared type, for classes that have moved or are local to a function.
        where: How messages call it.

    Raises:
        StoredValueError: when a class is gone or has changed too much, and `declared` does not help.

    Example:
        >>> decode('{"$":"set","v":[7]}')
        {7}
    """
    try:
        tree = orjson.loads(text)
    except ValueError as error:
        raise StoredValueError(f"{where} is not what was stored: it is no JSON ({error})") from error
    return _from_tree(tree, {}, declared, where) if _TAG_IN_TEXT in text else tree


def encode_plain(value: Any, limit_bytes: int = VALUE_BYTES) -> tuple[str, Any] | None:
    """Write and read a value that is nothing but plain JSON, and not too large; None for others (`encode_tagged`).

    orjson alone would turn tuples into lists, NaN into null and enum members into their values. marshal refuses every
    subclass and every foreign type; reading back and comparing finds the rest. Equality cannot be fooled by 1 == True,
    since each of these types is written as itself.
    """
    try:
        data = orjson.dumps(value, None, _STRICT)
        if (_DOLLAR in data and _TAG_IN_BYTES in data) or len(data) > limit_bytes:
            return None
        marshal.dumps(value, 2)
        copy = orjson.loads(data)
    except (TypeError, ValueError):
        return None
    return (data.decode(), copy) if copy == value else None


def encode_tagged(
    value: object, where: str, declared: object = Any, limit_bytes: int = VALUE_BYTES, verb: str = "return"
) -> tuple[str, Any]:
    """Write and read a value that `encode_plain` does not take; arguments and errors are those of `encode`."""
    encoder = Encoder(declared)
    try:
        text = _dump(encoder.encode(value))
    except UnserializableError as refused:
        raise NotSerializableError(
            f"{where} cannot be stored: {refused.path} is {refused.what}; {refused.hint.replace('return', verb)}"
        ) from None
    except RecursionError:
        raise NotSerializableError(
            f"{where} cannot be stored: it is nested too deeply, near {NESTING} levels; "
            f"{verb} it in a flatter shape, or as text"
        ) from None
    if (size := len(text.encode())) > limit_bytes:
        raise _too_large(where, size, limit_bytes, verb)
    return text, _from_tree(orjson.loads(text), encoder.classes, declared, where)


def _dump(tree: object) -> str:
    try:
        return orjson.dumps(tree).decode()
    except TypeError:
        # Tags nest deeper than the value does; orjson writes 254 levels but reads 1024.
        return json.dumps(tree, ensure_ascii=False, separators=(",", ":"))


def _from_tree(tree: Any, live: dict[str, type], declared: object, where: str) -> Any:
    try:
        return Decoder(live, declared).decode(tree)
    except UnrestorableError as error:
        raise StoredValueError(f"{where} cannot be restored: {error}") from error.__cause__
    except Exception as error:
        # The app's own code runs here: __hash__ of a set's items, __post_init__ of a Struct.
        raise StoredValueError(f"{where} cannot be restored by today's code: {error!r}") from error


def _too_large(where: str, size: int, limit: int, verb: str) -> ValueTooLargeError:
    return ValueTooLargeError(
        f"{where} would take {size:,} bytes as JSON, more than the limit of {limit:,}; "
        f"store it elsewhere (a file, a bucket, a table) and {verb} a reference to it"
    )
