"""A machine in a simulated world: its engine lives on one disk, life after life, until a seed has had its say."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from everstep.control.control import LocalControl
from everstep.core.errors import StoreUnavailableError
from everstep.engine.engine import Engine
from everstep.engine.runtime.options import EngineOptions
from everstep.engine.runtime.registry import WorkflowRegistry, define

from .loop import SimulatedClock, SimulatedLoop
from .postgres import PostgresDisk
from .programs import workflow
from .store import Disk, Faults, MachineDied
from .witness import ViolationError, Witness

NAME = "told"
_TURNS_TO_DIE = 60


class World:
    """Everything that outlives an engine: the disk, the time, the witness and the record of what happened.

    Args:
        seed: Decides in which order tasks go.
        faults: What goes wrong with the store.
        options: The engine's.
        concurrency: How many instances may be at work.
        disk: What survives a crash, and makes stores; an empty SQLite database if omitted.
    """

    def __init__(
        self,
        seed: str,
        faults: Faults,
        *,
        options: EngineOptions | None = None,
        concurrency: int | None = None,
        disk: Disk | PostgresDisk | None = None,
    ) -> None:
        self.trace: list[str] = []
        self.disk = disk or Disk()
        self.witness = Witness(self.disk)
        self.lives = 0
        self._seed = seed
        self._faults = faults
        self._options = options
        self._concurrency = concurrency
        self._seconds = 0.0
        self._problem: BaseException | None = None

    def live(self, main: Callable[[Life], Awaitable[None]]) -> bool:
        """Start an engine and let `main` use it; return whether that came to its end before the machine died."""
        self.lives += 1
        self.note(f"life {self.lives}")
        life = Life(self, self._faults)
        ended = life.run(main)
        self.disk.died()
        self._seconds = life.loop.time()
        if self._problem is not None:
            raise ViolationError(f"{self._problem}\n" + "\n".join(self.trace[-60:])) from self._problem
        return ended

    def note(self, what: str) -> None:
        """Add a line to the record."""
        self.trace.append(f"{self._seconds:.3f} {what}")

    def complain(self, problem: BaseException) -> None:
        """Keep the first thing that must never be."""
        self._problem = self._problem or problem

    def define(self, life: Life) -> WorkflowRegistry:
        definition = define(workflow(life))
        definition.concurrency = self._concurrency
        return WorkflowRegistry([definition])


class Life:
    """One engine from its start to its end, with a loop of its own."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        order = random.Random(f"{world._seed}/{world.lives}")
        self.loop = SimulatedLoop(order, seconds=world._seconds, before_time_passes=self._at_rest)
        self.loop.set_exception_handler(self._unhandled)
        self._store = world.disk.store(faults, committed=self._committed, cut_off=self._cut_off)
        self._alive = True
        self._cut = self._started = False
        self.engine: Engine
        self.control: LocalControl

    def run(self, main: Callable[[Life], Awaitable[None]]) -> bool:
        """Run to the end of `main`, or of the machine."""
        with self._store.alive(self.loop):
            return self._run(main)

    def _run(self, main: Callable[[Life], Awaitable[None]]) -> bool:
        task = self.loop.create_task(self._main(main))
        task.add_done_callback(lambda _: self.loop.stop())
        try:
            self.loop.run_forever()
        except BaseException as error:
            self._world.complain(error)
        error = task.exception() if task.done() and not task.cancelled() else None
        if error is not None and not isinstance(error, MachineDied):
            self._world.complain(error)
        self._bury()
        return not self._cut

    async def _main(self, main: Callable[[Life], Awaitable[None]]) -> None:
        try:
            await self._start()
        except StoreUnavailableError as error:
            self._store.off = True
            self.note(f"leaves at its start: {error}")
            await asyncio.sleep(1)
            self._cut = True
            return
        await main(self)

    async def _start(self) -> None:
        await self._store.open()
        program = self._world.define(self)
        clock = SimulatedClock(self.loop)
        self.engine = Engine(self._store, program, clock=clock, options=self._world._options)
        self.engine.dispatcher._random.seed(self._world.lives)
        program.bind_env({})
        self.control = LocalControl(self.engine)
        await self.engine.start()
        self._started = True

    async def stop(self) -> None:
        """End cleanly."""
        await self.engine.stop()
        await self._store.close()
        if not self._store.released:
            return
        for one in self._world.witness.instances():
            if one.status == "running" and one.due_at is None:
                raise ViolationError(f"not given back by a clean stop: {one}")

    def note(self, what: str) -> None:
        self._world._seconds = self.loop.time()
        self._world.note(what)

    # What programs do

    def began(self, instance: str, step: str, attempt: int) -> None:
        if self._alive:
            self.note(f"{instance}: {step} begins, attempt {attempt}")
            self._watched(lambda: self._world.witness.began(instance, step, attempt))

    def ended(self, instance: str, step: str) -> None:
        self._world.witness.ended(instance, step)

    # What is watched

    def _committed(self, asked: list[str]) -> None:
        self.note("on disk: " + "; ".join(asked))
        self._watched(lambda: self._world.witness.look(asked, SimulatedClock(self.loop).now()))

    def _cut_off(self) -> None:
        self.note("the machine dies")
        self._cut = True
        self.loop.stop()

    def _at_rest(self) -> None:
        if self._alive and self._store.idle and self._started and not (self._store.off or self.engine.slots.closed):
            self._watched(lambda: self._world.witness.look_around(self.engine))

    def _watched(self, look: Callable[[], None]) -> None:
        try:
            look()
        except ViolationError as error:
            self._world.complain(error)
            self.loop.stop()

    def _unhandled(self, _: Any, context: dict[str, Any]) -> None:
        if self._alive and not self._cut:  # a machine that died leaves everything as it was
            problem = context.get("exception")
            self._world.complain(ViolationError(f"nobody handled: {context['message']}: {problem!r}"))
            self.loop.stop()

    def _bury(self) -> None:
        """End every task as if it had never gone on: nothing it does reaches the disk or counts as an effect."""
        self._alive, self._store.off = False, True
        if hasattr(self, "engine"):
            self.engine.slots.closed = True
            self.engine.dispatcher.stop()
            self.engine.start_recorder.stop()
            for pk in [one.pk for one in self.engine.cache.all()]:
                self.engine.evict(pk)
        for _ in range(_TURNS_TO_DIE):
            self.loop.turns(6)
            left = asyncio.all_tasks(self.loop)
            if not left:
                break
            for task in left:
                task.cancel()
        else:
            self._world.complain(ViolationError(f"these do not end when they are cancelled: {left}"))
        self.loop.close()
