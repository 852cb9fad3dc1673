"""Fields of pydantic models that no rule of Everstep's own can write, in the JSON that pydantic has for their type."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Annotated, Any

import orjson
from msgspec import UNSET, Struct


class SerialisedField(Struct, frozen=True):
    """A field's value as pydantic writes it, to be read by its model."""

    tree: Any


def serialise_field(model: type, name: str, value: object) -> Any:
    """Return a field's value as JSON, or UNSET if pydantic would not read the same value of the same type back.

    So nothing is ever changed by being stored: a `SecretStr`, which pydantic writes as asterisks, has no such JSON.
    """
    try:
        data = _adapter(model, name).dump_json(value, warnings="error")
        copy = _adapter(model, name).validate_json(data)
        same = type(copy) is type(value) and copy == value and repr(copy) == repr(value)
        return orjson.loads(data) if same else UNSET
    except Exception:  # noqa: BLE001  # no schema for its type, or code of the app's that refuses it
        return UNSET


def restore_field(model: type, name: str, field: SerialisedField) -> Any:
    """Read back what `serialise_field` wrote, by the field's type of today."""
    return _adapter(model, name).validate_json(orjson.dumps(field.tree))


@lru_cache(maxsize=1024)
def _adapter(model: Any, name: str) -> Any:
    pydantic: Any = sys.modules["pydantic"]  # the app has imported it, or there would be no model
    field = model.model_fields[name]
    hint = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    try:
        return pydantic.TypeAdapter(hint, config=model.model_config)
    except pydantic.errors.PydanticUserError:  # a type with a configuration of its own
        return pydantic.TypeAdapter(hint)
