"""On which line a key stands in TOML or JSON, for messages. Parses no values; the text must be valid already."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from typing import TypeAlias

from everstep.config.formats.jsonc import blank

KeyPath: TypeAlias = tuple[str | int, ...]
"""`("workflows", 1, "class_name")`, written `workflows[1].class_name`."""
Lines: TypeAlias = dict[KeyPath, int]
"""The line, counted from 1, of every key and every item of a list."""

_STRING = r'"""(?:[^\\]|\\.)*?"{3,5}|' + r"'''.*?'{3,5}" + r'|"(?:[^"\\\n]|\\.)*"|' + r"'[^'\n]*'"
_TOML = re.compile(
    rf"(?P<skip>[ \t]+|\#[^\n]*)|(?P<string>{_STRING})|(?P<mark>\[\[|\]\]|[\[\]{{}},=.\n])"
    r"|(?P<bare>[^\s\[\]{},=.#]+)",
    re.DOTALL,
)
_JSON = re.compile(r'(?P<skip>\s+)|(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<mark>[\[\]{},:])|(?P<bare>[^\s\[\]{},:"]+)')


def dotted(path: KeyPath) -> str:
    """Write a path as people do.

    Example:
        >>> dotted(("workflows", 1, "class_name"))
        'workflows[1].class_name'
    """
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def line_of(lines: Lines, path: KeyPath) -> int:
    """Find the line of a key, or of the nearest table around it when the key itself is not there."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return 1


def json_lines(text: str) -> Lines:
    """Find the line of every key in JSON or JSONC."""
    scan = _Scan(_JSON, blank(text))
    _json_value(scan, ())
    return scan.lines


def toml_lines(text: str) -> Lines:
    """Find the line of every key in TOML."""
    scan = _Scan(_TOML, text)
    tables = _Tables(scan.lines)
    prefix: KeyPath = ()
    while scan.kind:
        if scan.text == "\n":
            scan.step()
        elif scan.text in {"[", "[["}:
            prefix = _toml_header(scan, tables)
        else:
            _toml_pair(scan, prefix)
    return scan.lines


class _Scan:
    """A stream of tokens with the one at hand, and the lines found so far."""

    def __init__(self, pattern: re.Pattern[str], text: str) -> None:
        self.lines: Lines = {}
        self.kind = ""
        self.text = ""
        self.line = 1
        self._tokens = self._read(pattern, text)
        self.step()

    def step(self) -> None:
        self.kind, self.text, self.line = next(self._tokens, ("", "", self.line))

    @staticmethod
    def _read(pattern: re.Pattern[str], text: str) -> Iterator[tuple[str, str, int]]:
        line = 1
        for match in pattern.finditer(text):
            if match.lastgroup != "skip":
                yield match.lastgroup or "", match[0], line
            line += match[0].count("\n")


class _Tables:
    """Which TOML paths are arrays of tables, and how many tables each has so far."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._counts: dict[KeyPath, int] = {}

    def enter(self, keys: list[str], line: int, *, item: bool) -> KeyPath:
        path: KeyPath = ()
        for key in keys[:-1]:
            path = self._latest((*path, key), line)
        path = (*path, keys[-1])
        self._lines.setdefault(path, line)
        if item:
            self._counts[path] = self._counts.get(path, 0) + 1
        return self._latest(path, line)

    def _latest(self, path: KeyPath, line: int) -> KeyPath:
        self._lines.setdefault(path, line)
        if path in self._counts:
            path = (*path, self._counts[path] - 1)
            self._lines.setdefault(path, line)
        return path


def _toml_header(scan: _Scan, tables: _Tables) -> KeyPath:
    item, line = scan.text == "[[", scan.line
    scan.step()
    keys = _toml_key(scan, "]")
    scan.step()
    return tables.enter(keys, line, item=item)


def _toml_pair(scan: _Scan, prefix: KeyPath) -> None:
    line = scan.line
    path = prefix
    for key in _toml_key(scan, "="):
        path = (*path, key)
        scan.lines.setdefault(path, line)
    scan.step()
    _toml_value(scan, path)


def _toml_key(scan: _Scan, until: str) -> list[str]:
    keys = []
    while scan.kind and not scan.text.startswith(until):
        if scan.kind == "string":
            keys.append(str(tomllib.loads(f"key = {scan.text}")["key"]))
        elif scan.kind == "bare":
            keys.append(scan.text)
        scan.step()
    return keys


def _toml_value(scan: _Scan, path: KeyPath) -> None:
    if scan.text.startswith("["):
        _toml_list(scan, path)
    elif scan.text == "{":
        scan.step()
        while scan.kind and scan.text != "}":
            if scan.text in {",", "\n"}:
                scan.step()
            else:
                _toml_pair(scan, path)
        scan.step()
    else:
        while scan.kind and (scan.kind != "mark" or scan.text == "."):  # 1.5 and 07:32:00.5 are bare · . · bare
            scan.step()


def _toml_list(scan: _Scan, path: KeyPath) -> None:
    _open_list(scan)
    index = 0
    while scan.kind and not scan.text.startswith("]"):
        if scan.text in {",", "\n"}:
            scan.step()
            continue
        scan.lines[*path, index] = scan.line
        _toml_value(scan, (*path, index))
        index += 1
    _close_list(scan)


def _open_list(scan: _Scan) -> None:
    # `[[` is one token because headers need it so; inside a value it is two lists.
    if scan.text == "[[":
        scan.text = "["
    else:
        scan.step()


def _close_list(scan: _Scan) -> None:
    if scan.text == "]]":
        scan.text = "]"
    else:
        scan.step()


def _json_value(scan: _Scan, path: KeyPath) -> None:
    opening = scan.text
    scan.step()
    if opening not in {"{", "["}:
        return
    index = 0
    while scan.kind and scan.text not in {"}", "]"}:
        if scan.text == ",":
            scan.step()
            continue
        key: str | int = index
        line = scan.line
        if opening == "{":
            key = str(json.loads(scan.text))
            scan.step()  # the key
            scan.step()  # the colon
        scan.lines[*path, key] = line
        _json_value(scan, (*path, key))
        index += 1
    scan.step()
