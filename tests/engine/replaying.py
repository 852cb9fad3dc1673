"""Steps that put their instance away after each one they record, so that its code goes on by replay."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from everstep.api.declared import StepCall
from everstep.api.step import RunsAsChild, ValueKind
from everstep.core.journal import Kind
from everstep.core.types import StepEvent
from everstep.engine.execution.execution import Execution
from everstep.engine.steps.step_runner import Steps
from everstep.store.protocol import Change, InstanceChange


class ReplayedSteps:
    """A `StepRunner` around the engine's own."""

    def __init__(self, run: Execution) -> None:
        self._run = run
        self._steps = Steps(run)

    async def do(self, call: StepCall) -> Any:
        return await self._once("do", call.name, self._steps.do(call))

    async def sleep(self, name: str, duration_ms: int) -> None:
        await self._once("sleep", name, self._steps.sleep(name, duration_ms))

    async def sleep_until(self, name: str, wake_at: int) -> None:
        await self._once("sleep", name, self._steps.sleep_until(name, wake_at))

    async def wait_for_event(self, name: str, type: str, timeout_ms: int, payload: Any) -> StepEvent[Any]:
        return await self._once("wait", name, self._steps.wait_for_event(name, type, timeout_ms, payload))

    async def run_workflow(self, name: str, workflow: type[RunsAsChild] | str, params: Any, id: str | None) -> Any:
        return await self._once("child", name, self._steps.run_workflow(name, workflow, params, id))

    def value(self, kind: ValueKind) -> Any:
        return self._steps.value(kind)

    async def _once(self, kind: Kind, name: str, step: Coroutine[Any, Any, Any]) -> Any:
        """Carry out a step; if that is what ended it, nobody hears of it before the next life."""
        journal = self._run.journal
        key = (kind, name, journal.next_count(kind, name))
        before = journal.row(*key)
        known = before is not None and before.final
        try:
            value = await step
        except Exception:
            self._put_away(key, known=known)
            raise
        self._put_away(key, known=known)
        return value

    def _put_away(self, key: tuple[Kind, str, int], *, known: bool) -> None:
        run, engine = self._run, self._run.host
        record = run.journal.row(*key)
        if known or record is None or not record.final:
            return
        run.check_alive()
        if run.active or run.paused_since is not None:
            return
        engine.evict(run.pk)  # type: ignore[attr-defined]  # the host is an engine
        engine.store.write(Change(run.pk, instance=InstanceChange("waiting", due_at=engine.clock.now())))
        engine.dispatcher.claim_soon()  # type: ignore[attr-defined]
        run.check_alive()
