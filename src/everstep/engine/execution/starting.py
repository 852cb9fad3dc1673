"""Calls of an execution's code begin in their order once its history is exhausted; cancelled calls end."""

from __future__ import annotations

import sys
from asyncio import _set_running_loop
from functools import partial
from typing import TYPE_CHECKING

from everstep.core.errors import StepLimitError, StorageLimitError
from everstep.core.limits import STORED_BYTES
from everstep.core.policy import transitions
from everstep.engine.execution.calls import Call
from everstep.engine.execution.history import NO_CALLS
from everstep.engine.execution.phase import Phase

if TYPE_CHECKING:
    from everstep.engine.execution.execution import Execution

_MAY_BEGIN_IN_A_PUMP = sys.version_info < (3, 14)
"""From Python 3.14 on a thread has one current task: no other task begins inside one of the code."""

_RUNNING, _COLLECTING = Phase.RUNNING, Phase.COLLECTING  # read at every step: of a class of members that takes long


def comes_to_rest(execution: Execution) -> bool:
    """Whether the code that asks for a call comes to rest with that: nothing else is ready, asked for, open or due."""
    history = execution.history
    return not (
        history.open
        or history.unstarted
        or history.pending
        or history.replaying
        or history.cancels
        or len(history.fresh) != 1
        or execution.loop.ready
        or execution.waits.count
        or execution.crashes
        or execution.loop.touched_outside
        or execution.journal.holds_values
        or execution.pause.since is not None
        or execution.phase is not _RUNNING
        or not _MAY_BEGIN_IN_A_PUMP
    )


def begin_at_once(execution: Execution, call: Call) -> bool:
    """Begin a call without leaving the pump; return whether it has ended, and its end is on disk and heard.

    The code is at rest with that, so it is the same as what `drive` would do next.
    """
    history, loop = execution.history, execution.loop
    history.fresh = NO_CALLS
    history.begun_after = history.heard
    if not _begin_call(execution, call):
        return False
    _set_running_loop(loop.outer)
    try:
        call.start(0)
    finally:
        _set_running_loop(loop)
    if not history.pending or execution.phase.over or execution.pause.since is not None:
        return False
    return history.take_next() is call


def start_asked(execution: Execution) -> None:
    """End what the code cancelled, and start what it asked for, in that order."""
    history = execution.history
    if history.pending or execution.phase is _COLLECTING:
        return  # nothing begins before the history is exhausted
    if history.cancels:
        _end_cancelled(execution)
    asked = history.unstarted
    for call in asked:
        if call.record is None and not _begin_call(execution, call):
            return
    history.begun_after = history.heard
    if not asked or execution.pause.since is not None:
        return
    if execution.journal.holds_values and (written := execution.journal.values_written()) is not None:
        execution.work_began()
        written.add_done_callback(partial(_values_written, execution))
        return
    history.unstarted = NO_CALLS
    crashes, execution.crashes = execution.crashes, 0
    for call in asked:
        if execution.phase is not _RUNNING:  # a commit made on the way had it leave memory, or fail
            return
        if call.cancelled_after is None and not _was_cancelled(call):
            call.start(crashes)


def _values_written(execution: Execution, _: object) -> None:
    execution.work_ended()
    execution.drive()


def _begin_call(execution: Execution, call: Call) -> bool:
    """Give a call its row; return whether the instance may go on: it has limits."""
    if call.cancelled_after is not None:
        _note_cancelled(execution, call)
        return True
    journal = execution.journal
    if call.counts:
        journal.steps_started += 1
        if journal.steps_started > execution.definition.step_limit or journal.stored_bytes > STORED_BYTES:
            execution.host.fail(execution, _over_limit(execution, call))
            return False
    call.begin()
    if (record := call.record) is not None:
        execution.history.open[record.seq] = call
    return True


def _note_cancelled(execution: Execution, call: Call) -> None:
    """Record a call that was cancelled before it began, where the code had heard of something in between.

    A replay asks for it before it cancels it: without a row it would be taken for a contradiction.
    """
    if call.cancelled_after == call.asked_after or call.kind == "timer":
        return
    call.begin()
    if call.record is not None:
        transitions.cancel(call.record, execution.host.clock.now(), call.cancelled_after)
        execution.journal.record_soon(call.record)


def _over_limit(execution: Execution, call: Call) -> Exception:
    limit, journal = execution.definition.step_limit, execution.journal
    if journal.steps_started > limit:
        return StepLimitError(
            f"the limit of {limit} steps was reached at step {call.name!r}; raise limits.steps of workflow "
            f"{execution.instance.workflow!r}, or split the work into child workflows"
        )
    return StorageLimitError(
        f"the results of instance {execution.instance.id!r} take {journal.stored_bytes} bytes at step {call.name!r}, "
        f"and an instance may store {STORED_BYTES}; keep large data elsewhere and return references to it"
    )


def _end_cancelled(execution: Execution) -> None:
    cancels, execution.history.cancels = execution.history.cancels, NO_CALLS
    now = execution.host.clock.now()
    for call in cancels:
        record = call.record
        call.stop()
        if record is None or record.final or record.cancelled_after is not None:
            continue  # never begun; ended, to be passed over when that is on disk; cancelled in an earlier activation
        transitions.cancel(record, now, call.cancelled_after)
        execution.history.open.pop(record.seq, None)
        execution.journal.record_soon(record)


def _was_cancelled(call: Call) -> bool:
    """Whether the code cancelled the call in an earlier activation: it never begins again."""
    record = call.record
    return record is not None and record.state == "cancelled" and record.cancelled_after is not None
