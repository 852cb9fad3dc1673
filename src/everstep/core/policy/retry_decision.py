"""What happens next: facts in, decision out. Nothing here waits, reads a clock or touches a store."""

from __future__ import annotations

from msgspec import Struct

from everstep.core.errors import NonRetryableError, NotSerializableError, ValueTooLargeError
from everstep.core.policy.step_policy import DEFAULT_POLICY, StepPolicy, delay_after


class RetryAt(Struct, frozen=True):
    """Try again, not before `due` (milliseconds since 1970)."""

    due: int


class GiveUp(Struct, frozen=True):
    """No further attempt: the step ends with its error."""


_NEVER_RETRIED = (NonRetryableError, NotSerializableError, ValueTooLargeError)


def after_failure(
    policy: StepPolicy, *, attempt: int, error: BaseException, now: int, chance: float = 0.0
) -> RetryAt | GiveUp:
    """Decide what a failed attempt leads to.

    `attempt` counts from 1 and includes the one that failed; `chance`, from 0 to 1, decides the jitter.
    """
    if isinstance(error, (*_NEVER_RETRIED, *policy.non_retryable)):
        return GiveUp()
    return _retry_or_give_up(policy, attempt, now, chance)


def after_interruption(policy: StepPolicy, *, attempt: int, now: int) -> RetryAt | GiveUp:
    """Decide what follows an attempt that a crash interrupted.

    The same policy as for a failure, counted from the moment the cut was noticed: the crash's own moment is unknown,
    and a delay measured from it could be over before anybody was there to wait. A step whose first attempt was cut goes
    on at once if its policy names no delay of its own: the default one is there to spare what failed, and nothing did.
    """
    if attempt == 1 and policy.limit > 0 and _has_default_delay(policy):
        return RetryAt(now)
    return _retry_or_give_up(policy, attempt, now)


class ResumeAt(Struct, frozen=True):
    """Go on with `attempt` attempts behind, not before `due`."""

    attempt: int
    due: int


def after_unrecorded_crashes(policy: StepPolicy, *, attempt: int, cuts: int, now: int) -> ResumeAt:
    """Decide how a step goes on after `cuts` crashes in a row that left no trace of what they interrupted.

    Each counts as an attempt of the step that follows, on top of the `attempt` recorded ones. The first of all most
    likely hit the instance between two steps, so the next attempt is due at once; another one in the same place makes
    the step a suspect, and the policy's delays apply. The last attempt a step is allowed is recorded before it runs
    (`must_record_start`), so it is never among these, and they are never the reason to give up.
    """
    counted = max(attempt, min(attempt + cuts, policy.limit))
    if counted <= 1:
        return ResumeAt(counted, now)
    return ResumeAt(counted, now + delay_after(policy, counted))


def must_record_start(policy: StepPolicy, attempt: int) -> bool:
    """Whether an attempt's start must be on disk before it runs: only that of the last attempt allowed.

    Other starts are written when an attempt lasts; a crash too quick for that is counted by the recovery. For the
    last attempt that would be one too many, and for a step that may run once only it would be a second run.
    """
    return attempt > policy.limit


def _has_default_delay(policy: StepPolicy) -> bool:
    default = DEFAULT_POLICY
    return (
        policy.delay_function is None
        and (policy.delay_ms, policy.backoff) == (default.delay_ms, default.backoff)
        and policy.max_delay_ms is None
    )


def _retry_or_give_up(policy: StepPolicy, attempt: int, now: int, chance: float = 0.0) -> RetryAt | GiveUp:
    if attempt > policy.limit:
        return GiveUp()
    return RetryAt(now + delay_after(policy, attempt, chance))
