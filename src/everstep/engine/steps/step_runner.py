"""The step calls of one run: what a step is called, whether the journal has it, and its policy.

How a step is carried out is in `executor.py`; sleeps and waits are in `waits.py`, children in `child_workflow.py`,
recorded values in `recorded_values.py`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from everstep.api.declared import StepCall
from everstep.api.step import RunsAsChild, ValueKind
from everstep.core.journal import StepRecord
from everstep.core.step_policy import DEFAULT_POLICY, StepPolicy, keep_first_seen, resolve_policy
from everstep.core.types import StepEvent
from everstep.engine.execution.branches import Compensation
from everstep.engine.execution.execution import Execution
from everstep.engine.steps import child_workflow, recorded_values, waits
from everstep.engine.steps.determinism import check_limits, check_new, unhindered
from everstep.engine.steps.executor import carry_out, recorded


class Steps:
    """Carries out the step calls of one run."""

    __slots__ = ("_run",)

    def __init__(self, run: Execution) -> None:
        self._run = run

    async def do(self, call: StepCall) -> Any:
        run = self._run
        run.check_alive()
        record = run.journal.find("do", call.name)
        if record is not None and record.final:
            recorded_values.asked(record)
            if record.compensable:
                self._register(record, call, resolve_policy(call.config, call.name))
            return recorded(run, record, call)
        policy, began_before = resolve_policy(call.config, call.name), record is not None
        if record is None:
            run.enter()
            if unhindered(run):
                run.steps_asked += 1
            else:
                await check_limits(run, call.name)
                await check_new(run, "step.do", call.name)
                run.enter()  # things may have changed meanwhile
            record = self._begin(call.name, policy)
        else:
            policy = keep_first_seen(policy, None if record.config is None else msgspec.json.decode(record.config))
        cuts = run.unseen_cuts.of(recorded_values.last_asked()) if run.unseen_cuts.count else 0
        if record.attempt or cuts:  # there may be no attempt any more that would note it
            recorded_values.asked(record)
        self._register(record, call, policy)
        if began_before:  # only now: a replay may be there for no more than the handlers
            run.enter()
        return await carry_out(run, record, call, policy, cuts)

    def _begin(self, name: str, policy: StepPolicy) -> StepRecord:
        record = self._run.journal.begin("do", name, self._run.host.clock.now())
        if policy is not DEFAULT_POLICY:
            record.sensitive = policy.sensitive
            record.compensable = policy.rollback is not None
            record.config = _policy_text(policy)
        return record

    def _register(self, record: StepRecord, call: StepCall, policy: StepPolicy) -> None:
        if policy.rollback is not None:
            handler_policy = policy.rollback_policy or DEFAULT_POLICY
            self._run.compensations[record.seq] = Compensation(policy.rollback, handler_policy, call)

    async def sleep(self, name: str, duration_ms: int) -> None:
        await waits.sleep(self._run, name, duration_ms)

    async def sleep_until(self, name: str, wake_at: int) -> None:
        await waits.sleep_until(self._run, name, wake_at)

    async def wait_for_event(self, name: str, type: str, timeout_ms: int, payload: Any) -> StepEvent[Any]:
        return await waits.wait_for_event(self._run, name, type, timeout_ms, payload)

    async def run_workflow(self, name: str, workflow: type[RunsAsChild] | str, params: Any, id: str | None) -> Any:
        child = self._run.host.workflow_name(workflow)
        return await child_workflow.run_workflow(self._run, name, child, params, id)

    def value(self, kind: ValueKind) -> Any:
        return recorded_values.recorded(self._run, kind)


def _policy_text(policy: StepPolicy) -> str | None:
    """Write a policy for views, or nothing for the default one."""
    config = policy.as_config()
    return None if config == _DEFAULT_CONFIG else msgspec.json.encode(config).decode()


_DEFAULT_CONFIG = DEFAULT_POLICY.as_config()
