"""Instances created by this engine: on disk first, then in memory if there is room, even if the asker has left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from everstep.core.errors import InstanceLostError, StoreError, Suspended
from everstep.engine.execution.execution import Execution
from everstep.engine.runtime.load import Utilization
from everstep.engine.runtime.params import created
from everstep.engine.scheduling.admission import AdmissionLimiter
from everstep.store.protocol import InstanceRecord, NewInstance
from everstep.telemetry import events

if TYPE_CHECKING:
    from everstep.engine.engine import Engine

LOW_WATERMARK = 128
"""Of more creations than there are places for, so many are under way at a time, lest steps wait for all of them."""


class InstanceCreator:
    """Creates instances and starts them.

    Whoever asks may go away meanwhile: an instance that is on disk is started all the same.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._in_flight: dict[tuple[str, str], list[asyncio.Future[int]]] = {}
        self._limit = engine.options.max_creating
        self._admission = AdmissionLimiter(self._limit, low_watermark=LOW_WATERMARK)

    @property
    def load(self) -> Utilization:
        """How many are under way, and wait for their turn."""
        return Utilization(self._admission.taken, self._limit, self._admission.waiting)

    async def create(self, new: NewInstance, *, parent: Execution | None = None) -> None:
        """Create an instance and start it, now if there is room. Raises InstanceExistsError.

        So many at a time: those who ask for a hundred thousand at once wait, in their order, and the steps of instances
        at work are written in between.
        """
        engine = self._engine
        await self._admission.acquire()
        if parent is not None and engine.cache.get(parent.pk) is not parent:  # put away while this was in line
            self._admission.release()
            raise Suspended
        new = msgspec.structs.replace(new, owned=engine.slots.acquire(new.workflow))
        answered: asyncio.Future[None] = engine.loop.create_future()
        try:
            creating = asyncio.ensure_future(engine.store.create(new))
        except StoreError:  # it is closed
            self._admission.release()
            if new.owned:
                engine.slots.release(new.workflow)
            raise
        self._in_flight.setdefault((new.workflow, new.id), []).append(creating)
        creating.add_done_callback(partial(self._created, new, answered))
        await answered

    async def wait_created(self, workflow: str, id: str) -> None:
        """Wait until an instance is in memory that is on disk, with its creator yet to hear of it.

        What is asked of it would otherwise be done before it begins, and be forgotten when it does.
        """
        while creating := self._in_flight.get((workflow, id)):
            await asyncio.wait(creating)

    def is_unheard_of(self, instance: InstanceRecord) -> bool:
        """Whether an instance is on disk and its creator may have yet to hear of it: it would begin as it was created.

        One that is in memory began already. What is under way for it is another creation of its id, which is going to
        be refused: a parent that is replayed creates its children again.
        """
        creating = (instance.workflow, instance.id) in self._in_flight
        return creating and self._engine.cache.get(instance.pk) is None

    async def keep_out(self, moved: Sequence[InstanceRecord]) -> None:
        """Have instances that were moved while they were created go on from what is on disk."""
        unheard_of = [one for one in moved if self.is_unheard_of(one)]
        with self._engine.activation_barred(*(one.pk for one in unheard_of)):
            for one in unheard_of:
                await self.wait_created(one.workflow, one.id)

    async def create_child(self, run: Execution, workflow: str, id: str, params: str | None) -> None:
        """Create an instance whose parent is `run`. Raises InstanceExistsError.

        Raises Suspended where somebody has moved the parent: it goes on from what is on disk, if it does.
        """
        engine, registry = self._engine, self._engine.registry
        definition = registry[workflow]
        new = NewInstance(
            workflow,
            id,
            engine.clock.now(),
            params,
            owned=False,
            trigger="workflow",
            version=registry.version,
            parent=run.pk,
            success_retention_ms=definition.success_retention_ms,
            error_retention_ms=definition.error_retention_ms,
        )
        try:
            await self.create(new, parent=run)
        except InstanceLostError:
            if engine.cache.get(run.pk) is run:
                engine.evict(run.pk)
            raise Suspended from None

    def _created(self, new: NewInstance, answered: asyncio.Future[None], creating: asyncio.Future[int]) -> None:
        engine = self._engine
        self._admission.release()
        name = (new.workflow, new.id)
        self._in_flight[name].remove(creating)
        if not self._in_flight[name]:
            del self._in_flight[name]
        if new.owned:
            engine.slots.release(new.workflow)
        if creating.cancelled():  # withdrawn with its parent, or with the loop itself
            answered.cancel()
            if new.owned:
                engine.dispatcher.on_slot_freed()
            return
        error = creating.exception()
        # It is on disk, and somebody else's by now, or paused with its parent.
        taken = isinstance(error, InstanceLostError) and error.pk != new.parent
        if error is not None and not taken:
            self._failed(new, answered, error)
            return
        if engine.telemetry.listening:
            happening = events.InstanceCreated(workflow=new.workflow, instance_id=new.id, at=new.created_at)
            engine.telemetry.emit(happening)
        if new.owned and not taken:
            engine.begin_execution(Execution(engine, created(creating.result(), new), [], []))
        else:
            engine.dispatcher.claim_soon()
        if not answered.done():
            answered.set_result(None)

    def _failed(self, new: NewInstance, answered: asyncio.Future[None], error: BaseException) -> None:
        engine = self._engine
        if new.owned:  # its place was kept from others meanwhile
            engine.dispatcher.on_slot_freed()
        if isinstance(error, StoreError) and not isinstance(error, InstanceLostError):  # it may be on disk all the same
            engine.reloader.reload_soon(new.workflow, new.id)
        if not answered.done():
            answered.set_exception(error)
