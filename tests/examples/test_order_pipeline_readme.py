"""The tutorial shows the example's files as they are."""

from __future__ import annotations

import re

import pytest
from playground import HERE as EXAMPLE

README = (EXAMPLE / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(?:python|toml|sh)\n# (?P<file>[\w./-]+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
EXCERPTS = [(block["file"], block["code"]) for block in BLOCK.finditer(README)]
SHOWN = {file for file, _ in EXCERPTS}


@pytest.mark.parametrize(("file", "code"), EXCERPTS, ids=[f"{n}-{file}" for n, (file, _) in enumerate(EXCERPTS)])
def test_every_excerpt_is_contained_in_its_file_word_for_word(file: str, code: str) -> None:
    assert code.strip("\n") in (EXAMPLE / file).read_text(encoding="utf-8")


def test_the_pipelines_files_are_all_shown() -> None:
    expected = {"everstep.toml", "src/orders.py", "src/index.py", "src/services.py", "src/business_days.py"}

    assert expected | {"tests/test_orders.py"} <= SHOWN


def test_every_file_it_names_exists() -> None:
    named = set(re.findall(r"`((?:src/|tests/)?[\w.]+\.(?:py|toml|txt|example))`", README))

    assert not {file for file in named if not (EXAMPLE / file).exists()}
