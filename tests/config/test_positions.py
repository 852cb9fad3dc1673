"""On which line a key stands."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everstep.config.formats.source_positions import KeyPath, dotted, json_lines, line_of, toml_lines

TOML = '''\
# a comment with [brackets] and key = value
name = "a # b"
"quoted.key" = 1
'literal' = { a = 1, "b.c" = [1, 2] }
a.b . c = 1.5
when = 1979-05-27 07:32:00.5
text = """
[not.a.table]
x = 1
"""
raw = \'\'\'
y = 2\'\'\'
crons = [
  "0 9 * * 1",  # ]

  "0 10 * * 1",
]
nested = [[1, 2], [
  3, [[4]]], { z = 1 }]
workflows = [
  { class_name = "A" },
  { class_name = "B", limits = { steps = 1 } },

]
[env.production.vars]
X = "1"
  [env."my env"]
  name = "x"
[[jobs]]
name = "first"
[[jobs]]
name = "second"
[jobs.limits]
steps = 1
[[jobs.parts]]
id = 1
[[jobs.parts]]
id = 2
[[jobs]]
[[jobs.parts]]
id = 3
'''

JSON = """\
{
  // "name": "not this"
  "name": "a // b",
  "workflows": [
    { "class_name": "A" },
    {
      "class_name": "B", /* , */ "limits":
        { "steps": 1, },
    },
  ],
  "env": {
    "production": { "vars": {
      "X": [1, [2,
        3]],
      "Y": {}, "Z": [] } }
  },
  "last": true
}
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("name",), 2),
        (("quoted.key",), 3),
        (("literal", "a"), 4),
        (("literal", "b.c", 1), 4),
        (("a", "b"), 5),
        (("a", "b", "c"), 5),
        (("when",), 6),
        (("text",), 7),
        (("raw",), 11),
        (("crons", 0), 14),
        (("crons", 1), 16),
        (("nested", 0, 1), 18),
        (("nested", 1, 0), 19),
        (("nested", 1, 1, 0, 0), 19),
        (("nested", 2, "z"), 19),
        (("workflows",), 20),
        (("workflows", 0, "class_name"), 21),
        (("workflows", 1), 22),
        (("workflows", 1, "limits", "steps"), 22),
        (("env", "production", "vars"), 25),
        (("env", "production", "vars", "X"), 26),
        (("env", "my env"), 27),
        (("env", "my env", "name"), 28),
        (("jobs", 0), 29),
        (("jobs", 0, "name"), 30),
        (("jobs", 1), 31),
        (("jobs", 1, "limits", "steps"), 34),
        (("jobs", 1, "parts", 0), 35),
        (("jobs", 1, "parts", 1, "id"), 38),
        (("jobs", 2), 39),
        (("jobs", 2, "parts", 0, "id"), 41),
    ],
)
def test_keys_are_found_in_toml(path: KeyPath, line: int) -> None:
    assert toml_lines(TOML).get(path) == line


def test_text_that_looks_like_toml_inside_strings_is_not_taken_for_keys() -> None:
    lines = toml_lines(TOML)
    assert ("not",) not in lines
    assert ("x",) not in lines
    assert ("y",) not in lines


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("name",), 3),
        (("workflows",), 4),
        (("workflows", 0), 5),
        (("workflows", 1), 6),
        (("workflows", 1, "class_name"), 7),
        (("workflows", 1, "limits"), 7),
        (("workflows", 1, "limits", "steps"), 8),
        (("env", "production", "vars", "X"), 13),
        (("env", "production", "vars", "X", 1, 1), 14),
        (("env", "production", "vars", "Z"), 15),
        (("last",), 17),
    ],
)
def test_keys_are_found_in_json_with_comments(path: KeyPath, line: int) -> None:
    assert json_lines(JSON).get(path) == line


def test_a_key_that_is_missing_is_looked_for_in_the_table_around_it() -> None:
    lines = toml_lines(dedent('x = 1\n[[workflows]]\nname = "a"\n'))
    assert line_of(lines, ("workflows", 0, "class_name")) == 2
    assert line_of(lines, ("nowhere",)) == 1


def test_a_path_is_written_with_dots_and_brackets() -> None:
    assert dotted(("env", "production", "workflows", 1, "class_name")) == "env.production.workflows[1].class_name"


def paths(value: object, path: KeyPath = ()) -> set[KeyPath]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path} | {found for key, item in items for found in paths(item, (*path, key))}


@pytest.mark.parametrize("text", [TOML, (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")])
def test_every_key_that_toml_has_is_found_and_no_other(text: str) -> None:
    assert set(toml_lines(text)) == paths(tomllib.loads(text)) - {()}


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20))
def test_every_key_that_json_has_is_found_and_no_other(value: object) -> None:
    assert set(json_lines(json.dumps(value, indent=1))) == paths(value) - {()}
