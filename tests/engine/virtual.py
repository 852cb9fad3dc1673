"""Time that stands still until a test moves it, and a machine whose engine can be crashed and booted again."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from everstep import Everstep, InstanceStatus, WorkflowEntrypoint, WorkflowInstance
from everstep.core.durations import duration_ms
from everstep.core.types import TERMINAL
from everstep.engine.engine import Engine
from everstep.engine.runtime.options import EngineOptions
from everstep.engine.runtime.registry import define
from everstep.store.cluster import ClusterStore
from everstep.store.postgres.connection import ReconnectingConnection
from everstep.threads import DaemonThreads

START_MS = 1_700_000_000_000
"""Where virtual time begins: a whole second."""
_PATIENCE_SECONDS = 20.0
_MOMENT_SECONDS = 0.1
"""Timers of the event loop that are sooner than this are waited for: the engine looks around for a moment."""


class VirtualTimer:
    """A callback that is due at `when`."""

    def __init__(self, when: int, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class VirtualClock:
    """A `Clock` that moves only when a test says so, timer by timer, and lets the engine settle after each.

    Args:
        auto: Jump to the next timer whenever nothing else can happen: no attempt runs, nothing is being written.
    """

    def __init__(self, *, auto: bool = False) -> None:
        self.auto = auto
        self._now = START_MS
        self._timers: list[tuple[int, int, VirtualTimer]] = []
        self._numbers = itertools.count()
        self._engine: Engine | None = None
        self._threads: CountedThreads | None = None
        self._moving = asyncio.Lock()
        self._set = asyncio.Event()
        self._driver: asyncio.Task[None] | None = None
        self._poll: asyncio.TimerHandle | None = None

    # Clock

    def now(self) -> int:
        return self._now

    def call_at(self, when: int, callback: Callable[[], None]) -> VirtualTimer:
        timer = VirtualTimer(when, callback)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        self._set.set()
        return timer

    # For tests

    async def advance(self, amount: int | str, *, until: Callable[[], bool] = bool) -> None:
        """Move time on by milliseconds or a duration such as `"10 seconds"`, settling at every timer on the way.

        With `until`, time stops at the first moment at which that is true.
        """
        target = self._now + (amount if isinstance(amount, int) else duration_ms(amount))
        async with self._moving:
            await self._settle()
            while not until() and (when := self._next()) is not None and when <= target:
                self._now = when
                await self._settle()
            if not until():
                self._now = target

    async def settle(self) -> None:
        """Wait until nothing can happen before the next timer."""
        async with self._moving:
            await self._settle()

    # For machines

    def attach(self, engine: Engine) -> None:
        """Settle by this engine from now on."""
        engine.attempts.close()
        self._threads = engine.attempts._pool = CountedThreads(
            engine.options.max_threads + engine.options.max_lost_threads
        )
        self._engine = engine
        if self.auto and self._driver is None:
            self._driver = asyncio.create_task(self._drive())

    def detach(self) -> None:
        """Forget an engine that has ended, and its timers."""
        self._timers.clear()
        self._engine = self._threads = None

    async def close(self) -> None:
        """Stop jumping."""
        if self._driver is not None:
            self._driver.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._driver

    async def _drive(self) -> None:
        while True:
            async with self._moving:
                await self._settle()
                self._set.clear()
                when = None if self._attempts_run() else self._next()
                if when is not None:
                    self._now = when
            if when is None:
                self._poll = asyncio.get_running_loop().call_later(0.002, self._set.set)
                await self._set.wait()
                self._poll.cancel()

    def _attempts_run(self) -> bool:
        return self._engine is not None and any(one.active for one in self._engine.cache.all())

    async def _settle(self) -> None:
        patience = time.monotonic() + _PATIENCE_SECONDS
        while True:
            await asyncio.sleep(0)
            if self._fire() or self._ready():
                continue
            if self._elsewhere():
                await asyncio.sleep(0.000_2)
            else:
                return
            if time.monotonic() > patience:
                raise TimeoutError(f"the engine does not settle: {self._elsewhere()}")

    def _fire(self) -> bool:
        """Call what is due."""
        fired = False
        while (when := self._next()) is not None and when <= self._now:
            timer = heapq.heappop(self._timers)[2]
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()
                fired = True
        return fired

    def _next(self) -> int | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _ready(self) -> bool:
        """Whether the loop has anything to do but this."""
        return bool(asyncio.get_running_loop()._ready)  # type: ignore[attr-defined]

    def _elsewhere(self) -> str:
        """What goes on outside the loop: a commit, functions in threads that no test holds, a moment of real time."""
        store: Any = self._engine.store if self._engine is not None else None
        if isinstance(store, ClusterStore):
            return "the store is busy" if store.busy else self._sleepers()
        group = store._group if store is not None else None
        if group is not None and (not group.idle or group._scheduled):
            return "the store is writing"
        return self._sleepers()

    def _sleepers(self) -> str:
        if self._threads is not None and self._threads.busy > Held.count:
            return f"{self._threads.busy} functions run in threads, {Held.count} of them held"
        loop = asyncio.get_running_loop()
        soon = loop.time() + _MOMENT_SECONDS
        handles = loop._scheduled  # type: ignore[attr-defined]
        if any(not one.cancelled() and one.when() < soon for one in handles if one is not self._poll):
            return "somebody sleeps in real time"
        return ""


class CountedThreads(DaemonThreads):
    """Threads that know how many of their functions have not come back to the loop yet."""

    def __init__(self, threads: int) -> None:
        super().__init__("everstep-step", most=threads)
        self.busy = 0
        self._loop = asyncio.get_running_loop()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.busy += 1
        future = super().submit(fn, *args, **kwargs)
        # After the loop's own callback was added: whoever sees the count go down finds the result in the loop's queue.
        self._loop.call_soon(future.add_done_callback, self._done)
        return future

    def _done(self, _: Future[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._count_down)

    def _count_down(self) -> None:
        self.busy -= 1


class Held:
    """A place where functions in threads stand until the test lets them go; the clock does not wait for them."""

    count = 0
    _counting = threading.Lock()

    def __init__(self) -> None:
        self._open = threading.Event()
        self._here = 0

    def wait(self) -> None:
        """Stand here; called in a thread."""
        with Held._counting:
            if self._open.is_set():
                return
            self._here += 1
            Held.count += 1
        if not self._open.wait(_PATIENCE_SECONDS):
            raise TimeoutError("nobody let this thread go")

    def release(self) -> None:
        """Let everybody go."""
        with Held._counting:
            self._open.set()
            Held.count -= self._here
            self._here = 0


class Machine:
    """A database, and the engine that runs on it: booted, crashed, stopped, booted again."""

    def __init__(
        self,
        path: Path,
        clock: VirtualClock,
        *,
        workflows: Sequence[type[WorkflowEntrypoint[Any, Any]]],
        env: dict[str, Any] | None = None,
        options: EngineOptions | None = None,
    ) -> None:
        self.clock = clock
        self.workflows = list(workflows)
        self.options = options
        self.path = path
        self.database = f"sqlite:///{path}"
        self._env = env
        self._es: Everstep | None = None

    @property
    def es(self) -> Everstep:
        assert self._es is not None, "the machine is off"
        return self._es

    @property
    def engine(self) -> Engine:
        return self.es.control._engine

    # Power

    async def boot(self) -> int:
        """Start an engine on what is on the disk; return how many instances a crash had left."""
        es = Everstep(
            self.workflows,
            database=self.database,
            env=self._env,
            clock=self.clock,
            options=self.options,
        )
        await es.__aenter__()
        self._es = es
        self.clock.attach(self.engine)
        return es.recovered

    async def stop(self) -> None:
        """Stop the engine cleanly."""
        es, self._es = self._es, None
        if es is not None:
            await es.__aexit__(None, None, None)
            self.clock.detach()

    async def crash(self) -> None:
        """End the engine as a dying process would: nothing is given back, what was not on disk is lost."""
        es, engine = self.es, self.engine
        self._es = None
        assert es._running is not None
        rest, es._running = es._running.pop_all(), None
        rest._exit_callbacks.pop()  # type: ignore[attr-defined]  # engine.stop; what is left closes the file
        engine.orphans._task.cancel()
        if engine.lease is not None:
            engine.lease._task.cancel()
        engine.slots.closed = True  # what a claim under way brings is not taken up
        engine.dispatcher.stop()
        engine.start_recorder.stop()
        self._lose_unwritten(engine)
        for execution in engine.cache.all():
            engine.evict(execution.pk)
        await self.clock.settle()
        self.clock.detach()
        engine.attempts.close()
        await rest.aclose()

    async def reboot(self) -> int:
        """Crash, and start again at the same moment."""
        await self.crash()
        recovered = await self.boot()
        await self.settle()
        return recovered

    @staticmethod
    def _lose_unwritten(engine: Engine) -> None:
        store: Any = engine.store
        if isinstance(store, ClusterStore):
            for entry in store._pipeline._pending:
                entry.future.cancel()
            store._pipeline._pending.clear()
            store._pipeline._transactions = 0
            return
        while store._group._pending:
            store._group._pending.popleft()[1].cancel()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Look into the database itself."""
        store: Any = self.engine.store
        if isinstance(store, ClusterStore):
            with ThreadPoolExecutor(1) as thread:  # asked from code that does not await
                return thread.submit(asyncio.run, _rows(store, sql)).result()
        return store._reader.execute(sql, ())

    # Time

    @property
    def now(self) -> int:
        return self.clock.now()

    async def advance(self, amount: int | str, *, until: Callable[[], bool] = bool) -> None:
        await self.clock.advance(amount, until=until)

    async def settle(self) -> None:
        await self.clock.settle()

    # Instances

    async def create(
        self, workflow: type[WorkflowEntrypoint[Any, Any]], params: Any = None, *, id: str = "one"
    ) -> WorkflowInstance:
        """Create an instance and let it come to rest. Its handle works across crashes."""
        await self.es.workflow(workflow).create(id=id, params=params)
        await self.settle()
        return self.handle(workflow, id)

    def handle(self, workflow: type[WorkflowEntrypoint[Any, Any]], id: str = "one") -> WorkflowInstance:
        """Return a handle on an instance that asks whichever engine runs."""
        return WorkflowInstance(_CurrentControl(self), self.es.registry.resolve(workflow).name, id)  # type: ignore[arg-type]

    async def output(self, instance: WorkflowInstance) -> Any:
        """Return what an instance ended with, which it must have done without time moving on."""
        await self.settle()
        status = await instance.status()
        assert status.status in TERMINAL, f"{instance.id} has not ended: {status}"
        return await instance.result()

    async def run(self, workflow: type[WorkflowEntrypoint[Any, Any]], params: Any = None, *, id: str = "one") -> Any:
        """Create an instance and return what it ended with."""
        return await self.output(await self.create(workflow, params, id=id))

    async def in_memory(self, instance: WorkflowInstance) -> bool:
        """Whether an instance's coroutine is alive."""
        found = await self.engine.store.find(instance._workflow, instance.id)
        assert found is not None
        return self.engine.cache.get(found.pk) is not None


async def _rows(store: Any, sql: str) -> list[tuple[Any, ...]]:
    link = ReconnectingConnection(store._url)
    await link.execute(f"set search_path = {store._url.schema}")
    rows = await link.fetch(sql)
    await link.close()
    return [tuple(row) for row in rows]


class _CurrentControl:
    """Asks the control of the machine's engine of the moment."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine.es.control, name)


def flow(fn: Callable[..., Any]) -> type[WorkflowEntrypoint[Any, Any]]:
    """Make a workflow of `async def name(event, step)`; it is called after the function."""

    async def run(self: Any, event: Any, step: Any) -> Any:
        return await fn(event, step)

    name = "".join(part.capitalize() for part in fn.__name__.split("_"))
    return type(name, (WorkflowEntrypoint,), {"run": run})


def limited(cls: type[WorkflowEntrypoint[Any, Any]], **limits: Any) -> Any:
    """Define a workflow with limits of its own."""
    definition = define(cls)
    for name, value in limits.items():
        setattr(definition, name, value)
    return definition


def attempts_of(status: InstanceStatus, step: str, count: int = 1) -> list[tuple[int, str, str | None]]:
    """Return each attempt of a step as its number, how it ended and the error's name."""
    assert isinstance(status.steps, list), "ask with status(steps=True)"
    [found] = [one for one in status.steps if (one.name, one.count) == (step, count)]
    return [(one.attempt, one.status, one.error and one.error.name) for one in found.attempts]
