"""The step calls of one execution: what the code asks for becomes a call on its way, or one of a step's function.

How a step is executed is in `executor.py`; sleeps and waits are in `waits.py`, children in `child_workflow.py`,
recorded values in `recorded_values.py`, steps inside steps in `inner_steps.py`.
"""

from __future__ import annotations

from asyncio import CancelledError, Future, _get_running_loop
from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any

from everstep.core.journal import AttemptRecord, StepRecord
from everstep.core.policy.step_policy import DEFAULT_POLICY
from everstep.core.serialization.digest import digest_of_arguments
from everstep.core.types import StepContext, StepEvent
from everstep.engine.execution.branches import Compensation
from everstep.engine.execution.execution import Execution
from everstep.engine.execution.starting import begin_at_once, comes_to_rest
from everstep.engine.steps import inner_steps
from everstep.engine.steps.attempt import Attempt
from everstep.engine.steps.child_workflow import ChildCall
from everstep.engine.steps.executor import run_step
from everstep.engine.steps.outcome import Outcome
from everstep.engine.steps.plain_step import is_plain, run_plain
from everstep.engine.steps.recorded_values import recorded_value
from everstep.engine.steps.step_execution import StepExecution
from everstep.engine.steps.waits import EventCall, SleepCall, check_moment
from everstep.sdk.step import RunsAsChild, ValueKind
from everstep.sdk.step_decorator import StepCall
from everstep.sdk.step_scope import current_scope


class DoCall(StepExecution):
    """A call of `step.do` by the workflow's code."""

    __slots__ = ()

    counts = True

    def matched(self, record: StepRecord) -> None:
        self.resume(record)
        if record.final:  # it runs no more
            self.release()
        self._register_rollback(record)

    def begin(self) -> None:
        execution = self.execution
        now = execution.host.clock.now()
        record = self.record = execution.journal.begin("do", self.name, self.count, self.asked_after, now)
        if self.call.args or self.call.kwargs:
            record.digest = digest_of_arguments(self.call.args, self.call.kwargs)
        if self.policy is not DEFAULT_POLICY:
            self.describe(record)
            self._register_rollback(record)

    def difference(self, record: StepRecord) -> str | None:
        if record.digest is None or not (self.call.args or self.call.kwargs):
            return None
        digest = digest_of_arguments(self.call.args, self.call.kwargs)
        return None if digest is None else self.execution.history.mistaken_for(record, digest)

    def start(self, crashes: int) -> None:
        self.crashes = crashes
        self.run()

    def procedure(self, outcome: Outcome | None) -> Coroutine[Any, Any, None]:
        return run_plain(self) if outcome is None and is_plain(self) else run_step(self, outcome)

    def attempt_here(self) -> Attempt:
        if self.attempt is None:  # a plain step's, which it is itself until somebody asks
            self.attempt = Attempt(self)
        return self.attempt

    def context(self) -> StepContext:
        """Return what the function of a plain step may know of its attempt."""
        return self.attempt_here().context()

    def settle(self, failed: AttemptRecord | None) -> None:
        execution = self.execution
        if self._works:
            self._works = False
            execution.work -= 1
        self.task = self.variables = None
        if self.unstorable is not None:
            execution.journal.touch(self.record, failed)
            execution.host.fail(execution, self.unstorable)
        else:
            execution.journal.settle(self.record, attempt=failed, alone=not execution.work)

    def _register_rollback(self, record: StepRecord) -> None:
        policy = self.policy
        if policy.rollback is not None:
            handler_policy = policy.rollback_policy or DEFAULT_POLICY
            self.execution.compensations[record.seq] = Compensation(policy.rollback, handler_policy, self.call)


class StepRunner:
    """Carries out the step calls of one execution."""

    __slots__ = ("_execution",)

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    async def do(self, call: StepCall) -> Any:
        execution = self._execution
        if _get_running_loop() is not execution.loop:
            return await inner_steps.do(execution, call)
        step = DoCall(execution, call)
        current_scope.set(step)  # type: ignore[arg-type]  # a call is the scope of what its branch asks for next
        step.variables = copy_context()
        execution.ask(step)
        if execution.host.store.answers_at_once and comes_to_rest(execution) and begin_at_once(execution, step):
            return step.value()
        future = step.future = Future(loop=execution.loop)
        try:
            return await future
        except CancelledError:
            execution.cancel(step)
            raise

    async def sleep(self, name: str, duration_ms: int) -> None:
        await self._sleep(name, duration_ms, absolute=False)

    async def sleep_until(self, name: str, wake_at: int) -> None:
        check_moment(name, wake_at, self._execution.host.clock.now())
        await self._sleep(name, wake_at, absolute=True)

    async def _sleep(self, name: str, amount: int, *, absolute: bool) -> None:
        execution = self._execution
        if _get_running_loop() is not execution.loop:
            await inner_steps.sleep(execution, name, amount, absolute=absolute)
            return
        call = SleepCall(execution, name, amount, absolute=absolute)
        current_scope.set(call)  # type: ignore[arg-type]
        await execution.answer(call)

    async def wait_for_event(self, name: str, type: str, timeout_ms: int, payload: Any) -> StepEvent[Any]:
        execution = self._execution
        if _get_running_loop() is not execution.loop:
            return await inner_steps.wait_for_event(execution, name, type, timeout_ms, payload)
        call = EventCall(execution, name, type, timeout_ms, payload)
        current_scope.set(call)  # type: ignore[arg-type]
        event: StepEvent[Any] = await execution.answer(call)
        return event

    async def run_workflow(self, name: str, workflow: type[RunsAsChild] | str, params: Any, id: str | None) -> Any:
        execution = self._execution
        child = execution.host.workflow_name(workflow)
        if _get_running_loop() is not execution.loop:
            return await inner_steps.run_workflow(execution, name, child, params, id)
        call = ChildCall(execution, name, child, params, id)
        current_scope.set(call)  # type: ignore[arg-type]
        return await execution.answer(call)

    def value(self, kind: ValueKind) -> Any:
        return recorded_value(self._execution, kind)
