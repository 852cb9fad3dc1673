"""Everything that can be asked of instances from outside: the one service behind bindings, HTTP and command line."""

from __future__ import annotations

import secrets
from typing import Any

from everstep.core import codec
from everstep.core.durations import format_duration
from everstep.core.errors import (
    InstanceExistsError,
    InstanceNotFoundError,
    InstanceTerminatedError,
    WorkflowTimeoutError,
)
from everstep.core.names import check_event_type, check_instance_id, time_ordered_id
from everstep.core.stored_error import decode_error
from everstep.core.types import InstanceStatus
from everstep.engine.clock import Alarm
from everstep.engine.engine import Engine
from everstep.engine.program import Program
from everstep.engine.views import instance_status
from everstep.store.protocol import Change, InstanceChange, InstanceRecord, NewInstance, Transition
from everstep.telemetry import events as happened


class LocalControl:
    """A `Control` over an engine in this process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def create(
        self, workflow: str, *, id: str | None, params: Any, exist_ok: bool = False, trigger: str = "binding"
    ) -> str:
        engine = self._engine
        definition = engine.program[workflow]
        now = engine.clock.now()
        id = time_ordered_id(now, secrets.randbits(80)) if id is None else check_instance_id(id)  # noqa: A001
        text = _encoded_params(params, definition.params, id)
        owned = engine.accepting
        new = NewInstance(workflow, id, now, text, owned, trigger, engine.program.version)
        try:
            pk = await engine.store.create(new)
        except InstanceExistsError:
            if exist_ok:
                return id
            raise
        if engine.telemetry.listening:
            engine.telemetry.emit(happened.InstanceCreated(workflow=workflow, instance_id=id, at=now))
        if owned:
            engine.adopt(_created(pk, new))
        else:
            engine.dispatcher.kick()
        return id

    async def check_exists(self, workflow: str, id: str) -> None:
        await self._existing(workflow, id)

    async def status(self, workflow: str, id: str, *, steps: bool = False) -> InstanceStatus:
        engine = self._engine
        instance = await self._existing(workflow, id)
        run = engine.resident(instance.pk)
        recorded = run.journal.steps() if run is not None else await engine.store.steps(instance.pk)
        attempts = await engine.store.attempts(instance.pk) if steps else None
        return instance_status(instance, recorded, attempts, now=engine.clock.now())

    async def describe(self, workflow: str, id: str) -> tuple[InstanceRecord, InstanceStatus]:
        """Return an instance with every step, for those who show it."""
        return await self._existing(workflow, id), await self.status(workflow, id, steps=True)

    async def page(
        self, workflow: str, *, status: str | None = None, limit: int = 25, cursor: int | None = None
    ) -> list[InstanceRecord]:
        """Return instances of a workflow, newest first, from below the pk `cursor`."""
        self._engine.program[workflow]
        return await self._engine.store.page(workflow, status=status, limit=limit, cursor=cursor)

    async def counts(self) -> dict[str, dict[str, int]]:
        """Return how many instances of each workflow are in each status."""
        return await self._engine.store.counts()

    @property
    def program(self) -> Program:
        """The workflows that run here."""
        return self._engine.program

    async def result(self, workflow: str, id: str, timeout_ms: int | None) -> Any:
        engine = self._engine
        deadline = None if timeout_ms is None else engine.clock.now() + timeout_ms
        while not (instance := await self._existing(workflow, id)).ended:
            if deadline is not None and engine.clock.now() >= deadline:
                raise WorkflowTimeoutError(
                    f"instance {id!r} of {workflow!r} has not ended in {format_duration(timeout_ms or 0)}; "
                    f"it is {instance.status}"
                )
            await self._end_of(instance.pk, deadline)
        return _outcome(instance, engine.program[workflow].output)

    async def pause(self, workflow: str, id: str) -> None:
        engine, now = self._engine, self._engine.clock.now()
        done = await engine.store.pause(workflow, id, now=now)
        if done.after == "paused":
            engine.discard(done.pk)
            if done.before != "paused":
                self._tell(happened.InstancePaused, workflow, id)
            return
        run = engine.resident(done.pk)
        if run is not None and run.paused_since is None:
            run.pause(now, lambda: self._finish_pause(done, workflow, id))

    async def resume(self, workflow: str, id: str) -> None:
        engine, now = self._engine, self._engine.clock.now()
        done = await engine.store.resume(workflow, id, now=now)
        if done.before in ("paused", "errored"):
            self._tell(happened.InstanceResumed, workflow, id)
            engine.dispatcher.kick()
        elif done.before == "waitingForPause":
            self._tell(happened.InstanceResumed, workflow, id)
            run = engine.resident(done.pk)
            if run is not None:
                run.unpause(now)
            else:
                # It was put away for the pause while the resume was on its way to disk: nobody has it, so it is due.
                await engine.store.write(Change(done.pk, instance=InstanceChange("waiting", due_at=now)))
                engine.dispatcher.kick()

    async def terminate(self, workflow: str, id: str) -> None:
        engine = self._engine
        instance = await self._existing(workflow, id)
        if not instance.ended:
            engine.discard(instance.pk)  # before the store hears of it: nothing may be recorded after the end
        done = await engine.store.terminate(workflow, id, now=engine.clock.now())
        engine.discard(done.pk)
        engine.ended(instance, "terminated")
        engine.dispatcher.made_room()

    async def restart(self, workflow: str, id: str) -> None:
        engine = self._engine
        instance = await self._existing(workflow, id)
        engine.discard(instance.pk)
        done = await engine.store.restart(workflow, id, now=engine.clock.now(), version=engine.program.version)
        engine.discard(done.pk)
        self._tell(happened.InstanceRestarted, workflow, id)
        engine.dispatcher.kick()

    async def send_event(self, workflow: str, id: str, *, type: str, payload: Any) -> None:
        engine = self._engine
        check_event_type(type)
        await self._existing(workflow, id)
        text, _ = codec.encode(payload, where=f"the payload of event {type!r}")
        sent = await engine.store.send_event(workflow, id, type=type, payload=text, now=engine.clock.now())
        if engine.telemetry.listening:
            engine.telemetry.emit(
                happened.EventSent(workflow=workflow, instance_id=id, at=sent.event.created_at, type=type)
            )
        run = engine.resident(sent.pk)
        if run is not None:
            run.deliver(sent.event)
        else:
            engine.dispatcher.kick()

    def _finish_pause(self, asked: Transition, workflow: str, id: str) -> None:
        """Record that a promised pause has come about, and put the instance away."""
        engine = self._engine
        written = engine.store.write(Change(asked.pk, instance=InstanceChange("paused")))
        written.add_done_callback(engine.check_write)
        engine.discard(asked.pk)
        self._tell(happened.InstancePaused, workflow, id)

    async def _end_of(self, pk: int, deadline: int | None) -> None:
        """Wait until an instance ends, or until `deadline`."""
        ended = self._engine.watch(pk)
        alarm = Alarm(self._engine.clock, lambda: None if ended.done() else ended.set_result(None))
        if deadline is not None:
            alarm.set(deadline)
        try:
            await ended
        finally:
            alarm.clear()
            self._engine.unwatch(pk, ended)

    async def _existing(self, workflow: str, id: str) -> InstanceRecord:
        self._engine.program[workflow]
        instance = await self._engine.store.find(workflow, check_instance_id(id))
        if instance is None:
            raise InstanceNotFoundError(f"workflow {workflow!r} has no instance {id!r}")
        return instance

    def _tell(self, kind: type[happened.Event], workflow: str, id: str) -> None:
        engine = self._engine
        if engine.telemetry.listening:
            engine.telemetry.emit(kind(workflow=workflow, instance_id=id, at=engine.clock.now()))


def _encoded_params(params: Any, declared: Any, id: str) -> str | None:
    """Check params against their declared type and encode them as they were given."""
    where = f"the params of instance {id!r}"
    if params is None:
        codec.restore({}, declared, where=where)  # what `event.payload` will be
        return None
    text, value = codec.encode(params, where=where, declared=declared)
    codec.restore(value, declared, where=where)
    return text


def _created(pk: int, new: NewInstance) -> InstanceRecord:
    return InstanceRecord(
        pk=pk,
        workflow=new.workflow,
        id=new.id,
        status="running",
        due_at=None,
        created_at=new.created_at,
        started_at=new.created_at,
        ended_at=None,
        paused_at=None,
        recoveries=0,
        recovered_position=-1,
        trigger=new.trigger,
        version=new.version,
        params=new.params,
        output=None,
        error=None,
    )


def _outcome(instance: InstanceRecord, declared: Any) -> Any:
    if instance.status == "complete":
        where = f"the output of instance {instance.id!r}"
        return codec.restore_result(codec.decode(instance.output or "null", declared, where=where), declared)
    if instance.error is not None:
        raise decode_error(instance.error)
    raise InstanceTerminatedError(f"instance {instance.id!r} of {instance.workflow!r} was terminated: it has no result")
