"""The README's tables are those of the tests."""

from __future__ import annotations

from .rules import HERE, ORDER, README, document, rules_of


def test_the_readme_lists_every_rule_as_it_is():
    assert README.read_text() == document().rstrip() + "\n", "cd tests && python -m conformance.rules"


def test_every_file_of_tests_is_a_section():
    sections = {path.stem.removeprefix("test_") for path in HERE.glob("test_*.py")} - {"readme"}
    assert sections == set(ORDER)


def test_every_rule_says_where_it_comes_from():
    unsourced = [rule.test for section in ORDER for rule in rules_of(section) if rule.source[:1] not in {"I", "S"}]
    assert unsourced == []
