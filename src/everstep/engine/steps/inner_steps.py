"""Steps inside a step: what a step's function asks for belongs to that step.

They run on the application's loop, where the function runs. What completed is remembered for the next attempt of the
outer step; what failed or was cancelled begins anew with it. Once the outer step is recorded nobody asks for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from everstep.core.errors import RollbackInProgressError, Suspended
from everstep.core.journal import Kind, StepRecord
from everstep.core.policy import transitions
from everstep.core.policy.step_policy import DEFAULT_POLICY
from everstep.core.types import StepEvent
from everstep.engine.execution.branches import Compensation
from everstep.engine.execution.execution import Execution
from everstep.engine.execution.open_waits import NEVER
from everstep.engine.steps import child_workflow, waits
from everstep.engine.steps.attempt import Attempt
from everstep.engine.steps.executor import run_step
from everstep.engine.steps.outcome import Outcome
from everstep.engine.steps.step_execution import AwaitedStep, StepExecution
from everstep.sdk.step_decorator import StepCall
from everstep.sdk.step_scope import current_attempt


def outer_attempt(execution: Execution, call: str) -> Attempt:
    """Return the attempt that a call from the application's loop belongs to.

    Raises:
        RuntimeError: if it belongs to none of this instance.
    """
    here = current_attempt()
    execution.check_open()
    attempt = here.attempt_here() if isinstance(here, StepExecution) else here
    if not isinstance(attempt, Attempt) or attempt.step.execution is not execution:
        raise RuntimeError(
            f"{call} was called outside of its workflow: from a thread, a callback or a task of the application. Call "
            "it in `run`, in a task that `run` made, or in the function of a step"
        )
    if attempt.record.kind == "rollback":
        raise RollbackInProgressError("no step can be run while the instance is rolled back")
    return attempt


def _begin(attempt: Attempt, kind: Kind, name: str) -> tuple[StepRecord, bool]:
    """Count a step inside a step; return its row, and whether it is a new one."""
    execution = attempt.step.execution
    if attempt.inner_counts is None:
        attempt.inner_counts, attempt.inner_open = {}, set()
    counts, key = attempt.inner_counts, kind + name
    count = counts[key] = counts.get(key, 0) + 1
    parent = attempt.record.seq
    journal = execution.journal
    record = journal.get(kind, name, count, parent)
    if record is not None and record.state in ("errored", "cancelled"):
        transitions.restart(record)
        return record, True
    if record is not None:
        return record, False
    return journal.get_or_begin(kind, name, count, execution.host.clock.now(), parent), True


def open_inner_of(attempt: Attempt) -> set[Any]:
    """The open calls of an attempt's function."""
    if attempt.inner_open is None:
        attempt.inner_open = set()
    return attempt.inner_open


class InnerStep(AwaitedStep):
    """A call of `step.do` by another step's function."""

    def __init__(self, execution: Execution, call: StepCall, attempt: Attempt) -> None:
        super().__init__(execution, call)
        self._attempt = attempt

    def procedure(self, outcome: Outcome | None) -> Coroutine[Any, Any, None]:
        return run_step(self, outcome)

    async def execute(self, record: StepRecord) -> Any:
        """Run it, and return its result once that is on disk."""
        open_inner_of(self._attempt).add(self)
        self.run()
        try:
            await self._ended
        except asyncio.CancelledError:
            self.abandon()
            raise
        finally:
            open_inner_of(self._attempt).discard(self)
        return self.value()

    def abandon(self) -> None:
        """End it: its caller was cancelled, or the outer step is over."""
        open_inner_of(self._attempt).discard(self)
        self.stop()
        self._ended.cancel()
        if not self.record.final and not self.execution.phase.over:
            transitions.cancel(self.record, self.execution.host.clock.now())
            self.execution.journal.record_soon(self.record)


async def do(execution: Execution, call: StepCall) -> Any:
    """Run a step inside a step, or return what it returned in an earlier attempt of the outer one."""
    attempt = outer_attempt(execution, "step.do")
    record, new = _begin(attempt, "do", call.name)
    step = InnerStep(execution, call, attempt)
    if record.final and not new:
        step.record = record
        return step.value()
    if new:
        step.describe(record)
    else:
        step.resume(record)
    if step.policy.rollback is not None:
        handler_policy = step.policy.rollback_policy or DEFAULT_POLICY
        execution.compensations[record.seq] = Compensation(step.policy.rollback, handler_policy, call)
    execution.journal.touch(record)
    return await step.execute(record)


async def sleep(execution: Execution, name: str, amount: int, *, absolute: bool) -> None:
    """Sleep inside a step."""
    attempt = outer_attempt(execution, "step.sleep")
    record, new = _begin(attempt, "sleep", name)
    if record.final and not new:
        return
    if new:
        waits.begin_sleep(execution, record, amount, absolute=absolute)
        execution.journal.record_soon(record)
    with _Waiting(attempt, record):
        if (record.wake_at or 0) > execution.host.clock.now():
            await execution.own_waits().until(record.wake_at or 0, record)
    transitions.complete(record, execution.host.clock.now())
    await execution.journal.write(record)


async def wait_for_event(execution: Execution, name: str, type: str, timeout_ms: int, payload: Any) -> StepEvent[Any]:
    """Wait for an event inside a step."""
    attempt = outer_attempt(execution, "step.wait_for_event")
    record, new = _begin(attempt, "wait", name)
    if record.final and not new:
        return waits.received(record, payload)
    if new:
        waits.begin_wait(execution, record, type, timeout_ms)
        execution.journal.record_soon(record)
    with _Waiting(attempt, record):
        event = await execution.own_waits().event(record.wake_at or 0, record)
    if event is None:
        waits.time_out(execution, record)
        await execution.journal.write(record)
    else:
        waits.consume(execution, record, event)
        await execution.journal.write(record, consumed=(event.id,))
    return waits.received(record, payload)


async def run_workflow(execution: Execution, name: str, workflow: str, params: Any, id: str | None) -> Any:
    """Start a child inside a step and wait for its end."""
    attempt = outer_attempt(execution, "step.run_workflow")
    record, new = _begin(attempt, "child", name)
    if record.final and not new:
        return child_workflow.result_of(execution, record)
    text = None if record.attempt else execution.host.encode_params(workflow, params)
    if new:
        child_workflow.begin_child(execution, record, workflow, id)
        await execution.journal.write(record)
    with _Waiting(attempt, record):
        error = None if record.attempt else await child_workflow.ensure_created(execution, record, text, new=new)
        if error is not None:
            raise error
        while (child := await child_workflow.child_of(execution, record)) is not None and not child.ended:
            await execution.own_waits().until(NEVER, record, child=record.child)
    child_workflow.end_child(execution, record, child)
    await execution.journal.write(record)
    return child_workflow.result_of(execution, record)


class _Waiting:
    """A sleep, a wait or a child inside a step, while its caller waits: cancelled with it, or with the outer step."""

    def __init__(self, attempt: Attempt, record: StepRecord) -> None:
        self._attempt = attempt
        self._record = record
        self._task = asyncio.current_task()

    def abandon(self) -> None:
        """End it: the outer step is over."""
        if self._task is not None:
            self._task.cancel()

    def __enter__(self) -> None:
        open_inner_of(self._attempt).add(self)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        open_inner_of(self._attempt).discard(self)
        execution, record = self._attempt.step.execution, self._record
        cancelled = kind is not None and issubclass(kind, (asyncio.CancelledError, Suspended))
        if cancelled and not execution.phase.over and not record.final:
            transitions.cancel(record, execution.host.clock.now())
            execution.journal.record_soon(record)
