"""Secrets for local runs, from `.dev.vars` or `.env`; never shown. Knows nothing of settings or of `os.environ`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from everstep.config.sources import read_text
from everstep.core.errors import ConfigError

_QUOTED = r"""'(?P<literal>[^']*)'|`(?P<raw>[^`]*)`|"(?P<escaped>(?:[^"\\]|\\.)*)\""""
_ENTRY = re.compile(
    rf"""[^\S\n]*(?:export[^\S\n]+)?
         (?P<name>[A-Za-z_][A-Za-z0-9_.-]*)[^\S\n]*=[^\S\n]*
         (?:(?:{_QUOTED})[^\S\n]*(?:\#[^\n]*)? | (?P<plain>[^\s'"`][^\n]*)? )
         (?:\n|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_NOTHING = re.compile(r"[^\S\n]*(?:#[^\n]*)?(?:\n|\Z)")
_INLINE_COMMENT = re.compile(r"(?:^|\s)#.*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


class Secrets(Mapping[str, str]):
    """Names and values, of which only the names are ever shown.

    Attributes:
        files: The files they were read from, by their names.

    Example:
        >>> Secrets({"PAYMENT_API_KEY": "sk_123"})
        Secrets(PAYMENT_API_KEY)
    """

    __slots__ = ("_values", "files")

    def __init__(self, values: Mapping[str, str], files: tuple[str, ...] = ()) -> None:
        self._values = dict(values)
        self.files = files

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Secrets({', '.join(self._values)})"


def load_secrets(root: Path, environment: str | None = None) -> Secrets:
    """Read the secrets of a project's directory.

    `.dev.vars.<environment>`, or else `.dev.vars`, is used alone. Where there is neither, `.env`, `.env.<environment>`,
    `.env.local` and `.env.<environment>.local` are read, the later ones winning.

    Raises:
        ConfigError: for a line that cannot be understood, by file and number; the line itself may be a secret.
    """
    values: dict[str, str] = {}
    files = _files(root, environment)
    for name in files:
        values.update(parse_dotenv(read_text(root / name, name), name))
    return Secrets(values, files)


def parse_dotenv(text: str, label: str) -> dict[str, str]:
    """Read `NAME=value` lines; `label` is what messages call the text. Nothing is expanded in values."""
    values: dict[str, str] = {}
    position = 0
    while position < len(text):
        nothing = _NOTHING.match(text, position)
        entry = None if nothing else _ENTRY.match(text, position)
        if nothing is None and entry is None:
            raise ConfigError(_complaint(text, position, label))
        if entry is not None:
            values[entry["name"]] = _value(entry)
        position = (entry or nothing).end()  # type: ignore[union-attr]  # one of both matched
    return values


def _files(root: Path, environment: str | None) -> tuple[str, ...]:
    for alone in (f".dev.vars.{environment}", ".dev.vars") if environment else (".dev.vars",):
        if (root / alone).is_file():
            return (alone,)
    names = [".env", ".env.local"]
    if environment:
        names = [".env", f".env.{environment}", ".env.local", f".env.{environment}.local"]
    return tuple(name for name in names if (root / name).is_file())


def _value(entry: re.Match[str]) -> str:
    for verbatim in ("literal", "raw"):
        if entry[verbatim] is not None:
            return entry[verbatim]
    if entry["escaped"] is not None:
        return _ESCAPE.sub(lambda match: _ESCAPED.get(match[1], match[0]), entry["escaped"])
    return _INLINE_COMMENT.sub("", entry["plain"] or "").strip()


def _complaint(text: str, position: int, label: str) -> str:
    line = text[position:].split("\n", 1)[0]
    number = text.count("\n", 0, position) + 1
    name, equals, value = line.partition("=")
    if equals and re.fullmatch(r"\s*(?:export\s+)?[A-Za-z_][A-Za-z0-9_.-]*\s*", name) and value.strip()[:1] in "\"'`":
        why = "the value's quotes do not close, or something follows them; close them, or escape quotes inside with \\"
    else:
        why = "expected NAME=value, with a name of letters, digits and _"
    return f"{label}:{number}: {why} (the line is not shown, as it may hold a secret)"
