"""A project's settings as rows for people, each with where it came from and without secrets. Prints nothing."""

from __future__ import annotations

import json
from typing import Any

from everstep.config.formats.source_positions import KeyPath, dotted
from everstep.config.schema import Project
from everstep.config.settings import leaves
from everstep.core.redact import HIDDEN, looks_secret, redact_url


def describe(project: Project) -> list[tuple[str, str, str]]:
    """List every setting as `(key, value, source)`.

    Values are written as JSON where they are not text; unset ones are empty. Passwords in URLs are masked, and so are
    values under names that sound like secrets. The source is a place such as `everstep.toml:3`, `EVERSTEP_DATABASE`,
    `--database` or `default`.
    """
    rows = []
    for path, value in leaves(project.config):
        key = dotted(path)
        rows.append((key, _shown(path, value), project.sources.get(key, "default")))
    return rows


def _shown(path: KeyPath, value: Any) -> str:
    if value in (None, "", [], {}):
        return ""
    if path[0] in {"vars", "observability"} and looks_secret(str(path[-1])):
        return HIDDEN
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return redact_url(text)
