"""What is wrong with settings as written: all of it at once, each with its path. Knows no files and no lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct, inspect

from everstep.config.formats.source_positions import KeyPath, dotted
from everstep.config.schema import Config, FileConfig, WorkflowConfig
from everstep.config.values.type_names import Kind, describe, matches, shown, unwrap
from everstep.config.wrangler import CLOUDFLARE_ONLY
from everstep.core.names import check_workflow_name, kebab_case, upper_snake_case
from everstep.core.suggest import did_you_mean


class Problem(Struct, frozen=True):
    """One thing that is wrong, and where. `unknown_key` ones are forgiven in wrangler's files."""

    path: KeyPath
    message: str
    unknown_key: bool = False


def find_problems(tree: Any, schema: type[Config] = FileConfig) -> list[Problem]:
    """Look through everything that `tree` says, and report all that does not fit `schema`."""
    problems = list(_in_value(tree, inspect.type_info(schema), ()))
    for path, section in _sections(tree, schema):
        problems.extend(_between_workflows(section, path))
    return problems


def _sections(tree: Any, schema: type[Config]) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    if isinstance(tree, dict):
        yield (), tree
        for name, section in _table(tree, "env").items() if schema is FileConfig else ():
            if isinstance(section, dict):
                yield ("env", name), section


def _in_value(value: Any, kind: Kind, path: KeyPath) -> Iterator[Problem]:
    plain = unwrap(kind)
    if isinstance(plain, inspect.StructType) and isinstance(value, dict):
        yield from _in_table(value, plain, path)
    elif isinstance(plain, inspect.DictType) and isinstance(value, dict):
        for key, item in value.items():
            yield from _in_value(item, plain.value_type, (*path, key))
    elif isinstance(plain, inspect.ListType) and isinstance(value, list) and value:
        found = [p for index, item in enumerate(value) for p in _in_value(item, plain.item_type, (*path, index))]
        yield from found or _against_rule(value, kind, path)
    elif not matches(value, plain):
        yield Problem(path, f"{_what(path)}expected {describe(plain)}{_example(kind)}, got {_shown(value, path)}")
    elif value is not None:
        yield from _against_rule(value, kind, path)


def _in_table(table: Mapping[str, Any], kind: inspect.StructType, path: KeyPath) -> Iterator[Problem]:
    fields = {field.name: field for field in kind.fields}
    for key, value in table.items():
        if key in fields:
            yield from _in_value(value, fields[key].type, (*path, key))
        else:
            yield Problem((*path, key), _unknown(key, list(fields), path), unknown_key=True)
    for key, field in fields.items():
        if field.required and key not in table:
            yield Problem(path, f"{_what(path)}{key} is missing{_example(field.type, key)}")


def _unknown(key: str, known: list[str], path: KeyPath) -> str:
    where = f" in {dotted(path)}" if path else ""
    if key in CLOUDFLARE_ONLY and (not path or path[0] == "env"):
        return f"key {key!r}{where} is wrangler's and means nothing here; remove it"
    return f"unknown key {key!r}{where}" + (did_you_mean(key, known) or f"; known: {', '.join(known)}")


def _against_rule(value: Any, kind: Kind, path: KeyPath) -> Iterator[Problem]:
    rule = (kind.extra or {}).get("check") if isinstance(kind, inspect.Metadata) else None
    if rule is None:
        return
    try:
        rule(value)
    except (TypeError, ValueError) as error:
        yield Problem(path, f"{_what(path)}{error}")


def _between_workflows(section: Mapping[str, Any], path: KeyPath) -> Iterator[Problem]:
    workflows = section.get("workflows")
    taken: dict[tuple[str, str], str] = {("binding", name): f"vars.{name}" for name in _table(section, "vars")}
    for index, workflow in enumerate(workflows if isinstance(workflows, list) else []):
        here = (*path, "workflows", index)
        if not isinstance(workflow, dict) or not isinstance(workflow.get("class_name"), str):
            continue
        for key, value in _called(workflow).items():
            owner = taken.setdefault((key, value), dotted(here))
            if owner != dotted(here):
                kind = "name in env" if key == "binding" else "name"
                yield Problem((*here, key), f"{dotted((*here, key))}: {value!r} is already the {kind} of {owner}")
        yield from _derived_name(workflow, here)


def _called(workflow: Mapping[str, Any]) -> dict[str, str]:
    class_name = workflow["class_name"]
    called = {
        "name": workflow.get("name", kebab_case(class_name)),
        "binding": workflow.get("binding", upper_snake_case(class_name)),
    }
    return {key: value for key, value in called.items() if isinstance(value, str)}


def _derived_name(workflow: Mapping[str, Any], path: KeyPath) -> Iterator[Problem]:
    if "name" in workflow or not workflow["class_name"].isidentifier():
        return
    try:
        check_workflow_name(WorkflowConfig(class_name=workflow["class_name"]).name)
    except ValueError as error:
        yield Problem((*path, "class_name"), f"{dotted(path)} needs a name, as its class gives none: {error}")


def _table(tree: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = tree.get(key)
    return value if isinstance(value, dict) else {}


def _what(path: KeyPath) -> str:
    return f"{dotted(path)}: " if path else ""


def _example(kind: Kind, key: str | None = None) -> str:
    about = kind.extra_json_schema if isinstance(kind, inspect.Metadata) else None
    examples = (about or {}).get("examples")
    if not examples or not isinstance(examples[0], str):
        return ""
    return f'; write for example {key} = "{examples[0]}"' if key else f' such as "{examples[0]}"'


def _shown(value: Any, path: KeyPath) -> str:
    return "a text" if "vars" in path and isinstance(value, str) else shown(value)
