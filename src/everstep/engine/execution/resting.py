"""An execution whose code is at rest: finish a pause, end what is due, park."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everstep.core.journal import StepRecord
from everstep.engine.execution.history import named
from everstep.engine.execution.open_waits import NEVER
from everstep.engine.execution.phase import Phase
from everstep.store.protocol import InstanceChange

if TYPE_CHECKING:
    from everstep.engine.execution.execution import Execution


def rest(execution: Execution) -> None:
    """See what is to be done while the code is at rest: finish a pause, end what is due, or park."""
    if execution.phase.over or execution.driving:
        return
    if execution.waits.count and execution.pause.since is None and not execution.waits.parked:
        execution.waits.fire()
    if execution.work or not execution.journal.idle or execution.loop.engine_results:
        if execution.waits.count:
            _set_alarm(execution)
    elif execution.pause.since is not None:
        execution.pause.finish()
    elif execution.phase is Phase.COLLECTING:
        execution.host.collected(execution)
    elif not execution.waits.parked:
        _wait(execution)


def _wait(execution: Execution) -> None:
    """Wait for what comes from outside, where nothing of the engine's own is under way."""
    if execution.history.lenient and (missing := _missing(execution)) is not None:
        _wait_for(execution, missing)
    elif execution.loop.waits_outside:
        _set_alarm(execution)
    elif execution.phase is Phase.RUNNING or execution.waits.count:
        park(execution)


def _missing(execution: Execution) -> StepRecord | None:
    """Return what the history has and the code has not asked for, where only its names are checked."""
    return execution.history.pending[-1] if execution.history.pending else execution.history.never_asked()


def _wait_for(execution: Execution, missing: StepRecord) -> None:
    """Give code that awaits the outside a moment to ask for what its history has."""
    if execution.phase is not Phase.RUNNING:
        return
    if execution.loop.waits_outside:
        _set_alarm(execution)
    elif execution.outside.began and not execution.outside.patience_over:
        execution.own_outside().wait()
    else:
        execution.fail_nondeterministic(f"the code does not ask for {named(missing)}, as its history does")


def _set_alarm(execution: Execution) -> None:
    if execution.pause.since is None and not execution.waits.parked:
        execution.waits.set_alarm()


def park(execution: Execution) -> None:
    """Say on disk that nothing happens before the earliest wait is due: then the execution may leave memory."""
    waits = execution.own_waits()
    if not waits.count and execution.phase is Phase.RUNNING:
        execution.own_outside().stuck()
    waits.parked = True
    waits.clear_alarm()
    waits.write_rows()
    due = waits.earliest
    due_at = None if due >= NEVER else due
    execution.journal.flush(instance=InstanceChange("waiting", due_at=due_at, at=execution.host.clock.now()))
    execution.host.parked(execution, due)
