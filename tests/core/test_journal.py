"""What one instance has done so far, by identity, and how often its code has asked for each name."""

from __future__ import annotations

import pytest

from everstep.core.journal import Journal, Kind, StepRecord, key_of


def ask(journal: Journal, kind: Kind, name: str) -> StepRecord:
    return journal.begin(kind, name, journal.count_call(kind, name), 0, now=1_000)


def test_a_step_that_has_no_row_is_not_found() -> None:
    assert Journal().get("do", "charge", 1) is None


def test_a_begun_step_is_running_since_now_and_has_made_no_attempt() -> None:
    step = Journal().begin("do", "charge", 1, 3, now=1_000)
    assert step == StepRecord(1, "do", "charge", 1, "running", attempt=0, started_at=1_000, asked_after=3)


def test_the_same_name_asked_for_again_is_the_next_of_its_count() -> None:
    journal = Journal()
    assert [ask(journal, "do", "charge").count for _ in range(3)] == [1, 2, 3]


def test_each_name_and_each_kind_is_counted_by_itself() -> None:
    journal = Journal()
    asked: list[tuple[Kind, str]] = [("do", "a"), ("sleep", "a"), ("wait", "a"), ("do", "b"), ("do", "a")]
    assert [ask(journal, kind, name).count for kind, name in asked] == [1, 1, 1, 1, 2]


def test_rows_of_an_earlier_activation_do_not_count_as_asked_for() -> None:
    journal = Journal([StepRecord(1, "do", "charge", 1, "complete")])
    assert journal.count_call("do", "charge") == 1


def test_steps_are_numbered_in_the_order_in_which_they_begin() -> None:
    journal = Journal()
    assert [ask(journal, "do", name).seq for name in ("a", "b", "a")] == [1, 2, 3]


def test_a_recorded_step_is_found_as_it_was_recorded() -> None:
    recorded = StepRecord(1, "do", "charge", 1, "complete", result="5")
    assert Journal([recorded]).get("do", "charge", 1) is recorded


def test_a_step_inside_a_step_is_found_only_within_it() -> None:
    outer, inner = StepRecord(1, "do", "a", 1, "running"), StepRecord(2, "do", "a", 1, "complete", parent=1)
    journal = Journal([outer, inner])
    assert journal.get("do", "a", 1) is outer
    assert journal.get("do", "a", 1, parent=1) is inner
    assert journal.get("do", "a", 1, parent=2) is None


def test_identities_with_spaces_and_numbers_in_their_names_are_apart() -> None:
    keys = [key_of("do", "1 do x", 1), key_of("do", "x", 1, 1), key_of("do", "do x", 1), key_of("do", "x 1", 1)]
    assert len(set(keys)) == len(keys)


def test_new_steps_go_on_after_the_highest_recorded_number() -> None:
    journal = Journal([StepRecord(7, "do", "b", 1, "complete"), StepRecord(3, "do", "a", 1, "complete")])
    assert journal.last_seq == 7
    assert ask(journal, "do", "c").seq == 8


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
