"""Why a value cannot be stored, and what to return instead. Knows kinds of values; stores nothing."""

from __future__ import annotations

import dataclasses
import io
import types
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import date, datetime, time
from functools import partial

_PATH_CHARS = 160
_BUILTINS = (dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float, datetime, date, time)


class PathError(Exception):
    """Something wrong inside a value. Every container it passes on the way out adds its own step to the path."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what
        self._steps: list[str] = []

    def inside(self, step: str) -> None:
        """Add the step that led from a container to what is wrong."""
        self._steps.append(step)

    @property
    def path(self) -> str:
        """Where in the value it is: `items[3].price`, or `the value itself`."""
        path = "".join(reversed(self._steps)).removeprefix(".") or "the value itself"
        half = _PATH_CHARS // 2
        return path if len(path) <= _PATH_CHARS else f"{path[:half]} … {path[-half:]}"


class UnserializableError(PathError):
    """A value that cannot be stored, and what to return instead."""

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(what)
        self.hint = cure


def key_step(key: object) -> str:
    """Write a dict key as a step of a path: `.price`, or `['unit price']`."""
    return f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{_shown(key)}]"


def explain(value: object) -> UnserializableError:
    """Say what `value` is and what to return instead; for values of no kind that can be stored.

    Example:
        >>> explain(item for item in [1]).hint
        'return list(...) of it'
    """
    name = _class_name(value)
    for is_kind, what, cure in _KINDS:
        if is_kind(value):
            return UnserializableError(f"{what} ({name})", cure)
    for builtin in _BUILTINS:
        if isinstance(value, builtin):
            return UnserializableError(f"{name}, a subclass of {builtin.__name__}", _plain_builtin(builtin))
    return UnserializableError(f"an object of class {name}", "return a dict or a dataclass of what is needed of it")


def circular(value: object) -> UnserializableError:
    """Refuse a container that contains itself."""
    return UnserializableError(
        f"a circular reference (this {type(value).__name__} contains itself)", "return ids in place of the way back"
    )


def unfindable(cls: type) -> UnserializableError:
    """Refuse a value whose class a later process could not find."""
    name = f"{cls.__module__}.{cls.__qualname__}"
    if "<locals>" in cls.__qualname__:
        return UnserializableError(
            f"of class {name}, which is local to a function, so that a replay cannot find it",
            f"move class {cls.__name__} to module level",
        )
    return UnserializableError(
        f"of class {name}, which cannot be found again under that name",
        f"define class {cls.__name__} at the top level of an importable module, under its own name",
    )


def unknown_zone(value: datetime | time) -> UnserializableError:
    """Refuse a time whose time zone has neither a key nor a fixed offset."""
    return UnserializableError(
        f"a {type(value).__name__} in the time zone {_shown(value.tzinfo)} of class {_class_name(value.tzinfo)}",
        "use zoneinfo.ZoneInfo, or convert it with .astimezone(timezone.utc)",
    )


def _plain_builtin(builtin: type) -> str:
    if builtin in {datetime, date, time}:
        return f"return a plain {builtin.__name__}"
    return f"return {builtin.__name__}(...) of it"


def _class_name(value: object) -> str:
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001  # a user's __repr__ must not hide the real problem
        return f"<{_class_name(value)}>"
    return text if len(text) <= 60 else f"{text[:60]}…"


def _module_of(value: object) -> str:
    return type(value).__module__


def _is_lock(value: object) -> bool:
    return _module_of(value) in {"_thread", "threading", "asyncio.locks", "multiprocessing.synchronize"}


def _is_connection(value: object) -> bool:
    return _module_of(value) in {"socket", "_socket", "ssl", "sqlite3", "asyncio.streams"}


def _is_iterator(value: object) -> bool:
    return isinstance(
        value, (Iterator, range, types.GeneratorType, type({}.keys()), type({}.values()), type({}.items()))
    )


def _is_function(value: object) -> bool:
    return isinstance(value, (types.FunctionType, types.BuiltinFunctionType, types.MethodType, partial))


def _is_mapped(value: object) -> bool:
    return hasattr(type(value), "__mapper__") or "_sa_instance_state" in getattr(value, "__dict__", ())


def _is_path(value: object) -> bool:
    return hasattr(type(value), "__fspath__")


def _is_text_like(value: object) -> bool:
    return _module_of(value) in {"ipaddress", "fractions"} or isinstance(value, complex)


def _has(attribute: str) -> Callable[[object], bool]:
    return lambda value: hasattr(type(value), attribute)


_KINDS: tuple[tuple[Callable[[object], bool], str, str], ...] = (
    (lambda value: isinstance(value, type), "a class", "return its name, or an instance of it"),
    (lambda value: isinstance(value, types.ModuleType), "a module", "return its name"),
    (lambda value: isinstance(value, types.CoroutineType), "a coroutine", "return its result: did you forget await?"),
    (lambda value: isinstance(value, AsyncIterator), "an asynchronous iterator", "return [item async for item in ...]"),
    (lambda value: isinstance(value, Awaitable), "an awaitable", "return its result: did you forget await?"),
    (lambda value: isinstance(value, io.IOBase), "an open file", "return its path, or what was read from it"),
    (_is_connection, "an open connection", "return its address or id, and connect again where it is used"),
    (_is_lock, "a lock", "keep it outside the step and return the id of what it protects"),
    (_is_iterator, "an iterator", "return list(...) of it"),
    (_is_function, "a function", "return the result of calling it, or its name"),
    (lambda value: isinstance(value, BaseException), "an exception", "raise it, or return str(...) of it"),
    (_is_mapped, "an object mapped to a database row", "return a dict or a dataclass of the columns that are needed"),
    (
        _has("get_secret_value"),
        "a secret, which would be stored as asterisks",
        'take it from env where it is used, or return .get_secret_value() of it from a step with sensitive="output"',
    ),
    (_has("to_dict"), "an object", "return .to_dict() of it, or a dataclass of what is needed"),
    (lambda value: isinstance(value, memoryview), "a memoryview", "return bytes(...) of it"),
    (_has("tolist"), "an array or a number of an array library", "return .tolist() of it"),
    (_has("_asdict"), "a row", "return ._asdict() of it"),
    (_has("__attrs_attrs__"), "an attrs object", "return attrs.asdict(...) of it, or make its class a dataclass"),
    (dataclasses.is_dataclass, "a dataclass that is also a subclass of a builtin", "return a plain dataclass"),
    (_is_path, "a path", "return str(...) of it"),
    (_is_text_like, "a number or an address without a JSON form", "return str(...) of it"),
    (lambda value: isinstance(value, deque), "a deque", "return list(...) of it"),
)
