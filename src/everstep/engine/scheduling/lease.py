"""This engine among others on the same store: its heartbeat, and how it follows what others did to its instances.

Knows nothing of how a store keeps leases and tells news; see `docs/design/many-machines.md`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from everstep.core.errors import EverstepError
from everstep.core.log_throttle import LogThrottle
from everstep.engine.execution.execution import Execution
from everstep.engine.runtime.clock import SharedClock
from everstep.store.cluster import ClusterStore, OwnedSnapshot
from everstep.telemetry import events

if TYPE_CHECKING:
    from everstep.engine.engine import Engine

log = logging.getLogger("everstep.engine")

EVERY_SECONDS = 1.0
"""How late news is at most, should every notification be lost."""
RETRY_SECONDS = 0.5
SAFE_LEASE_FRACTION = 2 / 3
"""How much of its lease a worker has at least after a heartbeat."""

_TAKEN_AWAY = ("terminated", "queued", "deleted")
"""How an instance is found that others ended, began anew or deleted."""
_MOVED = ("waitingForPause", *_TAKEN_AWAY)


class LeaseKeeper:
    """The one loop by which an engine takes part: it heartbeats every second, and at once when there is news."""

    def __init__(self, engine: Engine, store: ClusterStore) -> None:
        self._engine = engine
        self._store = store
        self._every_seconds = min(EVERY_SECONDS, store.lease_ms / 3000)
        self._result = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._lease_seconds = store.lease_ms / 1000
        self._last_heartbeat_at = time.monotonic()
        self._no_takeover_before = 0.0
        self._outage_log = LogThrottle()
        self._confirmed_until = time.monotonic() + self._lease_seconds * SAFE_LEASE_FRACTION
        self._confirmed = asyncio.Event()
        self._followed: Sequence[int] = ()
        self._beside: set[asyncio.Task[None]] = set()
        self.outage: str | None = None

    async def synchronise(self) -> None:
        """Take over the time that all workers share."""
        asked_at = time.monotonic()
        result = await self._store.heartbeat((), ())
        if isinstance(self._engine.clock, SharedClock):
            self._engine.clock.correct(result.now, asked_at=asked_at)

    async def start(self) -> None:
        """Hear notifications from now on, and begin to heartbeat."""
        self._store.on_lost_lease(self._lost_lease)
        await self._store.listen(self._result.set)
        who = self._store.health()
        log.info("worker %s, with a lease of %s ms", who.worker, who.lease_ms)
        self._task = self._engine.loop.create_task(self._run())

    @property
    def silent_ms(self) -> int:
        """How long ago the database last answered a heartbeat."""
        return round((time.monotonic() - self._last_heartbeat_at) * 1000)

    async def stop(self) -> None:
        """End, whatever is under way."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        pause = self._every_seconds
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._result.wait()
            self._result.clear()
            try:
                await self._heartbeat()
                pause, self.outage = self._every_seconds, None
                self._outage_log.reset()
            except Exception as error:  # the heartbeat goes on whatever happens: it is the lease
                if not isinstance(error, EverstepError):
                    log.exception("a heartbeat failed")
                if self._outage_log.should_log(time.monotonic()):
                    log.warning("no word from the database: %s; trying again", error)
                self.outage = f"no word from the database: {error}"
                pause = min(RETRY_SECONDS, self._every_seconds)

    @property
    def lease_uncertain(self) -> bool:
        """True once the lease may have expired: no heartbeat has succeeded for two thirds of it."""
        return time.monotonic() > self._confirmed_until

    async def lease_confirmed(self) -> None:
        """Wait until a heartbeat confirms the lease. If it was lost, the waiting execution is evicted."""
        while self.lease_uncertain:
            self._confirmed.clear()
            self._result.set()
            await self._confirmed.wait()

    async def _heartbeat(self) -> None:
        engine, asked_at = self._engine, time.monotonic()
        result = await self._store.heartbeat(engine.registry.names, engine.watchers.watched(), self._followed)
        if isinstance(engine.clock, SharedClock):
            engine.clock.correct(result.now, asked_at=asked_at)
        for pk in result.changed:
            await self.reconcile(pk)
        self._followed = result.change_ids
        self._confirmed_until = asked_at + self._lease_seconds * SAFE_LEASE_FRACTION
        self._confirmed.set()
        for pk in result.ended:
            engine.watchers.notify_ended(pk)
        if time.monotonic() - self._last_heartbeat_at > self._lease_seconds / 2:
            # If this worker could not reach the database, others probably could not either: wait one lease.
            self._no_takeover_before = time.monotonic() + self._lease_seconds
        self._last_heartbeat_at = time.monotonic()
        if result.expired_workers and self._last_heartbeat_at >= self._no_takeover_before:
            taken_over = await self._store.take_over(result.expired_workers, now=engine.clock.now())
            if taken_over:
                log.warning("took over %d instances of a worker that fell silent", taken_over)
            engine.dispatcher.claim_soon()
        elif result.next_due is not None:
            engine.dispatcher.arm_with_jitter(result.next_due, result.workers)

    async def _lost_lease(self) -> None:
        """Evict every execution: other workers own the instances."""
        log.warning("this worker's lease expired: other workers have its instances; it registers anew")
        engine = self._engine
        for execution in engine.cache.all():
            engine.evict(execution.pk)
        engine.dispatcher.claim_soon()

    def evict(self, pk: int) -> None:
        """Evict an instance that another worker changed, with its unwritten records."""
        self._engine.evict(pk)
        self._store.discard_queued(pk)

    async def reconcile(self, pk: int) -> None:
        """Bring an instance in memory to where somebody else brought it on disk."""
        engine = self._engine
        while True:
            before = engine.cache.get(pk)
            seen = await self._store.load_owned(pk)
            if engine.cache.get(pk) is before:  # else a claim came in between, and what was seen may be from before it
                break
        if seen is None or not seen.owned or seen.instance.ended:
            self.evict(pk)
            if seen is None or seen.instance.ended:
                engine.watchers.notify_ended(pk)
        elif seen.instance.status == "waitingForPause" and (before is None or before.pause.since is None):
            self._pause(before, seen)
        elif before is not None:
            self._apply(before, seen)
        engine.watchers.notify_changed(pk)
        if before is None:  # after the eviction, which withdraws what was queued for the instance
            self._keep_out(pk, seen)

    def _keep_out(self, pk: int, seen: OwnedSnapshot | None) -> None:
        """Have an instance that others moved go on from what is on disk.

        A creation or a claim that is under way may be about to bring it as it was before.
        """
        engine = self._engine
        status = "deleted" if seen is None else seen.instance.status
        if seen is not None and status in _MOVED and engine.creator.is_unheard_of(seen.instance):
            self._do_beside(engine.creator.keep_out([seen.instance]))
        elif status in _TAKEN_AWAY and engine.dispatcher.claiming:
            engine.make_due(pk)  # which comes after the claim, and is refused unless the instance is here again

    def _pause(self, execution: Execution | None, seen: OwnedSnapshot) -> None:
        if execution is None:  # nobody is at work
            self._paused(seen)
        else:
            execution.own_pause().ask(seen.instance.paused_at or self._engine.clock.now(), lambda: self._paused(seen))

    def _paused(self, seen: OwnedSnapshot) -> None:
        engine, instance = self._engine, seen.instance
        at = engine.clock.now()
        engine.put_away_paused(instance.pk).add_done_callback(partial(self._recheck_pause, instance.pk))
        engine.watchers.notify_changed(instance.pk)
        engine.telemetry.emit(events.InstancePaused(workflow=instance.workflow, instance_id=instance.id, at=at))

    def _recheck_pause(self, pk: int, _: asyncio.Future[None]) -> None:
        self._do_beside(self._resumed(pk))

    def _do_beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what the heartbeat does not wait for: it is the lease."""
        task = self._engine.loop.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def _resumed(self, pk: int) -> None:
        """Let an instance go on that was put away for a pause which was taken back in the meantime."""
        with contextlib.suppress(EverstepError):  # the sweep finds it
            seen = await self._store.load_owned(pk)
            if seen is not None and seen.owned and seen.instance.status == "running" and not self._engine.cache.get(pk):
                await self._engine.make_due(pk)

    def _apply(self, execution: Execution, seen: OwnedSnapshot) -> None:
        if execution.pause.since is not None and seen.instance.status == "running":
            execution.pause.take_back(self._engine.clock.now())
        if execution.waits.parked:  # the row is due if this concerns it, and a claim wakes the execution
            self._engine.dispatcher.claim_soon()
            return
        for event in seen.events:
            execution.deliver(event)
        execution.child_ended(None)
