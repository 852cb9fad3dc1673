"""Child workflows: started durably by a step of their parent, which waits for their end without being in memory."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, ClassVar

from everstep.core.errors import (
    EverstepError,
    InstanceExistsError,
    InstanceNotFoundError,
    InstanceTerminatedError,
    Suspended,
)
from everstep.core.journal import Kind, StepRecord
from everstep.core.names import check_instance_id
from everstep.core.policy import transitions
from everstep.core.serialization import codec
from everstep.core.serialization.digest import digest_of_text
from everstep.core.serialization.stored_error import decode_error, encode_error
from everstep.engine.execution.calls import Call
from everstep.engine.execution.execution import Execution
from everstep.engine.execution.open_waits import NEVER, Wait
from everstep.engine.runtime.ids import new_instance_id
from everstep.engine.steps.store_retry import retry_while_unavailable
from everstep.store.protocol import InstanceRecord


class ChildCall(Call):
    """A call of `step.run_workflow`."""

    kind: ClassVar[Kind] = "child"
    counts = True

    def __init__(self, execution: Execution, name: str, workflow: str, params: Any, id: str | None) -> None:
        super().__init__(execution, name)
        self._given = params
        self._workflow = workflow
        self._id = id if id is None else check_instance_id(id)
        self._params: str | None = None
        self._digest: int | None = None
        self._task: asyncio.Task[None] | None = None
        self._wait: Wait | None = None
        self._works = False

    def check(self) -> None:
        known = self.execution.history.match(self)
        created = known is not None and (known.final or known.attempt > 0)
        try:
            if not created or (known is not None and known.digest is not None):
                self._encode()
        except BaseException as error:
            if created and isinstance(
                error, Exception
            ):  # what the child was given is on disk, though today's code would refuse it
                return
            self.execution.history.fresh.remove(self)
            raise
        finally:
            self._given = None

    def _encode(self) -> None:
        text = self._params = self.execution.host.encode_params(self._workflow, self._given)
        self._digest = None if text is None else digest_of_text(text)

    def difference(self, record: StepRecord) -> str | None:
        workflow, id = names_of(record)
        if workflow != self._workflow:
            return (
                f"the code starts workflow {self._workflow!r} in {self.name!r}, where its history started {workflow!r}"
            )
        if self._id is not None and id != self._id:
            return f"the code starts the child {self._id!r} in {self.name!r}, where its history started {id!r}"
        if record.digest is None or self._digest is None:
            return None
        return self.execution.history.mistaken_for(record, self._digest)

    def begin(self) -> None:
        execution = self.execution
        record = self.begin_row(execution.host.clock.now())
        record.digest = self._digest
        begin_child(execution, record, self._workflow, self._id)

    def start(self, crashes: int) -> None:
        assert self.record is not None
        self._begin_work()
        known = self.record.seq in self.execution.journal.open_rows
        self._task = self.execution.host.loop.create_task(self._run(known=known))

    def stop(self) -> None:
        self._end_work()
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        if self._wait is not None:
            self.execution.waits.close(self._wait)

    def value(self) -> Any:
        assert self.record is not None
        return result_of(self.execution, self.record)

    async def _run(self, *, known: bool) -> None:
        """See that there is a child, and look at it until it has ended."""
        execution, record = self.execution, self.record
        assert record is not None
        try:
            if not known:
                await execution.journal.write(record)
            failure = None if record.attempt else await ensure_created(execution, record, self._params, new=not known)
            if failure is not None:
                self._fail(failure)
                return
            self._look_at(await child_of(execution, record))
        except Suspended:
            pass  # its parent has left memory: what there is to do is done in its next life
        except EverstepError as error:
            execution.host.fail(execution, error)
        finally:
            self._end_work()
            self.execution.pump_soon()

    def _look_at(self, child: InstanceRecord | None) -> None:
        """Wait for its end, which came in its own time where the child has ended already."""
        execution, record = self.execution, self.record
        assert record is not None
        if child is not None and not child.ended:
            self._wait = Wait(NEVER, self._look, record, child=record.child)
        else:
            ended_at = execution.host.clock.now() if child is None else child.ended_at or 0
            self._wait = Wait(ended_at, lambda: self._ended(child), record)
        execution.own_waits().add(self._wait)

    def _look(self) -> None:
        self._begin_work()
        self._task = self.execution.host.loop.create_task(self._run(known=True))

    def _ended(self, child: InstanceRecord | None) -> None:
        assert self.record is not None
        end_child(self.execution, self.record, child)
        self.execution.journal.settle(self.record, alone=False)

    def _fail(self, error: Exception) -> None:
        assert self.record is not None
        transitions.fail(self.record, self.execution.host.clock.now(), encode_error(error))
        self.execution.journal.settle(self.record, alone=False)

    def _begin_work(self) -> None:
        self._works = True
        self.execution.work_began()
        self.execution.own_waits().hold()

    def _end_work(self) -> None:
        if self._works:
            self._works = False
            self.execution.waits.unhold()
            self.execution.work_ended()


def begin_child(execution: Execution, record: StepRecord, workflow: str, id: str | None) -> None:
    """Fix which child a row stands for."""
    now = execution.host.clock.now()
    record.child = f"{workflow}/{id if id is not None else new_instance_id(now)}"
    transitions.wait(record, None)


async def ensure_created(
    execution: Execution, record: StepRecord, params: str | None, *, new: bool
) -> InstanceExistsError | None:
    """Create a row's child, or find the one that was created before; return the error if it is another's."""
    workflow, id = names_of(record)
    error = await _create(execution, workflow, id, params)
    if error is not None:
        child = await child_of(execution, record)
        steps = execution.journal.steps()
        another = any(step.child == record.child and step is not record for step in steps)
        if child is None or child.parent != execution.pk or another:
            return error
        if new and child.ended:  # from before this instance was restarted
            with contextlib.suppress(InstanceNotFoundError):  # deleted already, and the answer was lost
                await retry_while_unavailable(lambda: _delete(execution, workflow, id))
            await _create(execution, workflow, id, params)
    record.attempt = 1  # there is a child: should it be deleted, another one is not what was asked for
    execution.journal.record_soon(record)
    return None


async def _delete(execution: Execution, workflow: str, id: str) -> None:
    await execution.host.store.delete(workflow, id, now=execution.host.clock.now())


async def _create(execution: Execution, workflow: str, id: str, params: str | None) -> InstanceExistsError | None:
    try:
        await execution.host.create_child(execution, workflow, id, params)
    except InstanceExistsError as error:
        return error
    return None


async def child_of(execution: Execution, record: StepRecord) -> InstanceRecord | None:
    """Look up the child of a row."""
    return await retry_while_unavailable(lambda: execution.host.store.find(*names_of(record)))


def end_child(execution: Execution, record: StepRecord, child: InstanceRecord | None) -> None:
    """Enter how a child ended into its row; None is one that was deleted."""
    now = execution.host.clock.now()
    workflow, id = names_of(record)
    if child is not None and child.status == "complete":
        transitions.complete(record, now, child.output)
    elif child is not None and child.error is not None:
        transitions.fail(record, now, child.error)
    else:
        what = "was deleted" if child is None else "was terminated"
        error = InstanceTerminatedError(f"child {id!r} of workflow {workflow!r} {what}")
        transitions.fail(record, now, encode_error(error))


def names_of(record: StepRecord) -> tuple[str, str]:
    """The workflow and the id of a row's child."""
    workflow, _, id = (record.child or "").partition("/")
    return workflow, id


def result_of(execution: Execution, record: StepRecord) -> Any:
    """Return what a child returned, or raise its error."""
    if record.error is not None:
        raise decode_error(record.error)
    declared = execution.host.output_type(names_of(record)[0])
    value = codec.decode(record.result or "null", declared, where=f"the result of child {record.child!r}")
    return codec.coerce_result(value, declared)
