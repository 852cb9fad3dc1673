"""The engine: wires the parts that run instances, begins and ends executions, starts and stops.

How an execution goes on is in `execution/`, how steps run in `steps/`, what users ask for in `everstep.control`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from contextvars import copy_context
from functools import partial
from typing import Any

import msgspec

from everstep.core.errors import EngineStoppedError, InstanceLostError, LeaseLostError, StoreError
from everstep.core.limits import STOPS_IN_A_ROW
from everstep.core.policy import transitions
from everstep.core.serialization.stored_error import error_info
from everstep.engine.execution.asyncio_hooks import install_asyncgen_hooks, make_as_completed_orderly
from everstep.engine.execution.execution import Execution
from everstep.engine.execution.left_tasks import left_tasks
from everstep.engine.execution.open_waits import NEVER
from everstep.engine.execution.phase import Phase
from everstep.engine.runtime.clock import Clock, SharedClock, SteadyClock
from everstep.engine.runtime.options import EngineOptions
from everstep.engine.runtime.params import encoded_params
from everstep.engine.runtime.registry import WorkflowDefinition, WorkflowRegistry
from everstep.engine.runtime.watchers import Watchers
from everstep.engine.scheduling.cache import InstanceCache
from everstep.engine.scheduling.creator import InstanceCreator
from everstep.engine.scheduling.dispatcher import Dispatcher
from everstep.engine.scheduling.lease import LeaseKeeper
from everstep.engine.scheduling.orphans import OrphanSweeper
from everstep.engine.scheduling.reloader import Reloader
from everstep.engine.scheduling.retention import Retention
from everstep.engine.scheduling.slots import Slots
from everstep.engine.steps import rollback
from everstep.engine.steps.attempt import Attempts
from everstep.engine.steps.replay import errored, run_code
from everstep.engine.steps.start_recorder import StartRecorder
from everstep.engine.steps.step_runner import StepRunner
from everstep.engine.steps.timeouts import Deadlines
from everstep.sdk.step import RunsAsChild
from everstep.store.cluster import ClusterStore
from everstep.store.protocol import Change, Claimed, InstanceChange, InstanceRecord, Store
from everstep.store.write_callback import WriteCallback
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
        interrupt: Asked of an execution whenever a settlement is on disk that its code has not heard of yet; True has
            it leave memory and be replayed. For tests.
    """

    def __init__(
        self,
        store: Store,
        registry: WorkflowRegistry,
        *,
        clock: Clock | None = None,
        telemetry: Telemetry | None = None,
        options: EngineOptions | None = None,
        interrupt: Callable[[Execution], bool] | None = None,
    ) -> None:
        self.store = store
        self.registry = registry
        shared = store if isinstance(store, ClusterStore) else None
        self.clock = clock or (SteadyClock() if shared is None else SharedClock())
        self.telemetry = telemetry or Telemetry()
        self.options = options or EngineOptions()
        self.loop = asyncio.get_running_loop()
        options = self.options
        self.attempts = Attempts(
            Deadlines(self.clock), threads=options.max_threads, lost_threads=options.max_lost_threads
        )
        self.cache = InstanceCache(self.options.max_cached)
        self.slots = Slots(self.cache, registry, self.options.max_running)
        self.dispatcher = Dispatcher(self)
        self.retention = Retention(self)
        self.orphans = OrphanSweeper(self)
        self.lease = None if shared is None else LeaseKeeper(self, shared)
        self.creator = InstanceCreator(self)
        self.reloader = Reloader(self)
        self.watchers = Watchers()
        self.start_recorder = StartRecorder(self, self.options.start_delay_ms)
        self._interrupt = interrupt
        self._context = copy_context()
        install_asyncgen_hooks()
        make_as_completed_orderly()

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
        self.orphans.start()
        return recovered

    async def stop(self) -> None:
        """Let attempts finish for a moment, give every instance back and stop."""
        self.slots.closed = True
        self.dispatcher.stop()
        self.orphans.stop()
        await self.retention.stop()
        await self._drain()
        for execution in self.cache.all():
            self._release(execution)
        try:
            await self.store.release(now=self.clock.now())
        except StoreError as error:
            log.warning(
                "cannot give the instances back: %s; the next start counts their attempts as interrupted", error
            )
        if self.lease is not None:
            await self.lease.stop()
        self.watchers.fail_all(EngineStoppedError("the engine stopped before the instance ended; it goes on later"))
        self.reloader.stop()
        self.start_recorder.stop()
        self.attempts.close()

    # Instances in memory

    def activate_claimed(self, claimed: Claimed) -> None:
        """Go on with an instance that was claimed: wake it where it is in memory, replay it otherwise."""
        if self.slots.closed:  # claimed while the stop began: it is released with the others
            return
        execution = self.cache.get(claimed.instance.pk)
        if execution is not None and not claimed.already_owned and self.lease is not None:
            self.lease.evict(execution.pk)
            execution = None
        if execution is not None:
            execution.wake(claimed.events)
        else:
            self.begin_execution(Execution(self, claimed.instance, claimed.steps, claimed.events))

    def evict(self, pk: int) -> None:
        """Have an instance leave memory now, attempts in flight included."""
        execution = self.cache.remove(pk)
        if execution is not None:
            execution.evict()
            self.dispatcher.on_slot_freed()

    def may_go_on(self, execution: Execution) -> bool:
        """Whether an instance in memory may be at work now; a parked one of a full workflow has to queue."""
        return not execution.waits.parked or self.slots.free(execution.instance.workflow) > 0

    @contextlib.contextmanager
    def activation_barred(self, *pks: int) -> Iterator[None]:
        """Keep instances out of memory while the store is asked to end them or to begin them anew.

        What a claim or a creation that is under way brings meanwhile is from before: its writes would land after.
        """
        self.cache.bar(*pks)
        for pk in pks:
            self.evict(pk)
        try:
            yield
        finally:
            self._unbar(*pks)

    def begin_execution(self, execution: Execution) -> None:
        """Run an instance's code from the top, unless it is kept out of memory."""
        instance = execution.instance
        if self.slots.closed or self.cache.turns_away(instance.pk):  # at a stop it is released with the others
            return
        workflow = self.registry[instance.workflow]
        self.cache.add(execution)
        if self.telemetry.listening or (execution.crashes and self.telemetry.hears_trouble):
            replayed = len(execution.journal)
            self._emit(instance, events.InstanceStarted, replayed=replayed, recovered=execution.crashes)
        if rollback.reason(execution) is not None:
            execution.collect()
        # In the context of the engine's start: the same for every activation, whoever asked for it.
        steps = StepRunner(execution)
        execution.begin(lambda: run_code(instance, workflow, steps), self._context.copy())

    def make_due(self, pk: int) -> asyncio.Future[None]:
        """Have an instance leave memory and go on from what is on disk."""
        now = self.clock.now()
        return self._put_away(pk, InstanceChange("waiting", due_at=now, at=now))

    def put_away_paused(self, pk: int) -> asyncio.Future[None]:
        """Have an instance leave memory whose pause was promised, and record that it has come about."""
        return self._put_away(pk, InstanceChange("paused", at=self.clock.now()))

    def _put_away(self, pk: int, change: InstanceChange) -> asyncio.Future[None]:
        self.cache.bar(pk)  # until that is on disk: a claim under way is older than what has just left memory
        self.evict(pk)
        written = self.store.write(Change(pk, instance=change))
        written.add_done_callback(self.check_write)
        written.add_done_callback(partial(self._is_put_away, pk))
        return written

    def _is_put_away(self, pk: int, _: asyncio.Future[None]) -> None:
        # A claim that goes with the write of one that is due anew would be turned away as well, again and again.
        if not self._unbar(pk):
            self.dispatcher.claim_soon()

    def _unbar(self, *pks: int) -> bool:
        """Take a bar back; return whether an instance is due anew that was turned away meanwhile: nobody has it."""
        turned_away = self.cache.unbar(*pks)
        if not self.slots.closed:  # at a stop they are released with the others
            for pk in turned_away:
                self.make_due(pk)
        return bool(turned_away)

    # What executions tell and ask (Host)

    def wait_written(self, execution: Execution) -> None:
        if self.watchers.followed:
            self.watchers.notify_changed(execution.pk)
        if self._interrupt is not None and not execution.phase.over and self._interrupt(execution):
            self.make_due(execution.pk)
        else:
            execution.drive()

    def parked(self, execution: Execution, due: int) -> None:
        self.cache.park(execution)
        if due < NEVER:
            self.dispatcher.arm(due)
        if self.telemetry.listening:
            self._emit(execution.instance, events.InstanceParked, due_at=None if due >= NEVER else due)
        for pk in self.cache.surplus():
            self.evict(pk)
        self.dispatcher.on_slot_freed()

    def unparked(self, execution: Execution) -> None:
        self.cache.unpark(execution)

    def returned(self, execution: Execution, change: InstanceChange, error: BaseException | None) -> None:
        if execution.phase is Phase.COLLECTING or (error is not None and execution.journal.is_compensable):
            self._roll_back(execution, error)
        else:
            if error is None and len(execution.loop.tasks) > 1:
                for left in left_tasks(execution.loop.tasks):
                    log.warning("%s/%s: %s", execution.instance.workflow, execution.instance.id, left)
            self._end(execution, change)

    def collected(self, execution: Execution) -> None:
        self._roll_back(execution, None)

    def fail(self, execution: Execution, error: BaseException) -> None:
        if execution.phase.over:
            return
        if execution.phase is not Phase.ROLLING_BACK and execution.journal.is_compensable:
            execution.enter(Phase.ROLLING_BACK)  # at once: the code may be running further up the stack
            self._roll_back(execution, error)
        else:
            self._end(execution, errored(error))

    def fail_nondeterministic(self, execution: Execution, error: BaseException) -> None:
        if not execution.phase.over:
            self._end(execution, errored(error), cancel_steps=False)

    def workflow_name(self, workflow: type[RunsAsChild] | str) -> str:
        return self.registry.resolve(workflow).name  # type: ignore[arg-type]  # a workflow class, or resolve() says so

    def encode_params(self, workflow: str, params: Any) -> str | None:
        return encoded_params(params, self.registry[workflow].params, f"the params of a child {workflow!r}")

    def output_type(self, workflow: str) -> Any:
        return self.registry[workflow].output

    def definition(self, workflow: str) -> WorkflowDefinition:
        return self.registry[workflow]

    async def create_child(self, execution: Execution, workflow: str, id: str, params: str | None) -> None:
        await self.creator.create_child(execution, workflow, id, params)

    def check_write(self, written: asyncio.Future[Any]) -> None:
        if written.cancelled() or (error := written.exception()) is None:
            return
        if isinstance(error, InstanceLostError):
            self.evict(error.pk)
        elif not isinstance(error, LeaseLostError):
            log.error("a write that nobody waited for failed: %s", error)

    # Ends

    def _roll_back(self, execution: Execution, error: BaseException | None) -> None:
        if execution.in_flight.rollback is None:
            execution.own_in_flight().rollback = self.loop.create_task(self._rolled_back(execution, error))

    async def _rolled_back(self, execution: Execution, error: BaseException | None) -> None:
        try:
            change = await rollback.roll_back(execution, error)
        except Exception as failure:
            # Ours, not a handler's. An instance that nobody runs would look as if it ran.
            log.exception("instance %s could not be rolled back", execution.instance.id)
            change = errored(failure)
        if change is not None and not execution.phase.over:
            self._end(execution, change)

    def _end(self, execution: Execution, change: InstanceChange, *, cancel_steps: bool = True) -> None:
        """Record how an instance ended; everybody is told once that is on disk."""
        now, instance = self.clock.now(), execution.instance
        keep = instance.error_retention_ms if change.status == "errored" else instance.success_retention_ms
        change = msgspec.structs.replace(
            change, ended_at=now, expires_at=None if keep is None else now + keep, parent=instance.parent, at=now
        )
        execution.close(Phase.ENDED)  # branches that were left behind do nothing durable any more
        steps, attempts = execution.journal.close_out(now, cancel=cancel_steps)
        last = Change(execution.pk, steps, attempts, instance=change, relaxed=execution.relaxed)
        # Called, not awaited: a disk may take longer than code that is over is given to leave.
        WriteCallback(self._has_ended, (execution, change)).write(self.store, last)

    def _has_ended(self, what: tuple[Execution, InstanceChange], error: BaseException | None) -> None:
        execution, change = what
        if error is not None:
            if isinstance(error, InstanceLostError):
                self.evict(execution.pk)
            return
        if self.cache.get(execution.pk) is execution:
            self.cache.remove(execution.pk)
        self.retention.expires(change.expires_at)
        self.ended(execution.instance, change.status, change.error, outcome=change)
        self.dispatcher.on_slot_freed()

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
            parent = self.cache.get(instance.parent)
            if parent is not None and not parent.waits.parked:
                parent.child_ended(f"{instance.workflow}/{instance.id}")
            else:
                self.dispatcher.claim_soon()
        if emit and (self.telemetry.listening or (error is not None and self.telemetry.hears_trouble)):
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
        while any(one.active for one in self.cache.all()) and self.loop.time() < deadline:  # noqa: ASYNC110  # once, at the end
            await asyncio.sleep(0.01)

    def _release(self, execution: Execution) -> None:
        """Cancel what is still in flight; it was our doing, and counts only when it happens again and again."""
        rows = {step.seq: step for step in execution.journal.steps()} if execution.in_flight.attempts else {}
        for seq, attempt in list(execution.in_flight.attempts.items()):
            times = execution.in_flight.uncounted_stops(rows[seq])
            if (
                times < STOPS_IN_A_ROW
            ):  # else it stays "running", and is charged like an attempt that a crash interrupted
                transitions.cancel_uncounted(rows[seq], times + 1)
            execution.journal.touch(rows[seq])
            attempt.cancel()
        if not execution.phase.over:
            execution.journal.flush_rows()
        self.evict(execution.pk)
