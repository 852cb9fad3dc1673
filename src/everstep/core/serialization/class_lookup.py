"""The app's classes whose values can be stored: how to name one, find it again, take a value apart and rebuild it.

Values are rebuilt without running `__init__`, `__post_init__` or validators, so that a replay repeats no side effect
and no rule that changed since can refuse what was true then. Structs are the exception: msgspec offers no other way.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
import typing
from collections.abc import Mapping
from enum import Enum
from functools import cached_property, lru_cache
from types import GenericAlias
from typing import Any, Literal, TypeAlias, cast

from msgspec import NODEFAULT, Struct
from msgspec.structs import fields as struct_fields
from msgspec.structs import force_setattr

from everstep.core.serialization.model_fields import SerialisedField, restore_field
from everstep.core.serialization.unserializable import unfindable

Kind: TypeAlias = Literal["enum", "struct", "pydantic", "dataclass", "namedtuple"]
Reference: TypeAlias = str | list[Any]
"""`"module:Qualname"`, or `["module:Generic", argument, ...]` for a parametrised pydantic model."""

_OWN_LAYOUT = (dict, list, set, frozenset, str, bytes, bytearray, int, float, complex, BaseException)


class UnrestorableError(Exception):
    """Stored data that today's code cannot rebuild; the text says why."""


def pydantic_model() -> Any:
    """`pydantic.BaseModel` if the app has imported pydantic; Everstep itself never does."""
    return getattr(sys.modules.get("pydantic.main"), "BaseModel", None)


def kind_of(cls: type) -> Kind | None:
    """Which kind of storable class this is, or None."""
    # Asked on every object: the answer for a class never changes, except that pydantic may not be imported yet.
    return _kind_of(cls, pydantic_model())


@lru_cache(maxsize=1024)
def _kind_of(cls: type, model: type | None) -> Kind | None:
    if issubclass(cls, Enum):
        return "enum"
    if issubclass(cls, tuple):
        return "namedtuple" if hasattr(cls, "_fields") and hasattr(cls, "_field_defaults") else None
    if issubclass(cls, _OWN_LAYOUT) or hasattr(cls, "__mapper__"):
        return None
    if issubclass(cls, Struct):
        return "struct"
    if model is not None and issubclass(cls, model):
        return "pydantic"
    return "dataclass" if dataclasses.is_dataclass(cls) else None


def is_record(declared: object) -> bool:
    """Whether this is a class whose values have named fields: a dataclass, Struct, pydantic model or named tuple."""
    return (
        isinstance(declared, type)
        and not isinstance(declared, GenericAlias)  # list[int] is an instance of type in Python 3.11 and older
        and kind_of(declared) in {"struct", "pydantic", "dataclass", "namedtuple"}
    )


def reference(cls: type, declared: object) -> Reference:
    """Name a class so that a later process can find it.

    Raises:
        RefusedError: when it could not, e.g. because the class is local to a function and not in `declared`.
    """
    generic = getattr(cls, "__pydantic_generic_metadata__", None)
    if generic and generic["origin"] and all(isinstance(arg, type) for arg in generic["args"]):
        return [reference(part, declared) for part in (generic["origin"], *generic["args"])]
    name = _name(cls)
    found = None if generic and generic["origin"] else _located(name, sys.modules.get(cls.__module__))
    if found is None and cls not in _classes_in(declared):
        raise unfindable(cls)
    return name


def reference_key(ref: Reference) -> str:
    """A reference as the key of a dict."""
    return ref if isinstance(ref, str) else repr(ref)


def find(ref: Reference, live: Mapping[str, type], declared: object) -> type:
    """Find a class again: the live one, by its name, or among the declared ones (also when it has moved).

    Raises:
        UnrestorableError: when it is gone.
    """
    if reference_key(ref) in live:
        return live[reference_key(ref)]
    if isinstance(ref, list):
        origin, *arguments = [find(part, live, declared) for part in ref]
        return cast("type", cast("Any", origin)[tuple(arguments)])
    module_name, _, qualname = ref.partition(":")
    found = None if "<locals>" in qualname else _located(ref, _imported(module_name))
    return found or _declared_as(ref, declared) or _missing(ref)


def _declared_as(ref: str, declared: object) -> type | None:
    candidates = list(_classes_in(declared))
    exact = [cls for cls in candidates if _name(cls) == ref]
    moved = [cls for cls in candidates if cls.__name__ == ref.rpartition(":")[2].rpartition(".")[2]]
    return exact[0] if exact else moved[0] if len(moved) == 1 else None


def _missing(ref: str) -> typing.NoReturn:
    raise UnrestorableError(
        f"its class {ref.replace(':', '.')} cannot be found; bring the class back under that name, or declare "
        "the moved class of the same name where the value is read"
    )


def _name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _imported(module: str) -> object:
    if module in sys.modules:
        return sys.modules[module]
    try:
        return importlib.import_module(module)
    except ImportError:
        return None
    except Exception as error:
        raise UnrestorableError(f"its module {module} cannot be imported: {error!r}") from error


def _located(name: str, module: object) -> type | None:
    found: Any = module
    for part in name.partition(":")[2].split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None


def _classes_in(declared: object) -> dict[type, None]:
    """Every class in a declared type and in the fields of the classes in it, outermost first."""
    found: dict[type, None] = {}
    waiting = [declared]
    while waiting:
        part = waiting.pop(0)
        if isinstance(part, type) and not isinstance(part, GenericAlias):
            if part in found:
                continue
            found[part] = None
            waiting += _field_types(part)
        waiting += typing.get_args(part)
        waiting += [origin] if (origin := typing.get_origin(part)) is not None else []
    return found


def _field_types(cls: type) -> list[object]:
    if kind_of(cls) == "pydantic":
        return [field.annotation for field in cast("Any", cls).model_fields.values()]
    try:
        return list(typing.get_type_hints(cls).values())
    except Exception:  # noqa: BLE001  # names that resolve nowhere: whatever is no text is of use all the same
        return [hint for hint in getattr(cls, "__annotations__", {}).values() if not isinstance(hint, str)]


def to_fields(value: Any, kind: Kind) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a value into its fields and the rest of its state, which depends on the kind."""
    cls = type(value)
    if kind == "pydantic":
        return _model_to_fields(value)
    if kind == "struct":
        names = cls.__struct_fields__
    elif kind == "namedtuple":
        names = cls._fields
    else:
        names = tuple(field.name for field in dataclasses.fields(cls))
    fields = {name: getattr(value, name) for name in names if _is_set(value, name)}
    extra = _without_caches(cls, {k: v for k, v in getattr(value, "__dict__", {}).items() if k not in fields})
    return fields, {"extra": extra} if extra else {}


def _model_to_fields(value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    state: dict[str, Any] = {"set": sorted(value.model_fields_set)}
    if value.__pydantic_extra__ is not None:
        state["extra"] = value.__pydantic_extra__
    if value.__pydantic_private__ is not None:
        state["private"] = _without_unset(value.__pydantic_private__)
    return _without_caches(type(value), value.__dict__), state


def _is_set(value: object, name: str) -> bool:
    return hasattr(value, name)


def _without_caches(cls: type, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is computed again on demand, and what typing puts on instances of generic classes."""
    return {
        name: value
        for name, value in attributes.items()
        if not isinstance(getattr(cls, name, None), cached_property)
        and not (name.startswith("__") and name.endswith("__"))
    }


def _without_unset(private: Mapping[str, Any]) -> dict[str, Any]:
    undefined = type(sys.modules["pydantic_core"].PydanticUndefined)
    return {name: value for name, value in private.items() if not isinstance(value, undefined)}


def rebuild(cls: type, fields: dict[str, Any], state: Mapping[str, Any]) -> object:
    """Put a value together again. Fields gained since take their defaults; fields lost since are left out.

    Raises:
        UnrestorableError: when a field without a default was gained, or the class is of no storable kind any more.
    """
    match kind_of(cls):
        case "pydantic":
            return _rebuild_model(cls, fields, state)
        case "struct":
            value = _rebuild_struct(cls, fields)
        case "namedtuple":
            value = _rebuild_namedtuple(cls, fields)
        case "dataclass":
            value = _rebuild_dataclass(cls, fields)
        case _:
            raise UnrestorableError(f"{_shown(cls)} is no dataclass, Struct, pydantic model or named tuple any more")
    if extra := state.get("extra"):
        value.__dict__.update(extra)
    return value


def _rebuild_dataclass(cls: Any, fields: Mapping[str, Any]) -> Any:
    value = object.__new__(cls)
    for field in dataclasses.fields(cls):
        if field.name in fields:
            object.__setattr__(value, field.name, fields[field.name])
        elif field.default is not dataclasses.MISSING:
            object.__setattr__(value, field.name, field.default)
        elif field.default_factory is not dataclasses.MISSING:
            object.__setattr__(value, field.name, field.default_factory())
        elif field.init:
            _default_for_new_field(cls, field.name)
    return value


def _rebuild_struct(cls: Any, fields: Mapping[str, Any]) -> Any:
    for field in struct_fields(cls):
        if field.name not in fields and field.default is NODEFAULT and field.default_factory is NODEFAULT:
            _default_for_new_field(cls, field.name)
    known = {name: fields[name] for name in cls.__struct_fields__ if name in fields}
    value = cls(**known)
    # A __post_init__ that derives one field from another must not do so twice.
    for name, item in known.items():
        force_setattr(value, name, item)
    return value


def _rebuild_namedtuple(cls: Any, fields: Mapping[str, Any]) -> Any:
    values = {**cls._field_defaults, **fields}
    for name in cls._fields:
        if name not in values:
            _default_for_new_field(cls, name)
    return tuple.__new__(cls, [values[name] for name in cls._fields])


def _rebuild_model(cls: Any, fields: Mapping[str, Any], state: Mapping[str, Any]) -> Any:
    known = {name: _field_value(cls, name, fields[name]) for name in cls.model_fields if name in fields}
    for name, field in cls.model_fields.items():
        if name not in known:
            if field.is_required():
                _default_for_new_field(cls, name)
            known[name] = field.get_default(call_default_factory=True, validated_data=known)
    extra = state.get("extra")
    names = {*known, *(extra or ())}
    value = cls.__new__(cls)
    pydantic_model().__setstate__(
        value,
        {
            "__dict__": known,
            "__pydantic_extra__": extra,
            "__pydantic_fields_set__": {name for name in state.get("set", fields) if name in names},
            "__pydantic_private__": _private_state(cls, state.get("private")),
        },
    )
    return value


def _field_value(cls: type, name: str, value: Any) -> Any:
    return restore_field(cls, name, value) if type(value) is SerialisedField else value


def _private_state(cls: Any, stored: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not cls.__private_attributes__:
        return None
    defaults = {name: attribute.get_default() for name, attribute in cls.__private_attributes__.items()}
    return _without_unset({**defaults, **(stored or {})})


def _default_for_new_field(cls: type, field: str) -> typing.NoReturn:
    raise UnrestorableError(
        f"{_shown(cls)} has gained the field {field!r}, which the stored value lacks; give the field a default"
    )


def _shown(cls: type) -> str:
    return f"class {cls.__module__}.{cls.__qualname__}"
