"""JSON with comments."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everstep.config.formats import jsonc

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
TRICKY = st.sampled_from(["//", "/* no */", 'a"//b', "\\", ",]", ",}", "http://x", "\\\\"])
VALUES = st.recursive(
    SCALARS | TRICKY,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | TRICKY, inner, max_size=4),
    max_leaves=12,
)
GAPS = st.sampled_from(["", " ", "\n", "// one\n", "/* two */", "/* three\n */ ", '// "four",]\n', "/**/", "// /*\n"])


@st.composite
def commented(draw: st.DrawFn) -> tuple[Any, str]:
    """A value, and a way to write it with comments and trailing commas."""

    def gap() -> str:
        return draw(GAPS)

    def write(value: Any) -> str:
        if isinstance(value, list):
            items = [write(item) for item in value]
            return "[" + joined(items) + "]"
        if isinstance(value, dict):
            items = [f"{json.dumps(key)}{gap()}:{gap()}{write(item)}" for key, item in value.items()]
            return "{" + joined(items) + "}"
        return json.dumps(value, ensure_ascii=draw(st.booleans()))

    def joined(items: list[str]) -> str:
        text = ",".join(f"{gap()}{item}{gap()}" for item in items)
        return text + (f",{gap()}" if items and draw(st.booleans()) else gap())

    value = draw(VALUES)
    return value, gap() + write(value) + gap()


@given(commented())
def test_comments_and_trailing_commas_change_no_value(example: tuple[Any, str]) -> None:
    value, text = example
    assert jsonc.loads(text) == value


@given(commented())
def test_blanking_moves_no_line_and_no_column(example: tuple[Any, str]) -> None:
    _, text = example
    blanked = jsonc.blank(text)
    assert len(blanked) == len(text)
    assert [i for i, c in enumerate(blanked) if c == "\n"] == [i for i, c in enumerate(text) if c == "\n"]


@given(VALUES)
def test_plain_json_is_left_as_it_is(value: Any) -> None:
    text = json.dumps(value, indent=2)
    assert jsonc.blank(text) == text


@pytest.mark.parametrize("text", ["[,]", "[1,,]", "{,}", '{"a":,}', "[1 /* open", '["a // b', "// nothing", "[1]/"])
def test_what_is_wrong_in_jsonc_stays_wrong(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        jsonc.loads(text)
