"""Reads the `.sql` files of this rung into named statements; knows nothing of what they do."""

from __future__ import annotations

import re
from importlib import resources

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_COMMENT = re.compile(r"^\s*--.*\n", re.MULTILINE)


def load_queries(file: str, **words: str) -> dict[str, str]:
    """Return the statements of `store/<file>` by name, with `{word}` replaced by each of `words`."""
    text = (resources.files("everstep.store") / file).read_text(encoding="utf-8")
    parts = _NAME.split(text)[1:]
    queries = dict(zip(parts[::2], (_COMMENT.sub("", body).strip() for body in parts[1::2]), strict=True))
    for word, replacement in words.items():
        queries = {name: sql.replace(f"{{{word}}}", replacement) for name, sql in queries.items()}
    return queries


def load_migrations(database: str) -> list[str]:
    """Return the scripts of `store/<database>/migrations/NNNN_*.sql`, in order."""
    folder = resources.files("everstep.store") / database / "migrations"
    names = sorted(file.name for file in folder.iterdir())
    return [(folder / name).read_text(encoding="utf-8") for name in names]
