"""The rows of one instance: in which order they began, and which are found by their identity."""

from __future__ import annotations

import pytest

from everstep.core.journal import Journal, StepRecord, key_of


def test_a_step_that_has_no_row_is_not_found() -> None:
    assert Journal().get("do", "charge", 1, parent=1) is None


def test_a_begun_step_is_running_since_now_and_has_made_no_attempt() -> None:
    step = Journal().begin("do", "charge", 1, 3, now=1_000)
    assert step == StepRecord(1, "do", "charge", 1, "running", attempt=0, started_at=1_000, asked_after=3)


def test_steps_are_numbered_and_kept_in_the_order_in_which_they_begin() -> None:
    journal = Journal([StepRecord(2, "do", "b", 1, "complete"), StepRecord(1, "do", "a", 1, "complete")])
    begun = [journal.begin("do", "c", 1, 0, now=1), journal.get_or_begin("do", "x", 1, now=2, parent=3)]
    assert [step.seq for step in begun] == [3, 4]
    assert [step.name for step in journal.steps()] == ["a", "b", "c", "x"]
    assert len(journal) == 4


def test_a_step_inside_a_step_is_found_only_within_it() -> None:
    outer, inner = StepRecord(1, "do", "a", 1, "running"), StepRecord(2, "do", "a", 1, "complete", parent=1)
    journal = Journal([outer, inner])
    assert journal.get("do", "a", 1, parent=1) is inner
    assert journal.get("do", "a", 1, parent=2) is None


def test_identities_with_spaces_and_numbers_in_their_names_are_apart() -> None:
    keys = [key_of("do", "1 do x", 1), key_of("do", "x", 1, 1), key_of("do", "do x", 1), key_of("do", "x 1", 1)]
    assert len(set(keys)) == len(keys)


def test_new_steps_go_on_after_the_highest_recorded_number() -> None:
    journal = Journal([StepRecord(7, "do", "b", 1, "complete"), StepRecord(3, "do", "a", 1, "complete")])
    assert journal.last_seq == 7
    assert journal.begin("do", "c", 1, 0, now=1).seq == 8


def test_a_row_by_its_identity_is_begun_once() -> None:
    journal = Journal()
    handler = journal.get_or_begin("rollback", "a", 1, 1_000)
    assert journal.get_or_begin("rollback", "a", 1, 2_000) is handler
    assert (len(journal), handler.started_at) == (1, 1_000)


def test_steps_are_listed_in_the_order_in_which_they_began() -> None:
    records = [StepRecord(seq, "do", name, 1, "complete") for seq, name in ((2, "b"), (1, "a"), (3, "c"))]
    assert [step.name for step in Journal(records).steps()] == ["a", "b", "c"]


def test_the_length_is_the_number_of_steps_begun() -> None:
    journal = Journal([StepRecord(1, "do", "a", 1, "complete")])
    journal.begin("sleep", "nap", 1, 0, now=0)
    assert len(journal) == 2


@pytest.mark.parametrize(
    ("state", "final"),
    [("running", False), ("retrying", False), ("waiting", False), ("complete", True), ("errored", True)],
)
def test_a_step_is_final_once_it_is_complete_or_errored(state: str, final: bool) -> None:
    assert StepRecord(1, "do", "a", 1, state).final is final  # type: ignore[arg-type]
