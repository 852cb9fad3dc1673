"""What a failed attempt leads to: a retry or the step's end. Decides; records and attempts nothing."""

from __future__ import annotations

import random

from everstep.core.errors import AttemptInterruptedError, RetryDelayError
from everstep.core.policy import retry_decision
from everstep.core.policy.step_policy import StepPolicy
from everstep.engine.steps.attempt import context_of
from everstep.engine.steps.dynamic_delay import with_delay
from everstep.engine.steps.step_execution import StepExecution
from everstep.sdk.arguments import problem_behind_wrappers, problem_of, refusal
from everstep.sdk.step_decorator import StepCall


async def decide_failure(
    step: StepExecution, error: BaseException, now: int
) -> tuple[retry_decision.RetryAt | retry_decision.GiveUp, BaseException]:
    """Decide what a failed attempt leads to, asking the policy's delay function only if there is to be a retry.

    Returns:
        The decision, and the error: that of the delay function, if it failed.
    """
    if type(error) is TypeError and (refused := _refused_call(step.name, step.call, error)) is not None:
        return retry_decision.GiveUp(), refused  # it can never be called like this
    policy, attempt = step.policy, step.record.attempt
    chance = random.random() if policy.jitter else 0.0  # noqa: S311  # to spread retries, not to keep secrets
    decision = _decided(policy, attempt, error, now, chance)
    if isinstance(decision, retry_decision.GiveUp) or policy.delay_function is None:
        return decision, error
    try:
        context = context_of(step.execution.instance, step.record, attempt, policy)
        policy = await with_delay(policy, context, error)
    except RetryDelayError as failure:
        return retry_decision.GiveUp(), failure
    return _decided(policy, attempt, error, now, chance), error


def _refused_call(name: str, call: StepCall, error: TypeError) -> TypeError | None:
    """Return what to say of a call that a function, or the one that wrappers are around, can never take."""
    fn, args, kwargs = call.fn, call.args, call.kwargs
    problem = problem_of(fn, args, kwargs) or problem_behind_wrappers(fn, args, kwargs, error.__traceback__)
    if problem is None:
        return None
    refused = TypeError(refusal(name, problem, args))
    refused.__cause__ = error
    return refused


def _decided(
    policy: StepPolicy, attempt: int, error: BaseException, now: int, chance: float
) -> retry_decision.RetryAt | retry_decision.GiveUp:
    if isinstance(error, AttemptInterruptedError):
        return retry_decision.after_interruption(policy, attempt=attempt, now=now)
    return retry_decision.after_failure(policy, attempt=attempt, error=error, now=now, chance=chance)
