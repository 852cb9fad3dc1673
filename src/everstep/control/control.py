"""Everything that can be asked of instances from outside: the one service behind bindings, HTTP and command line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from everstep.control.counts import InstanceCounts
from everstep.control.health import Health, health_of
from everstep.control.lifecycle import run_detached, shielded
from everstep.control.metrics import Metrics, metrics_of
from everstep.control.subscription import checked_subscription, follow
from everstep.control.views import InstanceViews
from everstep.core.durations import format_duration
from everstep.core.errors import (
    InstanceExistsError,
    InstanceTerminatedError,
    WorkflowCodeError,
    WorkflowTimeoutError,
)
from everstep.core.names import check_event_type, check_instance_id
from everstep.core.serialization import codec
from everstep.core.serialization.stored_error import decode_error
from everstep.core.types import SubscriptionEvent
from everstep.engine.execution.workflow_loop import running_workflow_loop
from everstep.engine.runtime.clock import Alarm
from everstep.engine.runtime.ids import new_instance_id
from everstep.engine.runtime.params import checked_tags, encoded_params, retention_ms
from everstep.engine.runtime.registry import WorkflowRegistry
from everstep.sdk.control import Retention
from everstep.store.protocol import InstanceChange, InstanceRecord, NewInstance
from everstep.telemetry import events


class LocalControl(InstanceViews):
    """A `Control` over an engine in this process."""

    _counts: InstanceCounts | None = None

    @run_detached
    async def create(
        self,
        workflow: str,
        *,
        id: str | None,
        params: Any,
        retention: Retention | None = None,
        tags: Iterable[str] = (),
        exist_ok: bool = False,
        trigger: str = "binding",
    ) -> str:
        engine = self._engine
        definition = engine.registry[workflow]
        now = engine.clock.now()
        id = new_instance_id(now) if id is None else check_instance_id(id)
        text = encoded_params(params, definition.params, f"the params of instance {id!r}")
        success_ms, error_ms = retention_ms(retention, definition)
        new = NewInstance(
            workflow,
            id,
            now,
            text,
            owned=False,
            trigger=trigger,
            version=engine.registry.version,
            tags=checked_tags(tags),
            success_retention_ms=success_ms,
            error_retention_ms=error_ms,
        )
        try:
            await engine.creator.create(new)
        except InstanceExistsError:
            if not exist_ok:
                raise
        return id

    def health(self) -> Health:
        """Return how the engine is, without asking the database."""
        return health_of(self._engine)

    def check_options(self, workflow: str, *, id: Any, retention: Any, tags: Any) -> None:
        if id is not None:
            check_instance_id(id)
        retention_ms(retention, self._engine.registry[workflow])
        checked_tags(tags)

    @run_detached
    async def check_exists(self, workflow: str, id: str) -> None:
        await self._find(workflow, id)

    @run_detached
    async def counts(self) -> dict[str, dict[str, int]]:
        """Return how many instances of each workflow are in each status."""
        if self._counts is None:
            self._counts = InstanceCounts(self._engine.store.counts)
        return await self._counts.read()

    @run_detached
    async def metrics(self) -> Metrics:
        """Return how busy the engine is, beside its limits."""
        return await metrics_of(self._engine)

    @property
    def registry(self) -> WorkflowRegistry:
        """The workflows that execution here."""
        return self._engine.registry

    @run_detached
    async def result(self, workflow: str, id: str, timeout_ms: int | None) -> Any:
        engine = self._engine
        deadline = None if timeout_ms is None else engine.clock.now() + timeout_ms
        pk = engine.cache.pk_of(workflow, id)  # what is in memory has not ended
        ended: InstanceRecord | InstanceChange | None = None if pk is None else await self._end_of(pk, deadline)
        while ended is None:
            instance = await self._find(workflow, id)
            if instance.ended:
                ended = instance
            elif deadline is not None and engine.clock.now() >= deadline:
                raise WorkflowTimeoutError(
                    f"instance {id!r} of {workflow!r} has not ended in {format_duration(timeout_ms or 0)}; "
                    f"it is {instance.status}"
                )
            else:
                ended = await self._end_of(instance.pk, deadline)
        return _outcome(ended, workflow, id, engine.registry[workflow].output)

    async def subscribe(
        self, workflow: str, id: str, *, cursor: int = 0, filter: Iterable[str] | None = None
    ) -> AsyncIterator[SubscriptionEvent]:
        if running_workflow_loop() is not None:
            raise WorkflowCodeError(
                "subscribe() was called by a workflow's code outside of a step: what comes would not be recorded; call "
                "it in the function of a step, or wait for an event"
            )
        wanted = checked_subscription(cursor, filter)
        instance = await self._find(workflow, id)
        async for event in follow(self._engine, instance, cursor, wanted):
            yield event

    @shielded
    async def send_event(self, workflow: str, id: str, *, type: str, payload: Any) -> None:
        engine = self._engine
        check_event_type(type)
        await self._find(workflow, id)
        text, _ = codec.encode(payload, where=f"the payload of event {type!r}", verb="pass")
        sent = await engine.store.send_event(workflow, id, type=type, payload=text, now=engine.clock.now())
        if engine.telemetry.listening:
            engine.telemetry.emit(
                events.EventSent(workflow=workflow, instance_id=id, at=sent.event.created_at, type=type)
            )
        execution = engine.cache.get(sent.pk)
        if execution is not None and engine.may_go_on(execution):
            if (
                engine.lease is not None
                and sent.previous_id is not None
                and not execution.waits.inbox.has_seen(sent.previous_id)
            ):
                await engine.lease.reconcile(sent.pk)  # another worker sent one before: they are taken in their order
            else:
                execution.deliver(sent.event)
        else:
            engine.dispatcher.claim_soon()

    async def _end_of(self, pk: int, deadline: int | None) -> InstanceChange | None:
        """Wait until an instance ends, or until `deadline`; return how it ended, where that is known."""
        ended = self._engine.watchers.watch(pk)
        try:
            return await (ended if deadline is None else self._until(deadline, ended))
        finally:
            self._engine.watchers.unwatch(pk, ended)

    async def _until(self, deadline: int, ended: asyncio.Future[InstanceChange | None]) -> InstanceChange | None:
        alarm = Alarm(self._engine.clock, lambda: None if ended.done() else ended.set_result(None))
        alarm.set(deadline)
        try:
            return await ended
        finally:
            alarm.clear()


def _outcome(ended: InstanceRecord | InstanceChange, workflow: str, id: str, declared: Any) -> Any:
    if ended.status == "complete":
        where = f"the output of instance {id!r}"
        return codec.coerce_result(codec.decode(ended.output or "null", declared, where=where), declared)
    if ended.error is not None:
        raise decode_error(ended.error)
    raise InstanceTerminatedError(f"instance {id!r} of {workflow!r} was terminated: it has no result")
