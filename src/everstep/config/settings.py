"""Lists: every key that can be set, for documentation and help, and every value that is set. Checks nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct, inspect

from everstep.config.formats.source_positions import KeyPath
from everstep.config.schema import Config, FileConfig
from everstep.config.values.type_names import Kind, describe, unwrap


class Setting(Struct, frozen=True):
    """One declared key.

    Attributes:
        key: With dots, e.g. `workflows.limits.steps`.
        type: In words.
        default: None for keys that are required or have no value when left out.
        help: What it means.
        required: Whether its table is incomplete without it.
        variable: The environment variable that sets it; only keys of the top level have one.
    """

    key: str
    type: str
    default: Any
    help: str
    required: bool
    variable: str | None


def settings() -> list[Setting]:
    """List every key that a file may hold."""
    return list(_settings(inspect.type_info(FileConfig), ""))


def variable_name(key: str) -> str:
    """`database` → `EVERSTEP_DATABASE`: the environment variable of a key of the top level."""
    return f"EVERSTEP_{key.upper()}"


def leaves(config: Config) -> Iterator[tuple[KeyPath, Any]]:
    """Give every single value of a configuration with its path; a list of plain values is one value."""
    for key, value in msgspec.to_builtins(config).items():
        yield from _leaves(value, (key,), deepest=2 if key == "vars" else 9)


def _settings(kind: Kind, prefix: str) -> Iterator[Setting]:
    assert isinstance(kind, inspect.StructType)
    for field in kind.fields:
        about = field.type.extra_json_schema if isinstance(field.type, inspect.Metadata) else None
        yield Setting(
            key=prefix + field.name,
            type=describe(field.type),
            default=None if field.default in (msgspec.NODEFAULT, "") else field.default,
            help=(about or {}).get("description", ""),
            required=field.required,
            variable=variable_name(field.name) if not prefix and field.name != "env" else None,
        )
        yield from _nested(unwrap(field.type), f"{prefix}{field.name}.")


def _nested(kind: Kind, prefix: str) -> Iterator[Setting]:
    if isinstance(kind, inspect.ListType):
        kind = unwrap(kind.item_type)
    if isinstance(kind, inspect.StructType):
        yield from _settings(kind, prefix)


def _leaves(value: Any, path: KeyPath, *, deepest: int) -> Iterator[tuple[KeyPath, Any]]:
    if len(path) < deepest and isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key), deepest=deepest)
    elif len(path) < deepest and isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index), deepest=deepest)
    elif len(path) == 1 or value not in (None, {}, []):
        yield path, value
