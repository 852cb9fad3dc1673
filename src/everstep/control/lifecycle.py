"""What moves an instance from outside: paused, resumed, terminated, restarted, deleted, and its children with it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar, cast

from everstep.core.errors import (
    EverstepError,
    InstanceLostError,
    StoreError,
    Suspended,
)
from everstep.core.names import check_instance_id, check_step_name
from everstep.core.serialization.stored_error import encode_error
from everstep.engine.engine import Engine
from everstep.engine.execution.branches import running_instance
from everstep.engine.execution.workflow_loop import WorkflowLoop, running_workflow_loop
from everstep.engine.runtime.params import options_of_an_instance
from everstep.engine.steps.rollback import TERMINATED
from everstep.store.protocol import (
    Change,
    ChildTransition,
    Deletion,
    InstanceChange,
    InstanceRecord,
    StepKey,
    Transition,
)
from everstep.store.rejections import no_such_step, not_found
from everstep.telemetry import events

Operation = TypeVar("Operation", bound=Callable[..., Any])


def shielded(operation: Operation) -> Operation:
    """Carry an operation out whole, though whoever asked for it goes away meanwhile.

    Its first half is on its way to disk and cannot be taken back; the second half, which tells the engine in memory,
    must follow whatever happens to the caller: a timeout, a closed connection, a sibling that failed.
    """

    @functools.wraps(operation)
    async def whole(*args: Any, **kwargs: Any) -> Any:
        if (loop := running_workflow_loop()) is not None:  # asked for by a workflow's code, outside of a step
            return await loop.mirror(loop.run_outside(lambda: whole(*args, **kwargs)))
        task = asyncio.ensure_future(_or_reload(operation, *args, **kwargs))
        _under_way.add(task)
        task.add_done_callback(_under_way.discard)
        task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    return cast("Operation", whole)


async def _or_reload(
    operation: Callable[..., Any], control: LifecycleOperations, workflow: str, *args: Any, **kwargs: Any
) -> Any:
    try:
        return await operation(control, workflow, *args, **kwargs)
    except StoreError:
        if args:  # an id; one that is created is looked after by the engine
            control._engine.reloader.reload_soon(workflow, args[0])  # noqa: SLF001  # half of the class below
        raise


def run_detached(operation: Operation) -> Operation:
    """Carry an operation out on the application's loop, where a workflow's code asks for it outside of a step."""

    @functools.wraps(operation)
    def carried_out(*args: Any, **kwargs: Any) -> Any:
        called = operation(*args, **kwargs)
        loop = running_workflow_loop()
        return called if loop is None else _outside(loop, called)

    return cast("Operation", carried_out)


async def _outside(loop: WorkflowLoop, called: Coroutine[Any, Any, Any]) -> Any:
    return await loop.mirror(loop.run_outside(lambda: called))


_under_way: set[asyncio.Future[Any]] = set()


def _retrieve(task: asyncio.Future[Any]) -> None:
    """Look at an error, which nobody may be there to hear any more."""
    if not task.cancelled():
        task.exception()


class LifecycleOperations:
    """The operations that change an instance's status, over an engine in this process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._beginning_rollback: set[int] = set()

    @shielded
    async def pause(self, workflow: str, id: str) -> None:
        now = self._engine.clock.now()
        await self._find(workflow, id)
        done = await self._engine.store.pause(workflow, id, now=now)
        # At once: whatever is asked next finds memory as the disk is.
        self._paused(done, workflow, id, now)
        for one in done.children:
            child = one.instance
            self._paused(Transition(child.pk, child.status, one.after), child.workflow, child.id, now)
        await self._engine.creator.keep_out([one.instance for one in done.children])

    def _paused(self, done: Transition, workflow: str, id: str, now: int) -> None:
        engine = self._engine
        if done.after == "paused":
            engine.evict(done.pk)
            if done.before != "paused":
                self._notify(events.InstancePaused, workflow, id, done.pk)
            return
        execution = engine.cache.get(done.pk)
        if execution is not None and execution.pause.since is None:
            execution.own_pause().ask(now, lambda: self._finish_pause(done, workflow, id))

    @shielded
    async def resume(self, workflow: str, id: str) -> None:
        engine, now = self._engine, self._engine.clock.now()
        await self._find(workflow, id)
        done = await engine.store.resume(workflow, id, now=now)
        nobodys = [done.pk] if self._resumed(done, workflow, id, now) else []
        for one in done.children:
            child = one.instance
            if self._resumed(Transition(child.pk, child.status, one.after), child.workflow, child.id, now):
                nobodys.append(child.pk)
        for pk in nobodys:
            with contextlib.suppress(InstanceLostError):  # somebody else has moved it since
                await engine.make_due(pk)

    def _resumed(self, done: Transition, workflow: str, id: str, now: int) -> bool:
        """Let an instance go on; return whether nobody has it, and it has to be made due.

        It was put away for the pause then, while the resume was on its way to disk.
        """
        engine = self._engine
        if done.before in ("paused", "errored"):
            self._notify(events.InstanceResumed, workflow, id, done.pk)
            engine.dispatcher.claim_soon()
        elif done.before == "waitingForPause":
            self._notify(events.InstanceResumed, workflow, id, done.pk)
            execution = engine.cache.get(done.pk)
            if execution is None:
                return True
            execution.pause.take_back(now)
        return False

    @shielded
    async def terminate(self, workflow: str, id: str, *, rollback: bool = False) -> None:
        engine, now = self._engine, self._engine.clock.now()
        instance = await self._find(workflow, id)
        handlers = rollback and not instance.ended and await self._has_rollbacks(instance)
        if handlers and await self._rolls_back(instance):
            _suspend_if_self(instance.pk)
            return
        if handlers:
            children = await self._end_descendants(instance, lambda: self._begin_rollback(instance, now))
            engine.dispatcher.claim_soon()
        else:
            children = await self._end_descendants(instance, lambda: engine.store.terminate(workflow, id, now=now))
            engine.ended(instance, "terminated")
        await self._children_ended(children)
        engine.dispatcher.on_slot_freed()
        _suspend_if_self(instance.pk)

    async def _begin_rollback(self, instance: InstanceRecord, now: int) -> Transition:
        self._beginning_rollback.add(instance.pk)
        try:
            why = encode_error(TERMINATED)
            return await self._engine.store.begin_rollback(instance.workflow, instance.id, now=now, error=why)
        finally:
            self._beginning_rollback.discard(instance.pk)

    async def _end_descendants(
        self, instance: InstanceRecord, verb: Callable[[], Awaitable[Transition | Deletion]]
    ) -> Sequence[ChildTransition]:
        """Carry out a verb that ends the children of an instance; return those it ended.

        All are out of memory meanwhile: nothing is recorded any more. Those it does not end go on.
        """
        engine = self._engine
        with engine.activation_barred(instance.pk):  # first: it begins no child then
            family = [one for one in await engine.store.descendants(instance.pk) if not one.ended]
            try:
                with engine.activation_barred(*(one.pk for one in family)):
                    children = (await verb()).children
            except EverstepError:
                self._reactivate(instance, *family)
                raise
        engine.evict(instance.pk)
        ended = {one.instance.pk for one in children}
        self._reactivate(*(one for one in family if one.pk not in ended))
        return children

    async def _children_ended(self, children: Sequence[ChildTransition]) -> None:
        """Tell everybody that children have ended with their parent."""
        for one in children:
            self._engine.evict(one.instance.pk)
            self._engine.ended(one.instance, one.after)
        await self._engine.creator.keep_out([one.instance for one in children])

    async def _has_rollbacks(self, instance: InstanceRecord) -> bool:
        execution = self._engine.cache.get(instance.pk)
        if execution is None:
            return any(step.compensable for step in await self._engine.store.outline(instance.pk))
        compensable = [step for step in execution.journal.steps() if step.compensable]
        if compensable and not execution.phase.over:  # of those in flight some are not on disk yet
            execution.journal.flush_rows()
        return bool(compensable)

    async def _rolls_back(self, instance: InstanceRecord) -> bool:
        """Whether the instance is being rolled back already, or was just asked to be."""
        if instance.pk in self._beginning_rollback:
            return True
        execution = self._engine.cache.get(instance.pk)
        steps = await self._engine.store.outline(instance.pk) if execution is None else execution.journal.steps()
        return any(step.kind == "rollback" for step in steps)

    @shielded
    async def restart(
        self, workflow: str, id: str, *, from_step: str | None = None, count: int = 1, type: str | None = None
    ) -> None:
        engine = self._engine
        key = _step_key(from_step, count, type)
        instance = await self._find(workflow, id)
        if key is not None and not await self._has_step(instance, key):
            raise no_such_step(instance, key)  # before anything in flight is cancelled for it
        now, version = engine.clock.now(), engine.registry.version
        children = await self._end_descendants(
            instance, lambda: engine.store.restart(workflow, id, now=now, version=version, from_step=key)
        )
        self._notify(events.InstanceRestarted, workflow, id, instance.pk)
        engine.dispatcher.claim_soon()
        await self._children_ended(children)
        _suspend_if_self(instance.pk)

    async def _has_step(self, instance: InstanceRecord, key: StepKey) -> bool:
        steps = await self._engine.store.outline(instance.pk)
        return any((step.kind, step.name, step.count) == (key.kind, key.name, key.count) for step in steps)

    def _reactivate(self, *instances: InstanceRecord) -> None:
        """Let instances go on that were put away for something the store then did not do."""
        for one in instances:
            if not one.ended and one.status != "paused":
                self._engine.make_due(one.pk)

    @shielded
    async def delete(self, workflow: str, id: str) -> None:
        engine, now = self._engine, self._engine.clock.now()
        instance = await self._find(workflow, id)
        children = await self._end_descendants(instance, lambda: engine.store.delete(workflow, id, now=now))
        engine.ended(instance, "terminated", emit=False)
        await self._children_ended(children)
        _suspend_if_self(instance.pk)

    def _finish_pause(self, asked: Transition, workflow: str, id: str) -> None:
        """Record that a promised pause has come about, and put the instance away."""
        engine = self._engine
        written = engine.store.write(Change(asked.pk, instance=InstanceChange("paused", at=engine.clock.now())))
        written.add_done_callback(engine.check_write)
        engine.evict(asked.pk)
        self._notify(events.InstancePaused, workflow, id, asked.pk)

    async def _find(self, workflow: str, id: str) -> InstanceRecord:
        self._engine.registry[workflow]
        instance = await self._engine.store.find(workflow, check_instance_id(id))
        if instance is None:
            raise not_found(workflow, id)
        await self._engine.creator.wait_created(workflow, id)
        return instance

    def _notify(self, kind: type[events.Event], workflow: str, id: str, pk: int) -> None:
        engine = self._engine
        engine.watchers.notify_changed(pk)
        if engine.telemetry.listening:
            engine.telemetry.emit(kind(workflow=workflow, instance_id=id, at=engine.clock.now()))


def _suspend_if_self(pk: int) -> None:
    """Stop here if this is the instance's own code, which has just ended, deleted or restarted itself."""
    if running_instance.get() == pk:
        raise Suspended


_KINDS = {"do": "do", "sleep": "sleep", "waitForEvent": "wait", "workflow": "child"}


@options_of_an_instance()
def _step_key(name: str | None, count: int, type: str | None) -> StepKey | None:
    """Return which step to restart from, None for the beginning."""
    if name is None:
        if type is None and count == 1 and not isinstance(count, bool):
            return None
        option = "count" if type is None else "type"
        raise ValueError(f"{option} of restart() says which step is meant, and from_step is missing; give its name")
    if type is not None and type not in _KINDS:
        raise ValueError(f"type {type!r} of a step is one of {', '.join(_KINDS)}")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ValueError(f"count of a step is a whole number from 1, got {count!r}")
    return StepKey(_KINDS[type or "do"], check_step_name(name), count)
