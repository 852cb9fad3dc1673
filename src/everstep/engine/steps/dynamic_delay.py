"""Delays that a user's function chooses for each retry, from the step's context and the error."""

from __future__ import annotations

import asyncio
import inspect

from msgspec import structs

from everstep.core.durations import duration_ms
from everstep.core.errors import RetryDelayError
from everstep.core.limits import WAIT_MS
from everstep.core.policy.step_policy import StepPolicy
from everstep.core.types import RetryContext, StepContext

SECONDS = 5.0
"""How long a delay function may take (inventory §1.3.2)."""


async def with_delay(policy: StepPolicy, context: StepContext, error: BaseException) -> StepPolicy:
    """Ask the policy's delay function, if it has one, and return the policy with the delay it chose.

    Raises:
        RetryDelayError: if the function raises, takes too long, or returns no duration.
    """
    if policy.delay_function is None or context.attempt > policy.limit:
        return policy
    named = f"the delay function of step {context.step.name!r}"
    try:
        async with asyncio.timeout(SECONDS):
            chosen = policy.delay_function(RetryContext(context, error))
            if inspect.isawaitable(chosen):
                chosen = await chosen
        delay_ms = min(duration_ms(chosen, what="its delay"), WAIT_MS)
    except TimeoutError as failure:
        raise RetryDelayError(f"{named} did not return within {SECONDS:g} seconds") from failure
    except Exception as failure:
        raise RetryDelayError(f"{named} failed: {type(failure).__name__}: {failure}") from failure
    return structs.replace(policy, delay_ms=delay_ms)
