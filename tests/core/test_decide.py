"""What happens after an attempt."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everstep.core.errors import NonRetryableError, NotSerializableError, ValueTooLargeError, WorkflowTimeoutError
from everstep.core.policy.backoff import retry_delay_ms
from everstep.core.policy.retry_decision import (
    GiveUp,
    ResumeAt,
    RetryAt,
    after_failure,
    after_interruption,
    after_unrecorded_crashes,
    must_record_start,
)
from everstep.core.policy.step_policy import StepPolicy

NOW = 1_700_000_000_000
POLICIES = st.builds(
    StepPolicy,
    limit=st.integers(0, 20),
    delay_ms=st.integers(0, 100_000),
    backoff=st.sampled_from(["constant", "linear", "exponential"]),
)


def test_a_failed_attempt_is_retried_after_the_delay() -> None:
    policy = StepPolicy(limit=2, delay_ms=1_000, backoff="exponential")
    assert after_failure(policy, attempt=1, error=ValueError(), now=NOW) == RetryAt(NOW + 1_000)
    assert after_failure(policy, attempt=2, error=ValueError(), now=NOW) == RetryAt(NOW + 2_000)


def test_the_attempt_after_the_last_retry_is_given_up() -> None:
    assert after_failure(StepPolicy(limit=2), attempt=3, error=ValueError(), now=NOW) == GiveUp()


def test_without_retries_the_first_failure_is_the_end() -> None:
    assert after_failure(StepPolicy(limit=0), attempt=1, error=ValueError(), now=NOW) == GiveUp()


def test_the_defaults_allow_six_attempts() -> None:
    decisions = [after_failure(StepPolicy(), attempt=attempt, error=ValueError(), now=NOW) for attempt in range(1, 7)]
    assert [isinstance(decision, RetryAt) for decision in decisions] == [True] * 5 + [False]


@pytest.mark.parametrize("error", [NonRetryableError("no"), NotSerializableError("no"), ValueTooLargeError("no")])
def test_some_errors_are_never_retried(error: Exception) -> None:
    assert after_failure(StepPolicy(), attempt=1, error=error, now=NOW) == GiveUp()


@pytest.mark.parametrize(
    "error", [WorkflowTimeoutError("late"), asyncio.CancelledError(), SystemExit(1), KeyError("x")]
)
def test_any_other_error_is_retried(error: BaseException) -> None:
    assert isinstance(after_failure(StepPolicy(), attempt=1, error=error, now=NOW), RetryAt)


def test_the_classes_that_the_policy_names_end_the_step_and_so_do_their_subclasses() -> None:
    policy = StepPolicy(non_retryable=(LookupError,))
    assert after_failure(policy, attempt=1, error=KeyError("x"), now=NOW) == GiveUp()
    assert isinstance(after_failure(policy, attempt=1, error=ValueError(), now=NOW), RetryAt)


@pytest.mark.parametrize(
    ("policy", "due"),
    [
        (StepPolicy(), NOW),
        (StepPolicy(limit=1, timeout_ms=5), NOW),
        (StepPolicy(delay_ms=20_000), NOW + 20_000),
        (StepPolicy(backoff="constant"), NOW + 10_000),
        (StepPolicy(max_delay_ms=5_000), NOW + 5_000),
    ],
)
def test_a_first_attempt_that_is_cut_off_waits_only_for_a_delay_of_its_own(policy: StepPolicy, due: int) -> None:
    assert after_interruption(policy, attempt=1, now=NOW) == RetryAt(due)


def test_a_step_without_retries_is_over_when_it_is_cut_off() -> None:
    assert after_interruption(StepPolicy(limit=0), attempt=1, now=NOW) == GiveUp()


@given(policy=POLICIES, attempt=st.integers(2, 30))
def test_a_cut_off_attempt_is_retried_as_a_failed_one_is(policy: StepPolicy, attempt: int) -> None:
    failed = after_failure(policy, attempt=attempt, error=ValueError(), now=NOW)
    assert after_interruption(policy, attempt=attempt, now=NOW) == failed


@given(policy=POLICIES)
def test_a_step_that_always_fails_is_attempted_exactly_its_limit_and_once_more(policy: StepPolicy) -> None:
    attempt = 1
    while isinstance(after_failure(policy, attempt=attempt, error=ValueError(), now=NOW), RetryAt):
        attempt += 1
    assert attempt == policy.limit + 1


@given(policy=POLICIES)
def test_the_first_unseen_crash_costs_no_delay(policy: StepPolicy) -> None:
    assert after_unrecorded_crashes(policy, attempt=0, cuts=1, now=NOW).due == NOW


def test_an_unseen_crash_of_a_step_that_had_attempts_costs_the_delay() -> None:
    policy = StepPolicy(limit=5, delay_ms=1_000, backoff="constant")
    assert after_unrecorded_crashes(policy, attempt=2, cuts=1, now=NOW) == ResumeAt(attempt=3, due=NOW + 1_000)


def test_more_unseen_crashes_in_a_row_wait_as_failures_do() -> None:
    policy = StepPolicy(limit=5, delay_ms=1_000, backoff="linear")
    assert after_unrecorded_crashes(policy, attempt=0, cuts=3, now=NOW) == ResumeAt(attempt=3, due=NOW + 3_000)


def test_unseen_crashes_count_on_top_of_the_recorded_attempts() -> None:
    policy = StepPolicy(limit=5, delay_ms=1_000, backoff="linear")
    assert after_unrecorded_crashes(policy, attempt=2, cuts=2, now=NOW) == ResumeAt(attempt=4, due=NOW + 4_000)


def test_a_step_that_may_run_once_only_is_not_counted_down_by_unseen_crashes() -> None:
    assert after_unrecorded_crashes(StepPolicy(limit=0), attempt=0, cuts=9, now=NOW) == ResumeAt(attempt=0, due=NOW)


@given(policy=POLICIES, recorded=st.integers(0, 20), cuts=st.integers(0, 100))
def test_unseen_crashes_leave_the_last_attempt_allowed(policy: StepPolicy, recorded: int, cuts: int) -> None:
    attempt = min(recorded, policy.limit)
    assert attempt <= after_unrecorded_crashes(policy, attempt=attempt, cuts=cuts, now=NOW).attempt <= policy.limit


@given(policy=POLICIES, attempt=st.integers(0, 20), cuts=st.integers(0, 100))
def test_unseen_crashes_never_take_a_recorded_attempt_back(policy: StepPolicy, attempt: int, cuts: int) -> None:
    assert after_unrecorded_crashes(policy, attempt=attempt, cuts=cuts, now=NOW).attempt >= attempt


@given(policy=POLICIES, cuts=st.integers(1, 100))
def test_unseen_crashes_wait_no_longer_than_the_failures_they_count_as(policy: StepPolicy, cuts: int) -> None:
    decision = after_unrecorded_crashes(policy, attempt=0, cuts=cuts, now=NOW)
    longest = retry_delay_ms(policy.delay_ms, policy.backoff, max(1, decision.attempt), policy.max_delay_ms)
    assert NOW <= decision.due <= NOW + longest


@given(policy=POLICIES, attempt=st.integers(1, 30))
def test_only_the_start_of_the_last_attempt_has_to_be_on_disk(policy: StepPolicy, attempt: int) -> None:
    assert must_record_start(policy, attempt) == (after_interruption(policy, attempt=attempt, now=NOW) == GiveUp())
