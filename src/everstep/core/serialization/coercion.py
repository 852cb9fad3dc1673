"""Plain data turned into declared types: params and payloads strictly, results of steps as far as they fit.

msgspec converts what it can in one go. What it refuses is gone through once more part by part, which takes what msgspec
does not know (enum members, unions of dataclasses, pydantic models anywhere) and finds the exact path of what is wrong.
"""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from enum import Enum, Flag
from functools import lru_cache
from inspect import Parameter
from types import GenericAlias, UnionType
from typing import Any

import msgspec
import typing_extensions
from msgspec.structs import fields as struct_fields

from everstep.core.errors import InvalidParamsError
from everstep.core.serialization.class_lookup import is_record, kind_of
from everstep.core.serialization.json_view import plain, plain_json
from everstep.core.serialization.unserializable import PathError, key_step

_OPEN = (Any, object, None, Parameter.empty)
_WRAPPERS = (typing.Required, typing.NotRequired, typing_extensions.ReadOnly)


class TypeMismatchError(PathError):
    """A value that does not fit its declared type; the text says why."""


def coerce(value: object, declared: object, *, where: str = "the params") -> Any:
    """Turn plain data into its declared type, strictly: no text is taken for a number, nothing required may be missing.

    Args:
        value: JSON values, or values that already have the declared type.
        declared: A dataclass, Struct, pydantic model, TypedDict, named tuple, enum or standard type, or a container or
            union of these. `Any`, `None` and type variables declare nothing.
        where: How messages call it, e.g. `"the params of workflow 'order-pipeline'"`.

    Raises:
        InvalidParamsError: with the path inside the value and the reason.

    Example:
        >>> coerce(["2026-01-02"], list[__import__("datetime").date])
        [datetime.date(2026, 1, 2)]
    """
    try:
        return _restored(value, declared)
    except TypeMismatchError as misfit:
        raise InvalidParamsError(
            f"{where} must fit {_type_name(declared)}; {misfit.path} does not: {misfit.what}"
        ) from misfit.__cause__


def coerce_result(value: object, declared: object) -> Any:
    """Turn a plain dict into the declared class with fields, or leave it as it is when it does not fit.

    Annotations of steps are hints, not contracts.

    Example:
        >>> coerce_result({"status": "ok"}, int)
        {'status': 'ok'}
    """
    if type(value) is not dict or not _stands_for_record(declared):
        return value
    try:
        return _restored(value, declared)
    except TypeMismatchError:
        return value


@lru_cache(maxsize=1024)
def _named_record(declared: object) -> bool:
    arms = [_origin(arm) for arm in _arms(declared)]
    return any(is_record(arm) for arm in arms) and not any(_takes_dicts(arm) for arm in arms)


def _stands_for_record(declared: object) -> bool:
    """Whether a plain dict is to be read as a class with fields; asked at every step, so it is remembered by type."""
    try:
        return _named_record(declared)
    except TypeError:  # annotated with something that has no hash
        return _named_record.__wrapped__(declared)


def _restored(value: object, declared: object) -> Any:
    if _is_open(declared) or (is_record(declared) and isinstance(value, declared)):  # type: ignore[arg-type]
        return value
    if not _is_validated(declared):
        try:
            return _convert(value, declared)
        except Exception:  # noqa: BLE001, S110  # the second way finds what is wrong, or that nothing is
            pass
    return _coerce(value, declared)


def _convert(value: object, declared: Any) -> Any:
    return msgspec.convert(value, declared, strict=True, str_keys=True, dec_hook=_custom)


def _custom(declared: Any, value: object) -> Any:
    """Take the types that msgspec leaves to us."""
    if _is_validated(declared):
        return _validate(value, declared)
    if isinstance(value, typing.get_origin(declared) or declared):
        return value
    raise TypeError(f"Expected `{_type_name(declared)}`, got `{type(value).__name__}`")


def _coerce(value: Any, declared: Any) -> Any:
    """Convert one part, and its parts in turn."""
    origin = typing.get_origin(declared)
    if _is_open(declared) or (isinstance(declared, type) and type(value) is declared and origin is None):
        return value
    if origin in _WRAPPERS or _is_bare_annotation(declared, origin):
        return _coerce(value, typing.get_args(declared)[0])
    if origin in {typing.Union, UnionType}:
        return _coerce_union(value, typing.get_args(declared))
    if _is_validated(declared):
        return _coerce_validated(value, declared)
    if is_record(declared) or typing.is_typeddict(declared) or typing_extensions.is_typeddict(declared):
        return _coerce_record(value, declared)
    return _coerce_container(value, declared, origin, typing.get_args(declared))


def _coerce_union(value: Any, arms: tuple[Any, ...]) -> Any:
    if type(value) in arms:
        return value
    misfits: list[TypeMismatchError] = []
    for arm in sorted(arms, key=lambda arm: _keys_lost(value, arm)):
        try:
            return _coerce(value, arm)
        except TypeMismatchError as misfit:
            if arm is not type(None):
                misfits.append(misfit)
    if len(misfits) == 1:
        raise misfits[0]
    raise TypeMismatchError(f"expected one of {', '.join(map(_type_name, arms))}, got {_kind(value)}")


def _keys_lost(value: Any, arm: Any) -> int:
    if not (isinstance(value, dict) and is_record(arm)):
        return 0
    known = {name for name, *_ in _fields(arm)}
    return sum(key not in known for key in value)


def _coerce_validated(value: object, declared: Any) -> Any:
    try:
        return _validate(value, declared)
    except Exception as error:
        errors = getattr(error, "errors", None)
        if errors is None:
            raise TypeMismatchError(f"{error}") from error
        first = errors(include_url=False)[0]
        misfit = TypeMismatchError(_lower_first(first["msg"]))
        for step in reversed(first["loc"]):
            misfit.inside(f"[{step}]" if isinstance(step, int) else key_step(step))
        raise misfit from error


def _validate(value: object, declared: Any) -> Any:
    if isinstance(value, declared):
        return value
    if kind_of(declared) != "pydantic":
        return sys.modules["pydantic"].TypeAdapter(declared).validate_python(value)
    if declared.model_config.get("strict"):
        # In strict mode only JSON may spell a date as text.
        return declared.model_validate_json(plain_json(value))
    return declared.model_validate(value)


def _coerce_record(value: Any, declared: Any) -> Any:
    if not typing_extensions.is_typeddict(declared) and isinstance(value, declared):
        return value
    config = getattr(declared, "__struct_config__", None)
    if config is not None and config.array_like:
        return _coerce_leaf(value, declared)
    fields = _fields(declared)
    if isinstance(value, (list, tuple)) and kind_of(declared) == "namedtuple" and len(value) <= len(fields):
        value = dict(zip((name for name, *_ in fields), value, strict=False))
    if not isinstance(value, dict):
        raise TypeMismatchError(f"expected an object with the fields of {_type_name(declared)}, got {_kind(value)}")
    if config is not None:
        _check_struct(value, config, {name for name, *_ in fields})
    parts: dict[str, Any] = {}
    for wire_name, name, hint, required in fields:
        if wire_name in value:
            parts[name] = _inside(key_step(wire_name), value[wire_name], hint)
        elif required:
            raise TypeMismatchError(f"the required field {wire_name!r} is missing")
    try:
        return declared(**parts)
    except Exception as error:
        raise TypeMismatchError(f"{error}") from error


def _check_struct(value: Mapping[str, Any], config: Any, names: set[str]) -> None:
    if config.tag is not None and value.get(config.tag_field, config.tag) != config.tag:
        raise TypeMismatchError(
            f"the field {config.tag_field!r} must be {config.tag!r}, got {value[config.tag_field]!r}"
        )
    unknown = [key for key in value if key not in names and key != config.tag_field]
    if config.forbid_unknown_fields and unknown:
        raise TypeMismatchError(f"the field {unknown[0]!r} is unknown")


def _fields(declared: Any) -> list[tuple[str, str, Any, bool]]:
    """Name on the wire, name, type, and whether it must be given: for every field."""
    kind = kind_of(declared)
    if kind == "struct":
        return [(field.encode_name, field.name, field.type, field.required) for field in struct_fields(declared)]
    hints = _hints(declared)
    if kind == "namedtuple":
        return [(name, name, hints.get(name), name not in declared._field_defaults) for name in declared._fields]
    if kind == "dataclass":
        return [
            (field.name, field.name, hints.get(field.name), _has_no_default(field))
            for field in dataclasses.fields(declared)
            if field.init
        ]
    if kind == "pydantic":
        return [(field.alias or name, name, None, field.is_required()) for name, field in declared.model_fields.items()]
    return [(name, name, hint, name in declared.__required_keys__) for name, hint in hints.items()]


def _hints(declared: Any) -> dict[str, Any]:
    try:
        return typing_extensions.get_type_hints(declared, include_extras=True)
    except Exception as error:
        raise TypeMismatchError(f"the fields of {_type_name(declared)} cannot be read: {error}") from error


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _coerce_container(value: Any, declared: Any, origin: Any, args: tuple[Any, ...]) -> Any:
    if origin in _SEQUENCES and isinstance(value, (list, tuple, set, frozenset)):
        return _coerce_items(value, declared, origin, args)
    if origin is dict and isinstance(value, dict):
        return {
            _inside(key_step(key), key, args[0], _coerce_key): _inside(key_step(key), item, args[1])
            for key, item in value.items()
        }
    if isinstance(declared, type) and not origin and issubclass(declared, Enum):
        return _coerce_member(value, declared)
    return _coerce_leaf(value, declared)


def _coerce_items(value: Any, declared: Any, origin: Any, args: tuple[Any, ...]) -> Any:
    if origin is not tuple or (len(args) == 2 and args[1] is ...):
        hints = (args[0],) * len(value)
    elif len(args) == len(value):
        hints = args
    else:
        raise TypeMismatchError(f"expected {len(args)} items for {_type_name(declared)}, got {len(value)}")
    return origin(
        [_inside(f"[{index}]", item, hint) for index, (item, hint) in enumerate(zip(value, hints, strict=True))]
    )


def _coerce_member(value: Any, declared: type[Enum]) -> Any:
    if isinstance(value, declared):
        return value
    if issubclass(declared, Flag) and type(value) is int:
        return _flag(value, declared)
    for member in declared:
        if plain(member) == value and isinstance(value, bool) == isinstance(member.value, bool):
            return member
    values = ", ".join(repr(plain(member)) for member in declared)
    raise TypeMismatchError(f"expected one of {values}, got {value!r:.80}")


def _flag(value: int, declared: type[Flag]) -> Flag:
    try:
        return declared(value)
    except ValueError as error:
        raise TypeMismatchError(str(error)) from error


def _coerce_key(key: Any, declared: Any) -> Any:
    if type(key) is not str:
        return _coerce(key, declared)
    # Keys of JSON objects are text whatever they stand for; msgspec reads numbers and dates in them.
    return next(iter(_coerce_leaf({key: None}, dict[declared, Any])))


def _inside(step: str, value: object, declared: Any, fit: Callable[[Any, Any], Any] = _coerce) -> Any:
    try:
        return fit(value, declared)
    except TypeMismatchError as misfit:
        misfit.inside(step)
        raise


def _coerce_leaf(value: object, declared: Any) -> Any:
    try:
        return _convert(value, declared)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        misfit = TypeMismatchError(_lower_first(reason))
        if path and not path.startswith("`"):
            misfit.inside(path.removesuffix("`"))
        raise misfit from error
    except Exception as error:
        raise TypeMismatchError(f"{_type_name(declared)} is no type that data can be turned into ({error})") from error


_SEQUENCES = (list, tuple, set, frozenset)


def _is_open(declared: object) -> bool:
    return (
        declared is Any
        or isinstance(declared, (str, typing.TypeVar, typing_extensions.TypeVar, typing.ForwardRef))
        or any(declared is nothing for nothing in _OPEN)
    )


def _is_bare_annotation(declared: Any, origin: Any) -> bool:
    """Whether this is `Annotated` without constraints; those are for msgspec to check."""
    return origin is typing.Annotated and not any(isinstance(note, msgspec.Meta) for note in declared.__metadata__)


def _is_validated(declared: object) -> bool:
    """Whether pydantic must do it: a model, or one of its dataclasses."""
    return is_record(declared) and hasattr(declared, "__pydantic_validator__")


def _arms(declared: object) -> Iterable[object]:
    """The arms of a union, or the type itself; `Annotated` is looked through."""
    origin = typing.get_origin(declared)
    if origin is typing.Annotated:
        return _arms(typing.get_args(declared)[0])
    if origin in {typing.Union, UnionType}:
        return [part for arm in typing.get_args(declared) for part in _arms(arm)]
    return [declared]


def _origin(declared: object) -> object:
    return typing.get_origin(declared) or declared


def _takes_dicts(arm: object) -> bool:
    if _is_open(arm) or typing_extensions.is_typeddict(arm):
        return arm is not None
    return isinstance(arm, type) and issubclass(dict, arm)


def _type_name(declared: Any) -> str:
    if isinstance(declared, type) and not isinstance(declared, GenericAlias):
        return declared.__qualname__.rpartition("<locals>.")[2]
    return str(declared).replace("typing.", "")


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
