"""The places settings come from, as trees that know where each value stands. Merges nothing and checks nothing."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from msgspec import Struct, inspect

from everstep.config.formats import jsonc
from everstep.config.formats.source_positions import KeyPath, Lines, json_lines, line_of, toml_lines
from everstep.config.schema import Config
from everstep.config.settings import variable_name
from everstep.config.values.type_names import matches
from everstep.config.wrangler import CLOUDFLARE_ONLY
from everstep.core.errors import ConfigError
from everstep.core.redact import redact_url
from everstep.core.suggest import did_you_mean

FILE_NAMES = ("everstep.toml", "pyproject.toml", "wrangler.json", "wrangler.jsonc", "wrangler.toml")
"""The files that may hold settings, the first in a directory being the one that counts."""

_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_TOOL = ("tool", "everstep")


class Source(Struct, frozen=True):
    """Settings as they were written in one place.

    Attributes:
        tree: The settings; nothing is checked yet, not even that it is a table.
        where: Says for people where the value of a path stands.
        label: What the place is called, e.g. `everstep.toml`.
        forgiving: Whether unknown keys are only warned about, as in wrangler's files.
    """

    tree: Any
    where: Callable[[KeyPath], str]
    label: str
    lenient: bool = False


NOTHING = Source(tree={}, where=lambda _path: "", label="")


def has_settings(path: Path) -> bool:
    """Tell whether a file is there and holds settings; a `pyproject.toml` does when it has `[tool.everstep]`."""
    if not path.is_file():
        return False
    if path.name != "pyproject.toml":
        return True
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    if "everstep" not in text:
        return False  # a pyproject.toml of something else is not parsed, so it cannot be found broken
    try:
        return _tool_table(tomllib.loads(text)) is not None
    except tomllib.TOMLDecodeError:
        return re.search(r"^\s*\[\s*tool\s*\.\s*everstep\b", text, re.MULTILINE) is not None


def file_source(path: Path, label: str) -> Source:
    """Read the settings of a file.

    Raises:
        ConfigError: for a file that cannot be read or that breaks its syntax, with the place.
    """
    text = read_text(path, label)
    is_toml = path.suffix == ".toml"
    tree = _parse_toml(text, label) if is_toml else _parse_jsonc(text, label)
    lines = toml_lines(text) if is_toml else json_lines(text)
    if path.name == "pyproject.toml":
        return Source(_tool_table(tree), _finder(label, lines, _TOOL), label)
    forgiving = path.name.startswith("wrangler.")
    return Source(_without_cloudflare(tree) if forgiving else tree, _finder(label, lines, ()), label, forgiving)


def environment_source(environ: Mapping[str, str]) -> Source:
    """Read the settings of `EVERSTEP_…` variables: text as it is, everything else as JSON. Empty ones are not set."""
    tree: dict[str, Any] = {}
    for field in _fields():
        text = environ.get(variable_name(field.name), "")
        if text:
            tree[field.name] = text if matches("", field.type) else _parse_variable(field.name, text)
    return Source(tree, lambda path: variable_name(str(path[0])), "the environment")


def flag_source(overrides: Mapping[str, Any]) -> Source:
    """Read the settings of flags; None means that a flag was not given.

    Raises:
        TypeError: for a name that is no setting.
    """
    known = [field.name for field in _fields()]
    for key in overrides:
        if key not in known:
            raise TypeError(f"overrides has {key!r}, which is not a setting{did_you_mean(key, known)}")
    tree = {key: value for key, value in overrides.items() if value is not None}
    return Source(tree, lambda path: f"--{str(path[0]).replace('_', '-')}", "flags")


def section(source: Source, name: str) -> Source:
    """Take the part of a source that is for one environment."""
    return Source(
        source.tree["env"][name],
        lambda path: f"{source.where(('env', name, *path))} (env.{name})",
        f"env.{name} of {source.label}",
        source.lenient,
    )


def read_text(path: Path, label: str) -> str:
    """Read a file of settings as UTF-8, raising `ConfigError` when that cannot be done."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{label} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{label} cannot be read: {error.strerror}") from None


def _fields() -> tuple[inspect.Field, ...]:
    kind = inspect.type_info(Config)
    assert isinstance(kind, inspect.StructType)
    return kind.fields


def _finder(label: str, lines: Lines, prefix: KeyPath) -> Callable[[KeyPath], str]:
    return lambda path: f"{label}:{line_of(lines, (*prefix, *path))}"


def _tool_table(tree: dict[str, Any]) -> Any:
    tool = tree.get("tool")
    return tool.get("everstep") if isinstance(tool, dict) else None


def _without_cloudflare(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    kept = {key: value for key, value in tree.items() if key not in CLOUDFLARE_ONLY}
    if isinstance(kept.get("env"), dict):
        kept["env"] = {name: _without_cloudflare(value) for name, value in kept["env"].items()}
    return kept


def _parse_toml(text: str, label: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        # Until 3.14 the place is only in the message.
        place = _TOML_PLACE.search(str(error))
        message = _TOML_PLACE.sub("", str(error))
        if place and place[1]:
            _fail(text, label, int(place[1]), int(place[2]), f"not valid TOML: {message}")
        last = text.rstrip("\n").split("\n")
        _fail(text, label, len(last), len(last[-1]) + 1, f"not valid TOML: {message} at the end of the file")


def _parse_jsonc(text: str, label: str) -> Any:
    try:
        return jsonc.loads(text)
    except json.JSONDecodeError as error:
        _fail(text, label, error.lineno, error.colno, f"not valid JSON: {error.msg}")


def _fail(text: str, label: str, line: int, column: int, message: str) -> NoReturn:
    shown = redact_url([*text.split("\n"), ""][line - 1], keep_width=True)
    margin = " " * len(str(line))
    caret = re.sub(r"[^\t]", " ", shown[: column - 1]) + "^"
    raise ConfigError(f"{label}:{line}:{column}: {message}\n  {line} | {shown}\n  {margin} | {caret}")


def _parse_variable(key: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{variable_name(key)} must be JSON, as {key} is not a single text: {error.msg} at character {error.colno}"
        ) from None
