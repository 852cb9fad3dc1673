"""What one instance has done so far, and which step its code asks for next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everstep.core.journal import Journal, Kind, StepRecord

ASKED = st.lists(st.tuples(st.sampled_from(["do", "sleep", "wait"]), st.sampled_from(["a", "b", "c"])), max_size=30)


def ask(journal: Journal, kind: Kind, name: str) -> StepRecord:
    return journal.find(kind, name) or journal.begin(kind, name, now=1_000)


def test_a_step_asked_for_the_first_time_is_not_found() -> None:
    assert Journal().find("do", "charge") is None


def test_a_begun_step_is_running_since_now_and_has_made_no_attempt() -> None:
    step = Journal().begin("do", "charge", now=1_000)
    assert step == StepRecord(1, "do", "charge", 1, "running", attempt=0, started_at=1_000)


def test_the_same_name_asked_for_again_is_the_next_of_its_count() -> None:
    journal = Journal()
    assert [ask(journal, "do", "charge").count for _ in range(3)] == [1, 2, 3]


def test_each_name_and_each_kind_is_counted_by_itself() -> None:
    journal = Journal()
    asked: list[tuple[Kind, str]] = [("do", "a"), ("sleep", "a"), ("wait", "a"), ("do", "b"), ("do", "a")]
    assert [ask(journal, kind, name).count for kind, name in asked] == [1, 1, 1, 1, 2]


def test_steps_are_numbered_in_the_order_in_which_they_begin() -> None:
    journal = Journal()
    assert [ask(journal, "do", name).seq for name in ("a", "b", "a")] == [1, 2, 3]


def test_a_recorded_step_is_found_as_it_was_recorded() -> None:
    recorded = StepRecord(1, "do", "charge", 1, "complete", result="5")
    assert Journal([recorded]).find("do", "charge") is recorded


def test_a_recorded_step_is_found_only_once_a_life() -> None:
    journal = Journal([StepRecord(1, "do", "charge", 1, "complete")])
    journal.find("do", "charge")
    assert journal.find("do", "charge") is None


def test_looking_for_a_step_that_is_not_there_changes_nothing() -> None:
    journal = Journal()
    journal.find("do", "charge")
    journal.find("do", "charge")
    assert (journal.begin("do", "charge", now=0).count, len(journal)) == (1, 1)


def test_new_steps_go_on_after_the_highest_recorded_number() -> None:
    journal = Journal([StepRecord(7, "do", "b", 1, "complete"), StepRecord(3, "do", "a", 1, "complete")])
    assert journal.last_seq == 7
    assert journal.begin("do", "c", now=0).seq == 8


def test_steps_are_listed_in_the_order_in_which_they_began() -> None:
    records = [StepRecord(seq, "do", name, 1, "complete") for seq, name in ((2, "b"), (1, "a"), (3, "c"))]
    assert [step.name for step in Journal(records).steps()] == ["a", "b", "c"]


def test_the_length_is_the_number_of_steps_begun() -> None:
    journal = Journal([StepRecord(1, "do", "a", 1, "complete")])
    journal.begin("sleep", "nap", now=0)
    assert len(journal) == 2


@pytest.mark.parametrize(
    ("state", "final"),
    [("running", False), ("retrying", False), ("waiting", False), ("complete", True), ("errored", True)],
)
def test_a_step_is_final_once_it_is_complete_or_errored(state: str, final: bool) -> None:
    assert StepRecord(1, "do", "a", 1, state).final is final  # type: ignore[arg-type]


@given(ASKED)
def test_code_that_asks_in_the_same_order_finds_all_its_steps_again(asked: list[tuple[Kind, str]]) -> None:
    first = Journal()
    begun = [ask(first, kind, name) for kind, name in asked]
    second = Journal(first.steps())
    assert [second.find(kind, name) for kind, name in asked] == begun


@given(ASKED, st.randoms())
def test_branches_find_their_steps_again_in_whichever_order_they_run(asked: list[tuple[Kind, str]], random) -> None:
    first = Journal()
    begun = {(step.kind, step.name, step.count) for step in (ask(first, kind, name) for kind, name in asked)}
    second = Journal(first.steps())
    random.shuffle(asked)
    found = [second.find(kind, name) for kind, name in asked]
    assert {(step.kind, step.name, step.count) for step in found if step is not None} == begun
    assert len(second) == len(asked)
