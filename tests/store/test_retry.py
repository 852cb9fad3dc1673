"""The store's retries: pauses grow, differ, and end with patience."""

from everstep.store.retry import LATEST_SECONDS, SOONEST_SECONDS, Retry


def test_pauses_double_up_to_the_longest():
    retry = Retry(jitter=0)
    pauses = [retry.failed() for _ in range(9)]
    assert pauses[:3] == [SOONEST_SECONDS, SOONEST_SECONDS * 2, SOONEST_SECONDS * 4]
    assert pauses[-1] == LATEST_SECONDS


def test_two_that_failed_together_try_again_at_different_moments():
    assert len({Retry().failed() for _ in range(20)}) > 10
    assert all(SOONEST_SECONDS / 2 <= Retry().failed() <= SOONEST_SECONDS for _ in range(200))


def test_patience_begins_with_the_first_failure():
    now = 100.0
    retry = Retry(patience=5, clock=lambda: now)
    now = 200.0
    assert not retry.exhausted
    retry.failed()
    now = 204.0
    assert not retry.exhausted
    now = 205.0
    assert retry.exhausted
