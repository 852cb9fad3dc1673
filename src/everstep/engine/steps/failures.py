"""What a failed attempt leads to: a retry or the step's end. Decides; records and attempts nothing."""

from __future__ import annotations

import inspect
import random
from collections.abc import Mapping

from everstep.api.declared import StepCall
from everstep.core import decide
from everstep.core.errors import AttemptCutOffError, RetryDelayError
from everstep.core.step_config import StepConfig
from everstep.core.step_policy import StepPolicy
from everstep.engine.steps.attempt import context_of
from everstep.engine.steps.dynamic_delay import with_delay
from everstep.engine.steps.step_execution import StepExecution


async def decide_failure(
    step: StepExecution, error: BaseException, now: int
) -> tuple[decide.RetryAt | decide.GiveUp, BaseException]:
    """Decide what a failed attempt leads to, asking the policy's delay function only if there is to be a retry.

    Returns:
        The decision, and the error: that of the delay function, if it failed.
    """
    if type(error) is TypeError and (wrong := _wrong_call(step.call)) is not None:
        refused = TypeError(f"step {step.name!r} cannot call its function: {wrong}")
        refused.__cause__ = error
        return decide.GiveUp(), refused  # it can never be called like this
    policy, attempt = step.policy, step.record.attempt
    chance = random.random() if policy.jitter else 0.0  # noqa: S311  # to spread retries, not to keep secrets
    decision = _decided(policy, attempt, error, now, chance)
    if isinstance(decision, decide.GiveUp) or policy.delay_function is None:
        return decision, error
    try:
        context = context_of(step.execution.instance, step.record, attempt, policy)
        policy = await with_delay(policy, context, error)
    except RetryDelayError as failure:
        return decide.GiveUp(), failure
    return _decided(policy, attempt, error, now, chance), error


def _wrong_call(call: StepCall) -> str | None:
    """Say why a function cannot be called with the arguments it was given, None if it can.

    It is asked once a call has raised a TypeError: what can be called costs nothing.
    """
    try:
        signature = inspect.signature(call.fn, follow_wrapped=False)
    except (TypeError, ValueError):  # builtins without a signature
        return None
    without_ctx = [parameter for parameter in signature.parameters.values() if parameter.name != "ctx"]
    problem = None
    for form in (signature, signature.replace(parameters=without_ctx)):
        try:
            form.bind(*call.args, **call.kwargs)
        except TypeError as error:
            problem = str(error)
        else:
            return None
    last = call.args[-1] if call.args else None
    if isinstance(last, StepConfig) or (isinstance(last, Mapping) and last.keys() & set(StepConfig.__struct_fields__)):
        return f"{problem}; a config comes before the function: step.do(name, config, fn, *args)"
    return f"{problem}; the arguments come after the function: step.do(name, fn, *args)"


def _decided(
    policy: StepPolicy, attempt: int, error: BaseException, now: int, chance: float
) -> decide.RetryAt | decide.GiveUp:
    if isinstance(error, AttemptCutOffError):
        return decide.after_cut(policy, attempt=attempt, now=now)
    return decide.after_failure(policy, attempt=attempt, error=error, now=now, chance=chance)
