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
    InstanceNotFoundError,
    InstanceStateError,
    StoreError,
    Suspended,
)
from everstep.core.names import check_instance_id, check_step_name
from everstep.core.stored_error import encode_error
from everstep.engine.engine import Engine
from everstep.engine.execution.branches import running_instance
from everstep.engine.execution.workflow_loop import WorkflowLoop, running_workflow_loop
from everstep.engine.runtime.params import options_of_an_instance
from everstep.engine.steps.rollback import TERMINATED
from everstep.store.protocol import (
    Change,
    InstanceChange,
    InstanceRecord,
    StepKey,
    Transition,
)
from everstep.store.refusals import no_such_step, not_found
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
            await control._engine.reload_uncertain(workflow, args[0])  # noqa: SLF001  # half of the class below
        raise


def asked_outside(operation: Operation) -> Operation:
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
        members = await self._members(workflow, id)

        async def pause(name: str, member: str) -> Transition:
            done = await self._engine.store.pause(name, member, now=now)
            self._paused(done, name, member, now)  # at once: whatever is asked next finds memory as the disk is
            return done

        await self._for_all(members, pause)

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
        now = self._engine.clock.now()
        members = await self._members(workflow, id)

        async def resume(name: str, member: str) -> Transition:
            done = await self._engine.store.resume(name, member, now=now)
            await self._resumed(done, name, member, now)
            return done

        await self._for_all(members, resume)

    async def _resumed(self, done: Transition, workflow: str, id: str, now: int) -> None:
        engine = self._engine
        if done.before in ("paused", "errored"):
            self._notify(events.InstanceResumed, workflow, id, done.pk)
            engine.dispatcher.claim_soon()
        elif done.before == "waitingForPause":
            self._notify(events.InstanceResumed, workflow, id, done.pk)
            execution = engine.cache.get(done.pk)
            if execution is not None:
                execution.pause.take_back(now)
            else:
                # It was put away for the pause while the resume was on its way to disk: nobody has it, so it is due.
                with contextlib.suppress(InstanceLostError):  # somebody else has moved it since
                    await engine.make_due(done.pk)

    @shielded
    async def terminate(self, workflow: str, id: str, *, rollback: bool = False) -> None:
        engine, now = self._engine, self._engine.clock.now()
        instance = await self._existing(workflow, id)
        handlers = rollback and not instance.ended and await self._has_rollbacks(instance)
        if handlers and await self._rolls_back(instance):
            _suspend_if_self(instance.pk)
            return
        if instance.status == "terminated" and await self._children(instance):
            await self._terminate_new_descendants(instance, now)  # whoever terminated it did not come that far
            return
        try:
            with engine.activation_barred(instance.pk):  # first: no child begins then, and nothing is recorded any more
                members = await self._members(workflow, id)
            if handlers:
                await self._begin_rollback(instance, now)
                members = members[1:]
            await self._end_all(members, now, children_only=handlers)
            await self._terminate_new_descendants(instance, now)
        except EverstepError:
            self._reactivate(instance)
            raise
        engine.dispatcher.on_slot_freed()
        _suspend_if_self(instance.pk)

    async def _begin_rollback(self, instance: InstanceRecord, now: int) -> None:
        engine = self._engine
        self._beginning_rollback.add(instance.pk)
        try:
            why = encode_error(TERMINATED)
            with engine.activation_barred(instance.pk):
                await engine.store.begin_rollback(instance.workflow, instance.id, now=now, error=why)
        finally:
            self._beginning_rollback.discard(instance.pk)
        engine.evict(instance.pk)
        engine.dispatcher.claim_soon()

    async def _end_all(self, members: Sequence[tuple[str, str]], now: int, *, children_only: bool = False) -> None:
        engine = self._engine
        found = [await engine.store.find(*member) for member in members]
        with engine.activation_barred(*(one.pk for one in found if one is not None)):
            done = await self._for_all(
                members, lambda w, i: engine.store.terminate(w, i, now=now), children_only=children_only
            )
        for (name, member), transition in zip(members, done, strict=True):
            if transition is not None:
                engine.evict(transition.pk)
                engine.ended(await self._existing(name, member), "terminated")

    async def _terminate_new_descendants(self, instance: InstanceRecord, now: int) -> None:
        """End what the children of an instance that is over began before they were ended themselves."""
        while late := await self._children(instance):
            await self._end_all(late, now, children_only=True)

    async def _has_rollbacks(self, instance: InstanceRecord) -> bool:
        execution = self._engine.cache.get(instance.pk)
        if execution is None:
            return any(step.compensable for step in await self._engine.store.steps(instance.pk))
        compensable = [step for step in execution.journal.steps() if step.compensable]
        if compensable and not execution.phase.over:  # of those in flight some are not on disk yet
            execution.journal.flush_rows()
        return bool(compensable)

    async def _rolls_back(self, instance: InstanceRecord) -> bool:
        """Whether the instance is being rolled back already, or was just asked to be."""
        if instance.pk in self._beginning_rollback:
            return True
        execution = self._engine.cache.get(instance.pk)
        steps = await self._engine.store.steps(instance.pk) if execution is None else execution.journal.steps()
        return any(step.kind == "rollback" for step in steps)

    async def _members(self, workflow: str, id: str) -> list[tuple[str, str]]:
        """Return an instance and its children that have not ended, and theirs: what is done to it reaches them."""
        instance = await self._existing(workflow, id)
        return [(workflow, id), *([] if instance.ended else await self._children(instance))]

    async def _children(self, instance: InstanceRecord) -> list[tuple[str, str]]:
        """Return the children of an instance that have not ended, and theirs."""
        await self._engine.creator.wait_children_created(instance.pk)
        family = await self._engine.store.family(instance.pk)
        for one in family:
            await self._engine.creator.wait_created(one.workflow, one.id)
        return [(one.workflow, one.id) for one in family if not one.ended]

    async def _for_all(
        self,
        members: Sequence[tuple[str, str]],
        operation: Callable[[str, str], Awaitable[Transition]],
        *,
        children_only: bool = False,
    ) -> list[Transition | None]:
        """Do the same to an instance and its children, asked for together and so written together.

        The first is the instance, unless there are only children: what is refused for it is raised, and it is awaited
        directly, as what follows here must come before what follows on whatever is asked of it next. A child that has
        ended or was deleted meanwhile is left alone.
        """
        at = 0 if children_only else 1
        children = asyncio.gather(*(operation(*member) for member in members[at:]), return_exceptions=True)
        try:
            done: list[Transition | None] = [await operation(*member) for member in members[:at]]
        except EverstepError:
            await children
            for member in members[1:]:  # what was done to them, nobody has told them
                await self._engine.reload_uncertain(*member)
            raise
        for answer in await children:
            gone = isinstance(answer, (InstanceStateError, InstanceNotFoundError))
            if isinstance(answer, BaseException) and not gone:
                raise answer
            done.append(None if isinstance(answer, BaseException) else answer)
        return done

    @shielded
    async def restart(
        self, workflow: str, id: str, *, from_step: str | None = None, count: int = 1, type: str | None = None
    ) -> None:
        engine = self._engine
        key = _step_key(from_step, count, type)
        instance = await self._existing(workflow, id)
        if key is not None and not await self._has_step(instance, key):
            raise no_such_step(instance, key)  # before anything in flight is cut off for it
        try:
            with engine.activation_barred(instance.pk):
                children = (await self._members(workflow, id))[1:]
                await engine.store.restart(
                    workflow, id, now=engine.clock.now(), version=engine.registry.version, from_step=key
                )
        except EverstepError:
            self._reactivate(instance)
            raise
        engine.evict(instance.pk)
        await self._end_all(children, engine.clock.now(), children_only=True)  # nobody waits for them any more
        self._notify(events.InstanceRestarted, workflow, id, instance.pk)
        engine.dispatcher.claim_soon()
        _suspend_if_self(instance.pk)

    async def _has_step(self, instance: InstanceRecord, key: StepKey) -> bool:
        steps = await self._engine.store.steps(instance.pk)
        return any((step.kind, step.name, step.count) == (key.kind, key.name, key.count) for step in steps)

    def _reactivate(self, instance: InstanceRecord) -> None:
        """Let an instance go on that was put away for something the store then refused."""
        if not instance.ended and instance.status != "paused":
            self._engine.make_due(instance.pk)

    @shielded
    async def delete(self, workflow: str, id: str) -> None:
        engine, now = self._engine, self._engine.clock.now()
        instance = await self._existing(workflow, id)
        try:
            with engine.activation_barred(instance.pk):
                children = (await self._members(workflow, id))[1:]
            await self._end_all(children, now, children_only=True)
            if not instance.ended:  # else nobody waited for them, and they are left alone
                await self._terminate_new_descendants(instance, now)
            if instance.parent is not None and not instance.ended:  # its end is what wakes a parent that waits
                with contextlib.suppress(InstanceStateError):
                    await engine.store.terminate(workflow, id, now=now)
            with engine.activation_barred(instance.pk):
                engine.evict(await engine.store.delete(workflow, id))
        except EverstepError:
            self._reactivate(instance)
            raise
        engine.ended(instance, "terminated", emit=False)
        _suspend_if_self(instance.pk)

    def _finish_pause(self, asked: Transition, workflow: str, id: str) -> None:
        """Record that a promised pause has come about, and put the instance away."""
        engine = self._engine
        written = engine.store.write(Change(asked.pk, instance=InstanceChange("paused", at=engine.clock.now())))
        written.add_done_callback(engine.check_write)
        engine.evict(asked.pk)
        self._notify(events.InstancePaused, workflow, id, asked.pk)

    async def _existing(self, workflow: str, id: str) -> InstanceRecord:
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
