"""The first attempt of a step as most are: a coroutine function under the default policy, with nothing in its way.

What `executor.py` does in five coroutines is done here in one, for speed. Whatever is out of the ordinary (a failure, a
timeout, a retry, a crash before) goes on there.
"""

from __future__ import annotations

import inspect
from asyncio import CancelledError
from types import CodeType

from everstep.core.policy import transitions
from everstep.core.policy.step_policy import DEFAULT_POLICY
from everstep.engine.steps.attempt import PLAIN, finished, takes_ctx
from everstep.engine.steps.executor import complete, completed, is_awaited, run_step
from everstep.engine.steps.outcome import Completed, Failed, Outcome
from everstep.engine.steps.step_execution import StepExecution

_CO_COROUTINE = inspect.CO_COROUTINE


def is_plain(step: StepExecution) -> bool:
    """Whether a step that calls a coroutine function is to be attempted for the first time, with nothing in its way."""
    execution = step.execution
    host = execution.host
    if step.policy is not DEFAULT_POLICY or step.record.attempt or step.crashes or step.stopped:
        return False
    if execution.pause.since is not None or execution.phase.over or host.telemetry.listening:
        return False
    if host.lease is not None and host.lease.lease_uncertain:
        return False
    code = getattr(step.call.fn, "__code__", None)
    return type(code) is CodeType and code.co_flags & _CO_COROUTINE != 0 and not takes_ctx(step.call.fn)


async def run_plain(step: StepExecution) -> None:
    """Attempt a step for the first time, and settle it; the step itself is the attempt's place until it waits."""
    execution, call, record = step.execution, step.call, step.record
    transitions.begin_attempt(record, execution.host.clock.now())
    step.over = False
    try:
        result = await call.fn(*call.args, **call.kwargs)
        if type(result) not in PLAIN:
            result = await finished(execution, record, result)
        if not is_awaited(step, step):
            return
        outcome: Outcome = completed(step, result)
    except (Exception, SystemExit, CancelledError) as error:  # noqa: BLE001  # the function's own
        if not is_awaited(step, step):
            return
        outcome = Failed(error)
    finally:
        if step.attempt is not None and not step.over:
            step.attempt.end()
        step.over = True
    if type(outcome) is Completed:
        complete(step, outcome)
        step.settle(None)
    else:
        await run_step(step, outcome)
