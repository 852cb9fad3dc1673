"""Child workflows: started durably by a step of their parent, which waits for their end without being in memory."""

from __future__ import annotations

import contextlib
import secrets
from typing import Any

from everstep.core import codec
from everstep.core.errors import InstanceExistsError, InstanceNotFoundError, InstanceTerminatedError
from everstep.core.journal import StepRecord
from everstep.core.names import check_instance_id, time_ordered_id
from everstep.core.stored_error import decode_error, encode_error
from everstep.engine.execution.branches import NEVER
from everstep.engine.execution.execution import Execution
from everstep.engine.steps import recorded_values
from everstep.engine.steps.determinism import check_limits, check_new
from everstep.engine.steps.store_retry import retry_while_unavailable
from everstep.store.protocol import InstanceRecord


async def run_workflow(run: Execution, name: str, workflow: str, params: Any, id: str | None) -> Any:
    """Start a child, or find the one that was started before, and return its result or raise its error."""
    run.check_alive()
    record = run.journal.find("child", name)
    if record is not None and record.final:
        recorded_values.asked(record)
        return _outcome(run, record)
    run.enter()
    if record is None:
        await check_limits(run, name)
        await check_new(run, "step.run_workflow", name)
        await run.gate()
        text = run.host.encode_params(workflow, params)  # before anything is recorded: what is wrong is the caller's
        record = await _begin(run, name, workflow, id)
        await _create(run, record, text, new=True)
    elif not record.attempt:  # a crash came between the record and the child, or before it was refused
        await _create(run, record, run.host.encode_params(workflow, params))
    recorded_values.asked(record)
    if not record.attempt:
        record.attempt = 1  # there is a child: should it be deleted, another one is not what was asked for
        run.write_soon(record)
    await run.gate()
    while (child := await _child(run, record)) is not None and not child.ended:
        await run.wait(record, NEVER)
        await run.gate()
    await _record_end(run, record, child)
    return _outcome(run, record)


async def _begin(run: Execution, name: str, workflow: str, id: str | None) -> StepRecord:
    now = run.host.clock.now()
    child_id = time_ordered_id(now, secrets.randbits(80)) if id is None else check_instance_id(id)
    record = run.journal.begin("child", name, now)
    record.state, record.child = "waiting", f"{workflow}/{child_id}"
    await run.write(record)
    return record


async def _create(run: Execution, record: StepRecord, params: str | None, *, new: bool = False) -> None:
    workflow, id = _names(record)
    try:
        await _create_child(run, workflow, id, params)
    except InstanceExistsError as error:
        child = await _child(run, record)
        another = any(step.child == record.child and step is not record for step in run.journal.steps())
        if child is None or child.parent != run.pk or another:
            await _fail(run, record, error)
        elif new and child.ended:  # from before this instance was restarted
            with contextlib.suppress(InstanceNotFoundError):  # deleted already, and the answer was lost
                await retry_while_unavailable(lambda: run.host.store.delete(workflow, id))
            await _create_child(run, workflow, id, params)


async def _create_child(run: Execution, workflow: str, id: str, params: str | None) -> None:
    run.active += 1  # not to be put away meanwhile
    try:
        await run.host.create_child(run, workflow, id, params)
    finally:
        run.active -= 1
        run.settle()


async def _record_end(run: Execution, record: StepRecord, child: InstanceRecord | None) -> None:
    if child is not None and child.status == "complete":
        record.state, record.result, record.ended_at = "complete", child.output, run.host.clock.now()
        await run.write(record)
        return
    workflow, id = _names(record)
    if child is not None and child.error is not None:
        record.state, record.error, record.ended_at = "errored", child.error, run.host.clock.now()
        await run.write(record)
    else:
        what = "was deleted" if child is None else "was terminated"
        await _fail(run, record, InstanceTerminatedError(f"child {id!r} of workflow {workflow!r} {what}"), stop=False)


async def _fail(run: Execution, record: StepRecord, error: Exception, *, stop: bool = True) -> None:
    record.state, record.error, record.ended_at = "errored", encode_error(error), run.host.clock.now()
    await run.write(record)
    if stop:
        raise decode_error(record.error)


async def _child(run: Execution, record: StepRecord) -> InstanceRecord | None:
    return await retry_while_unavailable(lambda: run.host.store.find(*_names(record)))


def _names(record: StepRecord) -> tuple[str, str]:
    workflow, _, id = (record.child or "").partition("/")
    return workflow, id


def _outcome(run: Execution, record: StepRecord) -> Any:
    if record.error is not None:
        raise decode_error(record.error)
    declared = run.host.output_type(_names(record)[0])
    value = codec.decode(record.result or "null", declared, where=f"the result of child {record.child!r}")
    return codec.restore_result(value, declared)
