"""Where samples are counted, and what the page becomes. Samples nothing."""

from __future__ import annotations

import pytest

from benchmarks import profile


@pytest.mark.parametrize(
    ("frames", "area"),
    [
        (["run (shop.py:3)", "Steps.do (everstep/engine/steps/step_runner.py:40)"], "carrying a step out"),
        (["_run_once (asyncio/base_events.py:9)", "run (shop.py:3)"], "the event loop"),
        (["do (everstep/engine/steps/step_runner.py:4)", "__init__ (asyncio/events.py:31)"], "the event loop"),
        (["_encode_plain (everstep/core/serialization/codec.py:9)"], "the result as JSON, and read back"),
        (["execute (everstep/store/sqlite/connection.py:81)"], "SQLite"),
        (["main (shop.py:1)"], profile.ELSEWHERE),
    ],
)
def test_a_sample_counts_for_the_innermost_function_of_a_known_area(frames: list[str], area: str) -> None:
    assert profile.area(frames) == area


def test_shares_are_of_all_samples() -> None:
    found = profile.shares([(["a (everstep/store/sqlite/group_commit.py:1)"], 3), (["b (x.py:1)"], 1)])
    assert found == {"groups gathered and answered": 0.75, profile.ELSEWHERE: 0.25}


def test_the_table_has_a_row_for_every_area_of_any_column() -> None:
    lines = list(profile.as_table({"many": {"a": 0.7, "b": 0.3}, "one": {"c": 1.0}}))
    assert lines[2:] == ["| a | 70% | 0% |", "| b | 30% | 0% |", "| c | 0% | 100% |"]


def test_the_page_keeps_everything_but_its_profile() -> None:
    page = profile.PAGE.read_text(encoding="utf-8")
    again = profile.replaced(profile.replaced(page, "old"), "new")
    assert again.count("new") >= 1
    assert "\nold\n" not in again
    assert again.split(profile.BEGIN)[0] == page.split(profile.BEGIN)[0]
