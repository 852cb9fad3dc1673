"""Values as tagged JSON: plain JSON stays itself, everything else becomes `{"$": kind, ...}`. Slow, exact, recursive.

A dict that JSON cannot hold as it is (a key that is no string, or the key `"$"` itself) becomes a list of pairs, so no
dict of the app's is ever taken for a tag. docs/design/values.md has the table of tags.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Flag
from math import isfinite
from typing import Any, TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo

from msgspec import UNSET

from everstep.core.serialization import class_lookup
from everstep.core.serialization.class_lookup import UnrestorableError
from everstep.core.serialization.model_fields import SerialisedField, serialise_field
from everstep.core.serialization.unserializable import UnserializableError, circular, explain, key_step, unknown_zone

TAG = "$"
NESTING = 254
"""Containers in containers; the same as orjson's own limit, so that a tag somewhere inside changes nothing."""

Tree: TypeAlias = Any
"""What JSON can hold: None, bool, int of 64 bits, finite float, str, list and dict with string keys."""


class Encoder:
    """Turns values into trees. `classes` collects the app's classes met on the way, by reference."""

    def __init__(self, declared: object = Any) -> None:
        self.classes: dict[str, type] = {}
        self._declared = declared
        self._open: set[int] = set()

    def encode(self, value: object) -> Tree:
        """Write one value.

        Raises:
            RefusedError: for what cannot be stored.
        """
        write = _WRITERS.get(type(value))
        return self._app_value(value) if write is None else write(self, value)

    def items(self, values: Iterable[object]) -> list[Tree]:
        """Write the items of a list, tuple or set."""
        self._enter(values)
        trees: list[Tree] = []
        try:
            for item in values:
                trees.append(self.encode(item))  # noqa: PERF401  # the length is needed when an item is refused
        except UnserializableError as refused:
            refused.inside(f"[{len(trees)}]")
            raise
        self._open.discard(id(values))
        return trees

    def mapping(self, value: dict[Any, Any]) -> Tree:
        """Write a dict."""
        self._enter(value)
        tree = self._fields(value, key_step) if _are_json_keys(value) else {TAG: "dict", "v": self._pairs(value)}
        self._open.discard(id(value))
        return tree

    def _model_fields(self, value: Mapping[str, Any], step: Callable[[str], str], cls: type) -> dict[str, Tree]:
        """Write a model's fields; one that is refused here is pydantic's to write, if it can read it back."""
        trees: dict[str, Tree] = {}
        for name, item in value.items():
            opened = set(self._open)
            try:
                trees[name] = self.encode(item)
            except UnserializableError as refused:
                self._open = opened
                written = serialise_field(cls, name, item)
                if written is UNSET:
                    refused.inside(step(name))
                    raise
                trees[name] = {TAG: "field", "v": written}
        return trees

    def _fields(self, value: Mapping[str, Any], step: Callable[[str], str], _: type | None = None) -> dict[str, Tree]:
        trees: dict[str, Tree] = {}
        name = ""
        try:
            for name, item in value.items():
                trees[name] = self.encode(item)
        except UnserializableError as refused:
            refused.inside(step(name))
            raise
        return trees

    def _pairs(self, value: Mapping[Any, Any]) -> list[Tree]:
        pairs: list[Tree] = []
        key: object = None
        try:
            for key, item in value.items():
                pairs.append([self.encode(key), self.encode(item)])
        except UnserializableError as refused:
            refused.inside(key_step(key))
            raise
        return pairs

    def _app_value(self, value: object) -> Tree:
        cls = type(value)
        kind = class_lookup.kind_of(cls)
        if kind is None:
            raise explain(value)
        ref = class_lookup.reference(cls, self._declared)
        self.classes[class_lookup.reference_key(ref)] = cls
        if kind == "enum":
            return {TAG: "enum", "c": ref, "v": _member(value)}
        self._enter(value)
        fields, state = class_lookup.to_fields(value, kind)
        write = self._model_fields if kind == "pydantic" else self._fields
        tree = {TAG: "object", "c": ref, "v": write(fields, key_step, cls)}
        for part, content in state.items():
            tree[part] = self.encode(content)
        self._open.discard(id(value))
        return tree

    def _enter(self, container: object) -> None:
        if id(container) in self._open:
            raise circular(container)
        if len(self._open) >= NESTING:
            raise UnserializableError(
                f"nested deeper than {NESTING} levels", "return it in a flatter shape, or as text"
            )
        self._open.add(id(container))


class Decoder:
    """Turns trees back into values. The tree is used up: lists and dicts are filled in place."""

    def __init__(self, live: Mapping[str, type] | None = None, declared: object = Any) -> None:
        self._live = live or {}
        self._declared = declared

    def decode(self, tree: Tree) -> Any:
        """Read one value.

        Raises:
            UnrestorableError: when a class is gone or has changed too much.
        """
        if type(tree) is list:
            for index, item in enumerate(tree):
                if type(item) in _CONTAINERS:
                    tree[index] = self.decode(item)
        elif type(tree) is dict:
            if TAG in tree:
                return self._tagged(tree)
            self.fields(tree)
        return tree

    def fields(self, tree: dict[str, Tree]) -> dict[str, Any]:
        """Read values by name."""
        for name, item in tree.items():
            if type(item) in _CONTAINERS:
                tree[name] = self.decode(item)
        return tree

    def _tagged(self, tree: dict[str, Tree]) -> Any:
        tag = tree[TAG]
        if tag == "object":
            cls = class_lookup.find(tree["c"], self._live, self._declared)
            state: dict[str, Any] = {
                part: self.decode(tree[part]) for part in ("extra", "set", "private") if part in tree
            }
            return class_lookup.rebuild(cls, self.fields(tree["v"]), state)
        if tag == "enum":
            return _find_member(class_lookup.find(tree["c"], self._live, self._declared), tree["v"])
        if tag in _CONTAINER_READERS:
            return _CONTAINER_READERS[tag](self.decode(tree["v"]))
        if tag in _READERS:
            return _READERS[tag](tree)
        raise UnrestorableError(f"it has the unknown tag {tag!r}: it was written by a newer release")


_CONTAINERS = (list, dict)


def _are_json_keys(value: dict[Any, Any]) -> bool:
    return all(type(key) is str and key != TAG and _is_unicode(key) for key in value)


def _is_unicode(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates, e.g. from os.fsdecode
        return False
    return True


def _write_str(_: Encoder, value: str) -> Tree:
    if _is_unicode(value):
        return value
    return {TAG: "str", "v": value.encode("unicode_escape").decode("ascii")}


def _write_int(_: Encoder, value: int) -> Tree:
    # Hexadecimal, because Python refuses to read more than 4300 decimal digits.
    return value if -(1 << 63) <= value < 1 << 64 else {TAG: "int", "v": hex(value)}


def _write_float(_: Encoder, value: float) -> Tree:
    return value if isfinite(value) else {TAG: "float", "v": repr(value)}


def _write_datetime(_: Encoder, value: datetime) -> Tree:
    return _with_zone("datetime", value, value.utcoffset())


def _write_time(_: Encoder, value: time) -> Tree:
    return _with_zone("time", value, value.utcoffset())


def _with_zone(tag: str, value: datetime | time, offset: timedelta | None) -> Tree:
    tree = {TAG: tag}
    zone = value.tzinfo
    if isinstance(zone, ZoneInfo) and zone.key:
        value = value.replace(tzinfo=None)
        tree["zone"] = zone.key
    elif zone is not None:
        # Only a fixed offset is the same for every moment, whatever class of time zone it comes from.
        if offset is None or zone.utcoffset(None) != offset:
            raise unknown_zone(value)
        value = value.replace(tzinfo=timezone(offset))
        if zone.tzname(None) != timezone(offset).tzname(None) and type(zone) is timezone:
            tree["name"] = zone.tzname(None)
    tree["v"] = value.isoformat()
    return {**tree, "fold": 1} if value.fold else tree


def _read_zoned(tree: Mapping[str, Any], value: Any) -> Any:
    if "zone" in tree:
        value = value.replace(tzinfo=ZoneInfo(tree["zone"]))
    elif "name" in tree:
        value = value.replace(tzinfo=timezone(value.utcoffset(), tree["name"]))
    return value.replace(fold=1) if "fold" in tree else value


def _member(value: Any) -> str | Tree:
    # A flag may be a combination without a name of its own.
    return _write_int(Encoder(), value.value) if isinstance(value, Flag) else value.name


def _find_member(cls: Any, member: Any) -> object:
    try:
        return cls[member] if isinstance(member, str) else cls(Decoder().decode(member))
    except (KeyError, ValueError, TypeError) as error:
        raise UnrestorableError(
            f"class {cls.__module__}.{cls.__qualname__} has no member {member!r} any more"
        ) from error


def _text(tag: str, text: Callable[[Any], str]) -> Callable[[Encoder, Any], Tree]:
    return lambda _, value: {TAG: tag, "v": text(value)}


def _items(tag: str) -> Callable[[Encoder, Any], Tree]:
    return lambda encoder, value: {TAG: tag, "v": encoder.items(value)}


def _itself(_: Encoder, value: object) -> Tree:
    return value


def _base64(value: bytes) -> str:
    return b64encode(value).decode("ascii")


_WRITERS: dict[type, Callable[[Encoder, Any], Tree]] = {
    type(None): _itself,
    bool: _itself,
    int: _write_int,
    float: _write_float,
    str: _write_str,
    list: Encoder.items,
    dict: Encoder.mapping,
    tuple: _items("tuple"),
    set: _items("set"),
    frozenset: _items("frozenset"),
    bytes: _text("bytes", _base64),
    bytearray: _text("bytearray", _base64),
    datetime: _write_datetime,
    date: _text("date", date.isoformat),
    time: _write_time,
    timedelta: lambda _, value: {TAG: "timedelta", "v": [value.days, value.seconds, value.microseconds]},
    Decimal: _text("decimal", str),
    UUID: _text("uuid", str),
    type(UNSET): lambda _, __: {TAG: "unset"},
}

_CONTAINER_READERS: dict[str, Callable[[Any], Any]] = {
    "dict": dict,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
}

_READERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "str": lambda tree: tree["v"].encode("ascii").decode("unicode_escape"),
    "int": lambda tree: int(tree["v"], 16),
    "float": lambda tree: float(tree["v"]),
    "bytes": lambda tree: b64decode(tree["v"]),
    "bytearray": lambda tree: bytearray(b64decode(tree["v"])),
    "datetime": lambda tree: _read_zoned(tree, datetime.fromisoformat(tree["v"])),
    "date": lambda tree: date.fromisoformat(tree["v"]),
    "time": lambda tree: _read_zoned(tree, time.fromisoformat(tree["v"])),
    "timedelta": lambda tree: timedelta(*tree["v"]),
    "decimal": lambda tree: Decimal(tree["v"]),
    "uuid": lambda tree: UUID(tree["v"]),
    "unset": lambda _: UNSET,
    "field": lambda tree: SerialisedField(tree["v"]),
}
