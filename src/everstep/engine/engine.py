"""The engine: instances in memory, from being created or claimed until they end or are put away.

Owns the runs and the loops around them; how steps run is in `steps/`, what users ask for in `control/`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec

from everstep.api.step import RunsAsChild, StepRunner
from everstep.core.errors import EngineStoppedError, InstanceLostError, LeaseLostError, StoreError, Suspended
from everstep.core.stored_error import error_info
from everstep.engine.execution.branches import NEVER
from everstep.engine.execution.execution import Execution
from everstep.engine.options import EngineOptions
from everstep.engine.runtime.clock import Clock, SharedClock, SystemClock
from everstep.engine.runtime.loop_ticks import Turns
from everstep.engine.runtime.params import encoded_params
from everstep.engine.runtime.registry import WorkflowDefinition, WorkflowRegistry
from everstep.engine.runtime.watchers import Watchers
from everstep.engine.scheduling.creator import InstanceCreator
from everstep.engine.scheduling.dispatcher import Dispatcher
from everstep.engine.scheduling.lease import LeaseKeeper
from everstep.engine.scheduling.retention import Retention
from everstep.engine.steps.attempt import Attempts
from everstep.engine.steps.replay import errored, leftovers, live
from everstep.engine.steps.start_recorder import StartRecorder
from everstep.engine.steps.step_runner import Steps
from everstep.engine.steps.timeouts import Deadlines
from everstep.store.protocol import Change, Claimed, InstanceChange, InstanceRecord, Store
from everstep.store.shared import SharedStore
from everstep.telemetry import events
from everstep.telemetry.bus import Telemetry

log = logging.getLogger("everstep.engine")


class Engine:
    """Runs the instances of a program on a store.

    Args:
        store: An opened store.
        registry: The workflows, with their environments bound.
        clock: The time; the machine's by default.
        telemetry: Where events go.
        options: What may be tuned.
        runner: What carries out the steps of a run; wrapped by tests.
    """

    def __init__(
        self,
        store: Store,
        registry: WorkflowRegistry,
        *,
        clock: Clock | None = None,
        telemetry: Telemetry | None = None,
        options: EngineOptions | None = None,
        runner: Callable[[Execution], StepRunner] | None = None,
    ) -> None:
        self.store = store
        self.registry = registry
        shared = store if isinstance(store, SharedStore) else None
        self.clock = clock or (SystemClock() if shared is None else SharedClock())
        self.telemetry = telemetry or Telemetry()
        self.options = options or EngineOptions()
        self.loop = asyncio.get_running_loop()
        self.turns = Turns(self.loop)
        self.attempts = Attempts(Deadlines(self.clock), threads=self.options.threads)
        self.dispatcher = Dispatcher(self)
        self.retention = Retention(self)
        self.lease = None if shared is None else LeaseKeeper(self, shared)
        self.creator = InstanceCreator(self)
        self._reserved: Counter[str] = Counter()
        self._barred: Counter[int] = Counter()
        self._running_by_workflow: Counter[str] = Counter()
        self.watchers = Watchers()
        self._runs: dict[int, Execution] = {}
        self._by_id: dict[tuple[str, str], Execution] = {}
        self._parked: OrderedDict[int, Execution] = OrderedDict()
        self.start_recorder = StartRecorder(self, self.options.start_delay_ms)
        self._runner: Callable[[Execution], StepRunner] = runner or Steps
        self._draining = False

    async def start(self) -> int:
        """Make everything go on that was running, waiting or queued; return how many instances a crash had left."""
        if self.lease is not None:
            await self.lease.synchronise()
        recovered = await self.store.recover(now=self.clock.now())
        if self.lease is not None:  # not before: what it claims is not from an earlier life
            await self.lease.start()
        for workflow, count in (await self.store.unclaimable(self.registry.names)).items():
            log.warning("%d instances of workflow %r wait: this program has no such workflow", count, workflow)
        self.dispatcher.claim_soon()
        self.retention.start()
        return recovered

    async def stop(self) -> None:
        """Let attempts finish for a moment, give every instance back and stop."""
        self._draining = True
        self.dispatcher.stop()
        await self.retention.stop()
        await self._drain()
        for run in self.runs():
            self._release(run)
        try:
            await self.store.release(now=self.clock.now())
        except StoreError as error:
            log.warning("cannot give the instances back: %s; the next start takes them for cut off", error)
        if self.lease is not None:
            await self.lease.stop()
        self.watchers.give_up(EngineStoppedError("the engine stopped before the instance ended; it goes on later"))
        self.start_recorder.stop()
        self.attempts.close()

    # Instances in memory

    def activate_claimed(self, claimed: Claimed) -> None:
        """Go on with an instance that was claimed: wake it where it is in memory, replay it otherwise."""
        if self._draining:  # claimed while the stop began: it is released with the others
            return
        run = self._runs.get(claimed.instance.pk)
        if run is not None and not claimed.kept and self.lease is not None:
            self.lease.evict(run.pk)
            run = None
        if run is not None:
            run.wake(claimed.events)
        else:
            self.begin_execution(Execution(self, claimed.instance, claimed.steps, claimed.events))

    def cached(self, pk: int) -> Execution | None:
        """Return the run of an instance that is in memory."""
        return self._runs.get(pk)

    def runs(self) -> list[Execution]:
        """Return every instance in memory."""
        return list(self._runs.values())

    def pk_of(self, workflow: str, id: str) -> int | None:
        """Return the key of an instance, if it is in memory and has not ended."""
        run = self._by_id.get((workflow, id))
        return None if run is None else run.pk

    def evict(self, pk: int) -> None:
        """Put an instance away now, attempts in flight included."""
        run = self._remove(pk)
        if run is not None:
            run.evict()
            self.dispatcher.on_slot_freed()

    def _remove(self, pk: int) -> Execution | None:
        run = self._runs.pop(pk, None)
        if run is not None:
            self._by_id.pop((run.instance.workflow, run.instance.id), None)
            if self._parked.pop(pk, None) is None:
                self._running_by_workflow[run.instance.workflow] -= 1
        return run

    def acquire_slots(self, workflow: str, slots: int = 1) -> bool:
        """Take slots for instances of a workflow that are about to start, if there are that many."""
        if self._draining or self.free_slots(workflow) < slots:
            return False
        self._reserved[workflow] += slots
        return True

    def release_slots(self, workflow: str, slots: int = 1) -> None:
        """Give slots back, taken by instances or not needed after all."""
        self._reserved[workflow] -= slots

    def free_slots(self, workflow: str) -> int:
        """How many more instances of a workflow may be at work."""
        limit = self.registry[workflow].concurrency
        if limit is None:
            return self.free_slots_total
        return min(self.free_slots_total, limit - self._running_by_workflow[workflow] - self._reserved[workflow])

    def may_go_on(self, run: Execution) -> bool:
        """Whether an instance in memory may be at work now; a parked one of a full workflow has to queue."""
        return not run.parked or self.free_slots(run.instance.workflow) > 0

    @property
    def parked_count(self) -> int:
        """How many parked instances are in memory."""
        return len(self._parked)

    @property
    def free_slots_total(self) -> int:
        """How many more instances may be at work."""
        return self.options.running - (len(self._runs) - len(self._parked))

    @contextlib.contextmanager
    def activation_barred(self, *pks: int) -> Iterator[None]:
        """Keep instances out of memory while the store is asked to end them or to begin them anew.

        What a claim or a creation that is under way brings meanwhile is from before: its writes would land after.
        """
        self._barred.update(pks)
        for pk in pks:
            self.evict(pk)
        try:
            yield
        finally:
            self._barred -= Counter(pks)

    def begin_execution(self, run: Execution) -> None:
        """Begin a life of an instance, unless it is kept out of memory."""
        if run.pk in self._barred:
            return
        workflow = self.registry[run.instance.workflow]
        self._runs[run.pk] = run
        self._by_id[run.instance.workflow, run.instance.id] = run
        self._running_by_workflow[run.instance.workflow] += 1
        if self.telemetry.listening:
            replayed = len(run.journal)
            self._emit(run.instance, events.InstanceStarted, replayed=replayed, recovered=run.unseen_cuts.count)
        run.task = self.loop.create_task(self._supervise(run, workflow))

    async def _supervise(self, run: Execution, workflow: Any) -> None:
        try:
            ended = await live(run, workflow, self._runner(run))
            run.returned = True
            if ended is not None:
                self._end(run, ended)
        except (Suspended, InstanceLostError, LeaseLostError):
            pass  # put away, or somebody else's by now
        except Exception as error:
            # Ours, not the workflow's, whose errors are its end. An instance that nobody runs would look as if it ran.
            log.exception("instance %s/%s could not be run", run.instance.workflow, run.instance.id)
            if not run.evicted:
                self._end(run, errored(error))

    def _end(self, run: Execution, change: InstanceChange, *, cancel_steps: bool = True) -> asyncio.Future[None]:
        """Record how an instance ended; everybody is told once that is on disk."""
        now, instance = self.clock.now(), run.instance
        keep = instance.keep_errors if change.status == "errored" else instance.keep_success
        change = msgspec.structs.replace(
            change, ended_at=now, expires_at=None if keep is None else now + keep, parent=instance.parent, at=now
        )
        run.evict()  # branches that were left behind do nothing durable any more
        left = leftovers(run, now) if cancel_steps else ()
        written = self.store.write(Change(run.pk, left, instance=change, relaxed=run.relaxed), awaited=True)
        # Called, not awaited: a disk may take longer than the code that was dropped is given to leave.
        written.add_done_callback(partial(self._has_ended, run, change))
        return written

    def _has_ended(self, run: Execution, change: InstanceChange, written: asyncio.Future[None]) -> None:
        if written.cancelled():
            return
        if (error := written.exception()) is not None:
            if isinstance(error, InstanceLostError):
                self.evict(run.pk)
            return
        if self._runs.get(run.pk) is run:
            self._remove(run.pk)
        self.retention.expires(change.expires_at)
        self.ended(run.instance, change.status, change.error, outcome=change)
        self.dispatcher.on_slot_freed()

    async def fail(self, run: Execution, error: BaseException) -> None:
        await asyncio.shield(self._end(run, errored(error)))

    async def fail_nondeterministic(self, run: Execution, error: BaseException) -> None:
        await asyncio.shield(self._end(run, errored(error), cancel_steps=False))

    # What runs tell (Host)

    def parked(self, run: Execution, due: int) -> None:
        if run.pk not in self._runs:
            return
        if run.pk not in self._parked:
            self._running_by_workflow[run.instance.workflow] -= 1
        self._parked[run.pk] = run
        if due < NEVER:
            self.dispatcher.arm(due)
        if self.telemetry.listening:
            self._emit(run.instance, events.InstanceParked, due_at=None if due >= NEVER else due)
        while len(self._parked) > self.options.resident:
            self.evict(next(iter(self._parked)))
        self.dispatcher.on_slot_freed()

    def unparked(self, run: Execution) -> None:
        if self._parked.pop(run.pk, None) is not None:
            self._running_by_workflow[run.instance.workflow] += 1

    def workflow_name(self, workflow: type[RunsAsChild] | str) -> str:
        return self.registry.resolve(workflow).name  # type: ignore[arg-type]  # a workflow class, or resolve() says so

    def encode_params(self, workflow: str, params: Any) -> str | None:
        return encoded_params(params, self.registry[workflow].params, f"the params of a child {workflow!r}")

    def output_type(self, workflow: str) -> Any:
        return self.registry[workflow].output

    def definition(self, workflow: str) -> WorkflowDefinition:
        return self.registry[workflow]

    async def create_child(self, run: Execution, workflow: str, id: str, params: str | None) -> None:
        await self.creator.create_child(run, workflow, id, params)

    async def reload_uncertain(self, workflow: str, id: str) -> None:
        """Put an instance and its children away and make them due: what is on disk may not be what is in memory.

        For operations whose answer was lost on the way: they may have taken effect.
        """
        instance = await self.store.find(workflow, id)
        if instance is None:
            return
        for pk in [instance.pk, *(one.pk for one in await self.store.family(instance.pk))]:
            self.make_due(pk)

    def make_due(self, pk: int) -> asyncio.Future[None]:
        """Put an instance away and let it go on from what is on disk."""
        self._barred[pk] += 1  # until that is on disk: a claim under way is older than what was just put away
        self.evict(pk)
        now = self.clock.now()
        written = self.store.write(Change(pk, instance=InstanceChange("waiting", due_at=now, at=now)))
        written.add_done_callback(self.check_write)
        written.add_done_callback(partial(self._is_due, pk))
        return written

    def _is_due(self, pk: int, _: asyncio.Future[None]) -> None:
        self._barred -= Counter((pk,))
        self.dispatcher.claim_soon()

    def check_write(self, written: asyncio.Future[Any]) -> None:
        if written.cancelled() or (error := written.exception()) is None:
            return
        if isinstance(error, InstanceLostError):
            self.evict(error.pk)
        elif not isinstance(error, LeaseLostError):
            log.error("a write that nobody waited for failed: %s", error)

    # Ends

    def ended(
        self,
        instance: InstanceRecord,
        status: str,
        error: str | None = None,
        *,
        emit: bool = True,
        outcome: InstanceChange | None = None,
    ) -> None:
        """Tell everybody that an instance has ended; `emit` is whether telemetry hears of it."""
        self.watchers.notify_ended(instance.pk, outcome)
        if instance.parent is not None:
            parent = self._runs.get(instance.parent)
            if parent is not None and not parent.parked:
                parent.child_ended()
            else:
                self.dispatcher.claim_soon()
        if emit and self.telemetry.listening:
            self._emit(
                instance,
                events.InstanceEnded,
                status=status,
                elapsed_ms=self.clock.now() - (instance.started_at or instance.created_at),
                error=None if error is None else error_info(error),
            )

    def _emit(self, instance: InstanceRecord, kind: type[events.Event], **facts: Any) -> None:
        self.telemetry.emit(kind(workflow=instance.workflow, instance_id=instance.id, at=self.clock.now(), **facts))

    # Stopping

    async def _drain(self) -> None:
        """Wait for attempts in flight, but not for long."""
        deadline = self.loop.time() + self.options.drain_ms / 1000
        while any(run.active for run in self._runs.values()) and self.loop.time() < deadline:  # noqa: ASYNC110  # once, at the end
            await asyncio.sleep(0.01)

    def _release(self, run: Execution) -> None:
        """Cancel what is still in flight; it was our doing, so it does not count as an attempt."""
        for seq in list(run.attempts):
            run.forgive(seq)
        self.evict(run.pk)
