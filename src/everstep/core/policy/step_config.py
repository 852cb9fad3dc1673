"""How a step is retried, timed out and rolled back, as users write it. Checked in `step_policy.py`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias, TypedDict

from msgspec import Struct

from everstep.core.durations import Duration
from everstep.core.policy.backoff import Backoff
from everstep.core.types import RetryContext, RollbackContext

DelayFunction: TypeAlias = Callable[[RetryContext], Duration | Awaitable[Duration]]
"""Chooses the delay before a retry from the step's context and the error; `backoff` still multiplies it."""
RollbackFunction: TypeAlias = Callable[[RollbackContext], Any]
"""Undoes a step. Runs as a durable step of its own, so it must bear to be called again."""


class RetriesDict(TypedDict, total=False):
    """`Retries` as a plain dict."""

    limit: int
    delay: Duration | DelayFunction
    backoff: Backoff
    max_delay: Duration
    jitter: float
    non_retryable: tuple[type[BaseException], ...]


class RollbackConfigDict(TypedDict, total=False):
    """How a rollback handler is retried and timed out."""

    retries: RetriesDict
    timeout: Duration


class StepConfigDict(TypedDict, total=False):
    """`StepConfig` as a plain dict, in the original's shape."""

    retries: RetriesDict
    timeout: Duration
    sensitive: Literal["output"]
    rollback: RollbackFunction
    rollback_config: RollbackConfigDict


class Retries(Struct, frozen=True, kw_only=True):
    """When to try a failed step again.

    Attributes:
        limit: Retries after the first attempt; 5 means up to 6 attempts.
        delay: How long to wait before the first retry, as a duration, or a function of a `RetryContext` that says so
            for each; it has 5 seconds to answer.
        backoff: How the delay grows: `"constant"`, `"linear"` or `"exponential"` (doubling).
        max_delay: The longest delay between two attempts, as a duration; None for no bound.
        jitter: Up to this fraction of a delay (0 to 1) is added to it at random, so that many do not retry at once.
        non_retryable: Exception types that end the step at once.
    """

    limit: int = 5
    delay: Duration | DelayFunction = "10 seconds"
    backoff: Backoff = "exponential"
    max_delay: Duration | None = None
    jitter: float = 0.0
    non_retryable: tuple[type[BaseException], ...] = ()


class StepConfig(Struct, frozen=True, kw_only=True):
    """A step's configuration. A plain dict of the same shape does as well.

    Attributes:
        retries: See `Retries`.
        timeout: How long one attempt may take, as a duration.
        sensitive: `"output"` keeps the result out of every view and log; later code still gets it.
        rollback: Undoes the step when the instance fails, or is terminated with `rollback=True`.
        rollback_config: How the rollback is retried and timed out.

    Example:
        >>> StepConfig(retries=Retries(limit=2, delay="1 second"), timeout="30 seconds").timeout
        '30 seconds'
    """

    retries: Retries | RetriesDict = Retries()
    timeout: Duration = "10 minutes"
    sensitive: Literal["output"] | None = None
    rollback: RollbackFunction | None = None
    rollback_config: StepConfig | RollbackConfigDict | None = None


AnyStepConfig: TypeAlias = StepConfig | StepConfigDict
