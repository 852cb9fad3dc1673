"""The blocks of the tutorial's page: the files it shows, and the commands it gives."""

from __future__ import annotations

import re

from playground import HERE as EXAMPLE

README = (EXAMPLE / "README.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (?P<path>[\w./-]+)\n(?P<text>.*)", re.DOTALL)


def files_and_commands(page: str) -> tuple[dict[str, str], list[str]]:
    """Return the files by their paths, and the blocks of commands in their order."""
    files: dict[str, str] = {}
    commands: list[str] = []
    for language, text in _BLOCK.findall(page):
        if shown := _FILE.fullmatch(text):
            assert shown["path"] not in files, f"{shown['path']} is shown twice, so neither is whole"
            files[shown["path"]] = shown["text"]
        else:
            assert language == "sh", f"a block of {language} without a file's name above it: {text[:60]}"
            commands.append(text)
    return files, commands


FILES, COMMANDS = files_and_commands(README)
