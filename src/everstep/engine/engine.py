"""The engine: instances in memory, from being created or claimed until they end or are put away.

Owns the runs and the loops around them; how steps run is in `steps.py`, what users ask for in `control.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from everstep.api.step import StepRunner
from everstep.core.errors import EngineStoppedError, Suspended
from everstep.core.journal import StepRecord
from everstep.core.stored_error import error_info
from everstep.engine.attempt import Attempts
from everstep.engine.clock import Clock, SystemClock
from everstep.engine.deadlines import Deadlines
from everstep.engine.dispatcher import Dispatcher
from everstep.engine.life import errored, live
from everstep.engine.program import Program
from everstep.engine.run import Run
from everstep.engine.starts import Starts
from everstep.engine.steps import Steps
from everstep.store.protocol import Change, Claimed, InstanceChange, InstanceRecord, Store
from everstep.telemetry import events as happened
from everstep.telemetry.bus import Telemetry

log = logging.getLogger("everstep.engine")


class EngineOptions(Struct, frozen=True):
    """What may be tuned.

    Attributes:
        resident: Parked instances kept in memory, at about 9 KB each; further ones are put away, oldest first.
        running: Instances at work at the same time; further ones stay due in the store.
        threads: Plain functions running at the same time.
        start_delay_ms: How long an attempt lasts before its start is written.
        drain_ms: How long a clean stop lets attempts finish.
    """

    resident: int = 1_000
    running: int = 10_000
    threads: int = 64
    start_delay_ms: int = 5
    drain_ms: int = 2_000


class Engine:
    """Runs the instances of a program on a store.

    Args:
        store: An opened store.
        program: The workflows, with their environments bound.
        clock: The time; the machine's by default.
        telemetry: Where events go.
        options: What may be tuned.
        runner: What carries out the steps of a run; wrapped by tests.
    """

    def __init__(
        self,
        store: Store,
        program: Program,
        *,
        clock: Clock | None = None,
        telemetry: Telemetry | None = None,
        options: EngineOptions | None = None,
        runner: Callable[[Run], StepRunner] | None = None,
    ) -> None:
        self.store = store
        self.program = program
        self.clock = clock or SystemClock()
        self.telemetry = telemetry or Telemetry()
        self.options = options or EngineOptions()
        self.loop = asyncio.get_running_loop()
        self.attempts = Attempts(Deadlines(self.clock), threads=self.options.threads)
        self.dispatcher = Dispatcher(self)
        self._runs: dict[int, Run] = {}
        self._parked: OrderedDict[int, Run] = OrderedDict()
        self._starts = Starts(self, self.options.start_delay_ms)
        self._watchers: dict[int, list[asyncio.Future[None]]] = {}
        self._runner: Callable[[Run], StepRunner] = runner or Steps
        self._draining = False

    async def start(self) -> int:
        """Make everything go on that was running, waiting or queued; return how many instances a crash had left."""
        recovered = await self.store.recover(now=self.clock.now())
        for workflow, count in (await self.store.unclaimable(self.program.names)).items():
            log.warning("%d instances of workflow %r wait: this program has no such workflow", count, workflow)
        self.dispatcher.kick()
        return recovered

    async def stop(self) -> None:
        """Let attempts finish for a moment, give every instance back and stop."""
        self._draining = True
        self.dispatcher.stop()
        await self._drain()
        for run in list(self._runs.values()):
            self._give_back(run)
        await self.store.release(now=self.clock.now())
        for future in [future for watchers in self._watchers.values() for future in watchers if not future.done()]:
            future.set_exception(EngineStoppedError("the engine stopped before the instance ended; it goes on later"))
        self._starts.stop()
        self.attempts.close()

    # Instances in memory

    def adopt(self, instance: InstanceRecord) -> None:
        """Start an instance that was just created and belongs to this engine."""
        self._launch(Run(self, instance, [], []))

    def take_up(self, claimed: Claimed) -> None:
        """Go on with an instance that was claimed: wake it where it is in memory, replay it otherwise."""
        if self._draining:  # claimed while the stop began: it is released with the others
            return
        run = self._runs.get(claimed.instance.pk)
        if run is not None:
            run.wake(claimed.events)
        else:
            self._launch(Run(self, claimed.instance, claimed.steps, claimed.events))

    def resident(self, pk: int) -> Run | None:
        """Return the run of an instance that is in memory."""
        return self._runs.get(pk)

    def discard(self, pk: int) -> None:
        """Put an instance away now, attempts in flight included."""
        run = self._runs.pop(pk, None)
        if run is not None:
            self._parked.pop(pk, None)
            run.drop()
            self.dispatcher.made_room()

    @property
    def accepting(self) -> bool:
        """Whether a new instance can start at once; otherwise it is due, and claimed when there is room."""
        return not self._draining and self.capacity > 0

    @property
    def capacity(self) -> int:
        """How many more instances may be at work."""
        return self.options.running - (len(self._runs) - len(self._parked))

    def _launch(self, run: Run) -> None:
        workflow = self.program[run.instance.workflow]
        self._runs[run.pk] = run
        if self.telemetry.listening:
            replayed = len(run.journal)
            self._emit(run.instance, happened.InstanceStarted, replayed=replayed, recovered=run.unseen_cuts)
        run.task = self.loop.create_task(self._live(run, workflow))

    async def _live(self, run: Run, workflow: Any) -> None:
        try:
            ended = await live(run, workflow, self._runner(run))
            if ended is not None:
                await self._end(run, ended)
        except Suspended:
            pass

    async def _end(self, run: Run, change: InstanceChange, *, leftovers: bool = True) -> None:
        now = self.clock.now()
        change = msgspec.structs.replace(change, ended_at=now)
        run.drop()  # branches that were left behind do nothing durable any more
        await self.store.write(Change(run.pk, run.leftovers(now) if leftovers else (), instance=change))
        self._runs.pop(run.pk, None)
        self._parked.pop(run.pk, None)
        self.ended(run.instance, change.status, change.error)
        self.dispatcher.made_room()

    async def fail(self, run: Run, error: BaseException) -> None:
        await self._end(run, errored(error))

    async def contradict(self, run: Run, error: BaseException) -> None:
        await self._end(run, errored(error), leftovers=False)

    # What runs tell (Host)

    def parked(self, run: Run, due: int) -> None:
        if run.pk not in self._runs:
            return
        self._parked[run.pk] = run
        self.dispatcher.arm(due)
        if self.telemetry.listening:
            waiting = run.waiting_for()
            self._emit(run.instance, happened.InstanceParked, waiting_for=waiting and waiting[0], due_at=due)
        while len(self._parked) > self.options.resident:
            self.discard(next(iter(self._parked)))
        self.dispatcher.made_room()

    def unparked(self, run: Run) -> None:
        self._parked.pop(run.pk, None)

    def attempt_began(self, run: Run, step: StepRecord) -> None:
        self._starts.began(run, step)

    def attempt_ended(self, step: StepRecord) -> None:
        self._starts.ended(step)

    def check_write(self, written: asyncio.Future[Any]) -> None:
        if not written.cancelled() and (error := written.exception()) is not None:
            log.error("a write that nobody waited for failed: %s", error)

    # Watching

    def watch(self, pk: int) -> asyncio.Future[None]:
        """Return a future that is done when the instance ends, here."""
        future: asyncio.Future[None] = self.loop.create_future()
        self._watchers.setdefault(pk, []).append(future)
        return future

    def unwatch(self, pk: int, future: asyncio.Future[None]) -> None:
        """Forget a future of `watch`."""
        watchers = self._watchers.get(pk)
        if watchers and future in watchers:
            watchers.remove(future)
            if not watchers:
                del self._watchers[pk]

    def ended(self, instance: InstanceRecord, status: str, error: str | None = None) -> None:
        """Tell everybody that an instance has ended."""
        for future in self._watchers.pop(instance.pk, ()):
            if not future.done():
                future.set_result(None)
        if self.telemetry.listening:
            self._emit(
                instance,
                happened.InstanceEnded,
                status=status,
                elapsed_ms=self.clock.now() - (instance.started_at or instance.created_at),
                error=None if error is None else error_info(error),
            )

    def _emit(self, instance: InstanceRecord, kind: type[happened.Event], **facts: Any) -> None:
        self.telemetry.emit(kind(workflow=instance.workflow, instance_id=instance.id, at=self.clock.now(), **facts))

    # Stopping

    async def _drain(self) -> None:
        """Wait for attempts in flight, but not for long."""
        deadline = self.loop.time() + self.options.drain_ms / 1000
        while any(run.active for run in self._runs.values()) and self.loop.time() < deadline:  # noqa: ASYNC110  # once, at the end
            await asyncio.sleep(0.01)

    def _give_back(self, run: Run) -> None:
        """Cancel what is still in flight; it was our doing, so it does not count as an attempt."""
        for seq in list(run.attempts):
            run.forgive(seq)
        self.discard(run.pk)
