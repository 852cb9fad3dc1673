"""Arguments that stand for several things."""

from __future__ import annotations

import pytest

from everstep.core.list_argument import list_argument

WHAT = "tags is a list of words"


@pytest.mark.parametrize("given", [["a", "b"], ("a", "b"), {"a": 1, "b": 2}.keys(), iter("ab")], ids=range(4))
def test_whatever_gives_items_one_by_one_is_several(given: object) -> None:
    assert list_argument(given, WHAT) == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("abc", r"got the text 'abc'; write \['abc'\]"),
        (b"abc", "got the bytes b'abc'"),
        ({"a": 1}, r"got \{'a': 1\}; give a list"),
        (int, r"got the class int; write \[int\]"),
        (None, "got None; give a list"),
        (5, "got 5; give a list"),
    ],
    ids=["text", "bytes", "mapping", "class", "none", "number"],
)
def test_text_a_mapping_and_what_has_no_items_are_refused(given: object, told: str) -> None:
    with pytest.raises(TypeError, match=f"^{WHAT}, {told}"):
        list_argument(given, WHAT)


def test_no_more_is_read_of_what_is_endless_than_asked_for() -> None:
    assert list_argument(iter(int, 1), WHAT, most=3) == [0, 0, 0]


def test_a_long_argument_is_shown_by_its_beginning() -> None:
    with pytest.raises(TypeError) as refused:
        list_argument("x" * 10_000, WHAT)
    assert len(str(refused.value)) < 250
