"""Programs run on a virtual machine without an interruption, and interrupted after what they record.

All that depends on the engine's own names is in the first section.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, Literal, get_args

from msgspec import Struct

from engine.virtual import Machine, VirtualClock
from everstep import InstanceStateError, WorkflowEntrypoint
from everstep.engine.runtime.options import EngineOptions
from everstep.store.postgres.connection import DatabaseUrl, ReconnectingConnection

from .programs import Child, Program, Raises, described
from .world import World

# The engine

KEPT = EngineOptions(drain_ms=0)
"""Instances at rest stay in memory."""
NOT_KEPT = EngineOptions(drain_ms=0, max_cached=0)
"""Instances at rest leave memory at once."""
_FINAL = "'complete', 'errored', 'cancelled'"
"""The states of a step's row that never change again."""


async def _evict(machine: Machine, pk: int) -> None:
    """Put an instance out of memory, its attempts in flight included, and let it go on from what is on disk."""
    await machine.engine.make_due(pk)


async def _restart(machine: Machine, _pk: int) -> None:
    await machine.stop()
    await machine.boot()


async def _crash(machine: Machine, _pk: int) -> None:
    await machine.crash()
    await machine.boot()


def _read(machine: Machine, sql: str) -> list[tuple[Any, ...]]:
    """Ask a SQLite database; `Machine.rows` looks first what kind of store it is, which takes longer."""
    return machine.engine.store._reader.execute(sql, ())  # type: ignore[attr-defined]


Way = Literal["evicted", "restarted", "crashed"]
WAYS: tuple[Way, ...] = get_args(Way)
_INTERRUPT: dict[Way, Callable[[Machine, int], Any]] = {"evicted": _evict, "restarted": _restart, "crashed": _crash}


async def interrupt(machine: Machine, instance: Any, way: Way, *, wake: bool = False) -> None:
    """Interrupt an instance that a test made by itself; with `wake`, bring it into memory even if it rests."""
    [(pk,)] = machine.rows(f"select pk from instance where id = '{instance.id}' and parent is null")
    await _INTERRUPT[way](machine, pk)
    if wake and way != "evicted":
        await _evict(machine, pk)


# The clock and the database


class ReachedError(Exception):
    """What a test waits for has come about."""


class WatchedClock(VirtualClock):
    """Virtual time that stops in the middle of everything, in the first turn of the loop in which `watch` is true."""

    def __init__(self) -> None:
        super().__init__()
        self.watch: Callable[[], bool] | None = None

    def _fire(self) -> bool:
        if self.watch is not None and self.watch():
            self.watch = None
            raise ReachedError
        return super()._fire()


class Reader:
    """Asks a PostgreSQL database over one connection, from code that does not await."""

    def __init__(self, url: str) -> None:
        self._address = DatabaseUrl.parse(url)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._link = ReconnectingConnection(self._address)
        self._ask(self._link.execute(f"set search_path = {self._address.schema}"))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._ask(self._link.fetch(sql))]

    def close(self) -> None:
        self._ask(self._link.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _ask(self, question: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(question, self._loop).result(20)


class Stage:
    """A machine with one program on it, whose instances come one after another."""

    def __init__(self, machine: Machine, program: Program, workflow: type[WorkflowEntrypoint[Any, Any]]) -> None:
        self.machine = machine
        self.program = program
        self.workflow = workflow
        self.world = World(machine.clock)
        self.numbers = 0
        self._reader = Reader(machine.database) if machine.database.startswith("postgresql") else None

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the database."""
        return _read(self.machine, sql) if self._reader is None else self._reader.rows(sql)

    def close(self) -> None:
        """Let the functions go that stand still in threads, and close the connection."""
        self.world.held.release()
        if self._reader is not None:
            self._reader.close()

    def new_world(self) -> World:
        """Begin with nothing outside."""
        self.world.held.release()
        self.world = World(self.machine.clock)
        return self.world


async def stage(running: Any, program: Program, *, kept: bool = True) -> Stage:
    """Boot a machine for a program; `running` is the fixture, `kept` is whether instances at rest stay in memory."""
    stages: list[Stage] = []

    async def run(self: Any, event: Any, step: Any) -> Any:
        """Run the program, then wait for an event before ending: until then all of it can be replayed once more."""
        life = stages[0].world.begin_life()
        try:
            value = await program.run(event, step)
        except Exception as error:
            life.finish("raised", described(error))
            await step.wait_for_event("the end", "the-end", timeout="365 days")
            raise
        life.finish("returned", value)
        await step.wait_for_event("the end", "the-end", timeout="365 days")
        return value

    name = "".join(part.capitalize() for part in program.name.split("_"))
    workflow = type(name, (WorkflowEntrypoint,), {"run": run})
    machine = await running(workflow, Child, clock=WatchedClock(), options=KEPT if kept else NOT_KEPT)
    stages.append(Stage(machine, program, workflow))
    return stages[0]


# Instances


class Seen(Struct, frozen=True):
    """What became of one instance in its last life."""

    outcome: tuple[str, Any]
    trace: tuple[str, ...]


class Cut(Struct, frozen=True):
    """What was so at the moment of an interruption.

    Attributes:
        trace: What the code had seen.
        effects: How many effects there had been.
        final: Steps whose end was on disk, by name and count.
        after: The latest change on disk, for messages.
    """

    trace: tuple[str, ...]
    effects: int
    final: frozenset[tuple[str, int]]
    after: str


class Instance:
    """One instance of a stage's program."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.machine = stage.machine
        self.clock: WatchedClock = stage.machine.clock  # type: ignore[assignment]  # `stage` gave it
        self.program = stage.program
        self.world = stage.new_world()
        self.cuts: list[Cut] = []
        self.pk = 0
        self._began_at = self.clock.now()
        self._events = sorted(self.program.events, key=lambda event: event[0])
        stage.numbers += 1
        self.id = f"i{stage.numbers}"
        [(self._before,)] = stage.rows("select coalesce(max(pk), 0) from instance")
        self.handle = self.machine.handle(stage.workflow, self.id)

    async def begin(self) -> None:
        await self.machine.es.workflow(self.stage.workflow).create(id=self.id)
        [(self.pk,)] = self.stage.rows(f"select pk from instance where id = '{self.id}'")

    async def go_on(self) -> None:
        """Move time on, and send the events, until the program has come to its outcome."""
        end = self._began_at + round(self.program.lasts * 1000)
        while not self.world.over and self.clock.now() < end:
            at = self._moment(self._events[0][0]) if self._events else end
            await self.machine.advance(max(0, at - self.clock.now()), until=lambda: self.world.over)
            if self._events and self.clock.now() >= at and not self.world.over:
                _, type, payload = self._events.pop(0)
                try:
                    await self.handle.send_event(type=type, payload=payload)
                except InstanceStateError:
                    break  # it has ended too early
        await self.machine.settle()
        if not self.world.over:
            raise AssertionError(await self._stuck())

    async def interrupt(self, way: Way) -> None:
        """End this life."""
        self.cuts.append(self._cut())
        was_over = self.world.over
        self.world.interrupt()
        await _INTERRUPT[way](self.machine, self.pk)
        if way == "evicted":
            return
        await self.machine.settle()
        if was_over or self.machine.engine.cache.get(self.pk) is None:
            # It rests, maybe since the clean stop itself, and a restarted engine does not bring it into memory.
            with contextlib.suppress(InstanceStateError):
                await self.handle.pause()
                await self.handle.resume()

    async def replay(self) -> None:
        """End the life in which the program came to its outcome, and come to it again by replaying all of it."""
        await self.interrupt("evicted")
        await self.go_on()

    async def end(self) -> Seen:
        """Let the instance end, and return what its last life saw."""
        seen = self.seen
        await self.handle.send_event(type="the-end")
        await self.machine.settle()
        status = await self.handle.status()
        what, value = seen.outcome
        if status.status != ("complete" if what == "returned" else "errored"):
            raise AssertionError(f"the end was sent, and the instance is {status.status}: {status.error}")
        if what == "returned" and (output := await self.handle.result()) != value:
            raise AssertionError(f"the program returned {value!r}, and the instance's output is {output!r}")
        return seen

    @property
    def seen(self) -> Seen:
        life = self.world.lives[-1]
        assert life.outcome is not None
        return Seen(life.outcome, life.seen)

    # What is on disk

    def arm(self, changes: int, *, ends_only: bool = False) -> None:
        """Raise `ReachedError` when so many changes have come to the disk; of ends of steps only, or of any records."""
        look = self._ends if ends_only else self._records
        seen, left = [look()], [changes]

        def watch() -> bool:
            now = look()
            if now != seen[0]:
                seen[0], left[0] = now, left[0] - 1
            return left[0] <= 0

        self.clock.watch = watch

    def _records(self) -> list[tuple[Any, ...]]:
        """Return a number for each kind of record, of this instance and its children."""
        which = f"instance > {self._before}"
        return self.stage.rows(
            f"select (select count(*) from step where {which}), "
            f"(select count(*) from step where {which} and state in ({_FINAL})), "
            f"(select count(*) from attempt where {which}), (select count(*) from event where {which})"
        )

    def _ends(self) -> list[tuple[Any, ...]]:
        which = f"instance > {self._before}"
        return self.stage.rows(f"select count(*) from step where {which} and state in ({_FINAL})")

    def _cut(self) -> Cut:
        rows = self.stage.rows(f"select kind, name, count, state from step where instance = {self.pk} order by seq")
        final = {(name, count) for kind, name, count, state in rows if kind == "do" and f"'{state}'" in _FINAL}
        life = self.world.lives[-1] if self.world.lives else None
        after = "; ".join(f"{kind} {name} {count} {state}" for kind, name, count, state in rows[-4:])
        return Cut(tuple(life.trace) if life else (), len(self.world.effects), frozenset(final), after)

    def _moment(self, seconds: float) -> int:
        return self._began_at + round(seconds * 1000)

    async def _stuck(self) -> str:
        status = await self.handle.status()
        trace = self.world.lives[-1].trace if self.world.lives else None
        return f"no outcome: {status.status}, {status.error or status.waiting_for}; it saw {trace}"


# Checks


async def uninterrupted(stage: Stage) -> Seen:
    """Run the program once from beginning to end."""
    instance = Instance(stage)
    await instance.begin()
    await instance.go_on()
    wrong(instance, instance.seen, None).check()
    return await instance.end()


async def interrupted_everywhere(stage: Stage, way: Way) -> None:
    """Run the program once uninterrupted, then interrupted once, after each of its records; compare."""
    reference = await uninterrupted(stage)
    number = 1
    while await interrupted_once(stage, way, number, reference):
        number += 1
    assert number > 1, "nothing was recorded"


async def interrupted_once(stage: Stage, way: Way, number: int, reference: Seen) -> bool:
    """Interrupt the program after its record of this number; return whether it came to that."""
    instance = Instance(stage)
    instance.arm(number)
    try:
        await instance.begin()
        await instance.go_on()
    except ReachedError:
        await instance.interrupt(way)
    instance.clock.watch = None
    where = f"record {number}"
    if not instance.cuts:
        await instance.end()
        return False
    where += f" ({instance.cuts[0].after})"
    await finish(instance, reference, where)
    return True


async def interrupted_after_every_end(stage: Stage, ways: tuple[Way, ...]) -> int:
    """Interrupt one instance whenever a step of it has ended, in these ways by turns; return how often."""
    reference = await uninterrupted(stage)
    instance = Instance(stage)
    instance.arm(1, ends_only=True)
    await instance.begin()
    for number in range(200):
        try:
            await instance.go_on()
        except ReachedError:
            await instance.interrupt(ways[number % len(ways)])
            instance.arm(1, ends_only=True)
        else:
            break
    instance.clock.watch = None
    await finish(instance, reference, "after every end")
    return len(instance.cuts)


async def finish(instance: Instance, reference: Seen, where: str) -> None:
    """Let an instance go on that was interrupted, replay all of it, let it end; check every life."""
    try:
        await instance.go_on()
        seen = instance.seen
        problems = wrong(instance, seen, reference)
        await instance.replay()
        problems.compare("the replay of everything saw", instance.seen.trace, seen.trace)
        problems.compare("the replay of everything came to", instance.seen.outcome, seen.outcome)
        problems.found.extend(wrong(instance, instance.seen, None).found)
        problems.check()
        await instance.end()
    except AssertionError as error:
        raise AssertionError(f"{where}: {error}") from None


class Problems(Struct):
    """What is not as it must be."""

    found: list[str]

    def compare(self, what: str, here: Any, there: Any) -> None:
        if here != there:
            self.found.append(f"{what} {here!r}, not {there!r}")

    def check(self) -> None:
        """Raise AssertionError if anything is wrong."""
        if self.found:
            raise AssertionError("\n".join(dict.fromkeys(self.found)))


def wrong(instance: Instance, seen: Seen, reference: Seen | None) -> Problems:
    """Compare what became of an instance with what must hold, and with an instance that was not interrupted."""
    problems, program = Problems([]), instance.program
    if program.returns is not None and not (program.same == "history" and instance.cuts):
        problems.compare("it came to", seen.outcome, _expected(program))
    if reference is not None and program.same == "trace":
        problems.compare("it saw", seen.trace, reference.trace)
    for cut in instance.cuts:
        problems.compare("the next life saw first", seen.trace[: len(cut.trace)], cut.trace)
    _check_effects(instance, problems)
    return problems


def _check_effects(instance: Instance, problems: Problems) -> None:
    effects, inner = instance.world.effects, instance.program.inner
    for cut in instance.cuts:
        for effect in effects[cut.effects :]:
            if effect.what == "began" and effect.step in cut.final and effect.step[0] not in inner:
                problems.found.append(f"{effect.label!r} began again, though the end of {effect.step} was recorded")
    remembered: set[str] = set()
    steps: dict[str, Any] = {}
    for effect in effects:
        if effect.what == "got":
            remembered.add(effect.label)
        elif effect.what == "began":
            if effect.label in remembered:
                problems.found.append(f"{effect.label!r} began again, though the outer step had got its result")
            if inner and effect.key is None:
                continue
            before = steps.setdefault(effect.label, effect.key or effect.step)
            if before != (effect.key or effect.step):
                problems.found.append(f"{effect.label!r} was {before}, and then {effect.key or effect.step}")


def _expected(program: Program) -> tuple[str, Any]:
    if isinstance(program.returns, Raises):
        return "raised", program.returns.error
    return "returned", program.returns


@contextlib.asynccontextmanager
async def staged(running: Any, program: Program, *, kept: bool = True) -> Any:
    """A stage that is closed in the end."""
    opened = await stage(running, program, kept=kept)
    try:
        yield opened
    finally:
        opened.close()
