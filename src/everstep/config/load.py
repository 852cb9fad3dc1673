"""From a directory to a project: finds its file, lets every source of settings have its say, and checks them all.

Runs none of the user's code, and does not look whether `main` and its classes exist.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from everstep.config.formats.source_positions import KeyPath, dotted
from everstep.config.schema import Config, FileConfig, Project
from everstep.config.settings import leaves
from everstep.config.sources import (
    FILE_NAMES,
    NOTHING,
    Source,
    environment_source,
    file_source,
    flag_source,
    has_settings,
    section,
)
from everstep.config.validate import find_problems
from everstep.config.wrangler import JavaScriptMainError, python_main
from everstep.core.errors import ConfigError
from everstep.core.suggest import did_you_mean

_NOT_INHERITED = ("workflows", "vars")
_NO_OVERRIDES: Mapping[str, Any] = {}


class _Findings(Struct):
    """What was noticed on the way: errors, reported together in the end, and warnings."""

    errors: list[str]
    warnings: list[str]

    def stop(self, label: str) -> None:
        if len(self.errors) == 1:
            raise ConfigError(self.errors[0])
        if self.errors:
            listed = "\n".join(f"  {error}" for error in self.errors)
            raise ConfigError(f"{len(self.errors)} problems in {label}:\n{listed}")


def load_project(
    start: Path,
    *,
    environment: str | None = None,
    overrides: Mapping[str, Any] = _NO_OVERRIDES,
    environ: Mapping[str, str],
) -> Project:
    """Find the project that `start` belongs to and read its settings.

    A flag wins over an environment variable, that over the file's `env.<name>`, and that over its other settings.

    Args:
        start: Where to begin; the nearest directory upward that has a configuration is the project's root.
        environment: Which `env.<name>` to use. `EVERSTEP_ENV` when None.
        overrides: Flags, by the name of the setting; None means not given.
        environ: The environment variables, e.g. `os.environ`.

    Raises:
        ConfigError: one message that lists everything found wrong, each with file and line.
    """
    start = start.resolve()
    environment = environment or environ.get("EVERSTEP_ENV") or None
    findings = _Findings([], [])
    file = _find_file(start, findings)
    root = file.parent if file else start
    base = file_source(file, os.path.relpath(file, start)) if file else NOTHING
    flags, variables = flag_source(overrides), environment_source(environ)
    for source, schema in ((base, FileConfig), (variables, Config), (flags, Config)):
        _check(source, schema, findings)
    layers = [flags, variables, *_file_layers(base, environment, findings)]
    chosen = _choose(layers)
    main = _python_main(chosen, root, findings)
    findings.stop(base.label or "the settings")
    config = _resolve(chosen, main, root)
    origins = _origins(config, chosen)
    return Project(
        root=root, file=file, config=config, env_name=environment, sources=origins, warnings=findings.warnings
    )


def _find_file(start: Path, findings: _Findings) -> Path | None:
    for directory in (start, *start.parents):
        found = [directory / name for name in FILE_NAMES if has_settings(directory / name)]
        if [path.name for path in found[:2]] == ["everstep.toml", "pyproject.toml"]:
            findings.warnings.append(
                f"{directory} has both everstep.toml and [tool.everstep] in pyproject.toml; only everstep.toml is used"
            )
        if found:
            return found[0]
    return None


def _check(source: Source, schema: type[Config], findings: _Findings) -> None:
    for problem in find_problems(source.tree, schema):
        forgiven = problem.unknown_key and source.lenient
        message = f"{source.where(problem.path)}: {problem.message}"
        (findings.warnings if forgiven else findings.errors).append(message)


def _file_layers(base: Source, environment: str | None, findings: _Findings) -> list[Source]:
    """Give the file's layers, strongest first; without a file or with a broken one there is nothing to choose from."""
    if environment is None:
        return [base]
    names = _names(base.tree)
    if environment not in names:
        findings.errors.append(_no_such_environment(environment, names, base))
        return [base]
    layer = section(base, environment)
    for key in _NOT_INHERITED:
        if base.tree.get(key) and key not in layer.tree:
            findings.warnings.append(
                f"{layer.where(())}: {key} is set above but not in env.{environment}, which does not take it over; "
                f"repeat it as env.{environment}.{key}"
            )
    inherited = {key: value for key, value in base.tree.items() if key not in _NOT_INHERITED}
    return [layer, Source(inherited, base.where, base.label, base.lenient)]


def _names(tree: Any) -> list[str]:
    sections = tree.get("env") if isinstance(tree, dict) else None
    return [name for name, value in sections.items() if isinstance(value, dict)] if isinstance(sections, dict) else []


def _no_such_environment(environment: str, names: list[str], base: Source) -> str:
    if not base.label:
        return f"there is no environment {environment!r}, as no configuration file was found"
    hint = did_you_mean(environment, names) or (f"; it has: {', '.join(names)}" if names else "; it has no env section")
    return f"there is no environment {environment!r} in {base.label}{hint}"


def _choose(layers: list[Source]) -> dict[str, Source]:
    """Find the strongest layer that has each key."""
    chosen: dict[str, Source] = {}
    for layer in layers:
        for key in layer.tree if isinstance(layer.tree, dict) else ():
            chosen.setdefault(key, layer)
    return {key: source for key, source in chosen.items() if key in Config.__struct_fields__}


def _python_main(chosen: Mapping[str, Source], root: Path, findings: _Findings) -> str | None:
    source = chosen.get("main")
    written = source.tree["main"] if source else None
    if source is None or not isinstance(written, str):
        return None
    try:
        main = python_main(written, root)
    except JavaScriptMainError as error:
        findings.errors.append(f"{source.where(('main',))}: {error}")
        return None
    if main != written:
        findings.warnings.append(f"{source.where(('main',))}: main is {written!r}; {main!r} beside it is used instead")
    return main


def _resolve(chosen: Mapping[str, Source], main: str | None, root: Path) -> Config:
    config = msgspec.convert({key: source.tree[key] for key, source in chosen.items()}, Config)
    return msgspec.structs.replace(config, main=main, database=_absolute(config.database, root))


def _absolute(database: str, root: Path) -> str:
    """Resolve a relative SQLite path against the root; `:memory:` and other databases stay as they are."""
    prefix = "sqlite:///"
    path = database.removeprefix(prefix)
    if path == database or not path or path.startswith((":memory:", "/")):
        return database
    name, mark, query = path.partition("?")
    return f"{prefix}{os.path.normpath(root / name)}{mark}{query}"


def _origins(config: Config, chosen: Mapping[str, Source]) -> dict[str, str]:
    origins = {}
    for path, _ in leaves(config):
        source = chosen.get(str(path[0]))
        if source is not None and _has(source.tree, path):
            origins[dotted(path)] = source.where(path)
    return origins


def _has(tree: Any, path: KeyPath) -> bool:
    try:
        for key in path:
            tree = tree[key]
    except (KeyError, IndexError):
        return False
    return True
