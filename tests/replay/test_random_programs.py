"""Random programs on the engine: uninterrupted they do what the reference says, and interrupted they do the same.

  EVERSTEP_REPLAY_SEEDS=100000 pytest tests/replay                  so many seeds instead of the usual few
  EVERSTEP_REPLAY_FIRST=5000 ...                                     from this one on
  EVERSTEP_REPLAY_CONSTRUCTS=-timers,-nested ...                     without some constructs of `random_programs.py`
  python -m tests.replay.random_programs SEED                        one seed, shown

A seed gives a program and a plan: which records end a life, and how. What holds for every plan: each life's code sees
what the earlier ones saw, step by step; a step whose end is on disk, or was heard of, or that was cancelled, never
begins again; one step never becomes another. If no time passes while the machine is off and nothing is left to chance,
all comes out as without interruptions: step functions stand for an outside that goes on by itself, so that an attempt
that is repeated ends when the first would have ended.

All that this file knows about the inside of the engine is at its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import re
import tempfile
import threading
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from engine.virtual import START_MS, Held, Machine, VirtualClock
from everstep import InstanceStateError, WorkflowEntrypoint, WorkflowStep
from everstep.core.types import TERMINAL
from everstep.engine.runtime.options import EngineOptions

from .random_programs import CHILD, Boom, Child, Do, Fatal, Nested, Program, Walk, chosen_constructs, draw, inside
from .reference import Expected, expect

SEEDS = int(os.environ.get("EVERSTEP_REPLAY_SEEDS", "300"))
FIRST = int(os.environ.get("EVERSTEP_REPLAY_FIRST", "0"))
SEEDS_A_TEST = max(10, SEEDS // 100)
"""Seeds in one test: with each alone, pytest's own work would be a good part of it."""
CLOCKED = "timers" in chosen_constructs()
"""Whether the time that the code sees is virtual: then it is a part of what it sees."""
LONGEST_MS = 400 * 86_400_000
_MEMORY = Path("/dev/shm")
_PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Interruption:
    """The end of a life: at the `record`th thing written in it, which is lost, or on disk and not heard of.

    An instance is put away, the engine stops cleanly, or the machine dies, and starts again `down_ms` later.
    """

    how: Literal["evict", "stop", "crash"]
    record: int
    lost: bool = False
    down_ms: int = 0


Plan = tuple[Interruption, ...]


def program_of(seed: int) -> Program:
    """Every third seed's program has many things at the same moment; others have none, or nearly."""
    return draw(seed, chosen_constructs(), tied=seed % 3 == 2)


def plan_of(seed: int, records: int) -> Plan:
    """Draw how the lives of a program end that writes so many records when nothing interrupts it."""
    dice = random.Random(f"plan {seed}")
    late = seed % 4 == 3
    plan = []
    for _ in range(dice.choice((1, 1, 1, 2, 3, 4))):
        how = dice.choice(("evict", "stop", "crash", "crash"))
        down = 125 * dice.choice((0, 1, 100, 10_000, 1_000_000)) if late and how != "evict" else 0
        plan.append(Interruption(how, dice.randint(1, max(1, records)), dice.random() < 0.5, down))
        records = max(1, records - dice.randint(0, plan[-1].record))
    return tuple(plan)


# The tests

pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited"),  # the ended lives'
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, SEEDS_A_TEST))
def test_interrupted_programs_go_on_as_if_nothing_had_happened(first: int):
    for seed in range(first, min(first + SEEDS_A_TEST, FIRST + SEEDS)):
        if problems := examine(seed):
            program = program_of(seed)
            pytest.fail(f"seed {seed}: " + "\n".join(problems) + f"\n{program!r}", pytrace=False)


# Put here as check(Program(...), (Interruption(...),)) what failed once.


def test_the_reference_is_certain_of_nearly_all_programs():
    certain = [expect(draw(seed, chosen_constructs())).certain for seed in range(60)]

    assert sum(certain) >= 50


def test_equal_seeds_give_equal_programs_and_others_do_not():
    assert draw(1) == draw(1)
    assert len({repr(draw(seed)) for seed in range(50)}) == 50


def examine(seed: int) -> list[str]:
    """Run a seed's program without and with its interruptions; return what is wrong."""
    program = program_of(seed)
    expected = expect(program)
    if expected.stuck:
        return ["the program never ends by itself: the drawing is wrong"]
    whole = run(program)
    if problems := compare(whole, expected):
        return ["uninterrupted:", *problems]
    plan = plan_of(seed, whole.records)
    return [f"with {plan!r}:", *problems] if (problems := compare(run(program, plan), expected, plan)) else []


def check(program: Program, plan: Plan = ()) -> None:
    """Assert that a program comes out as it must."""
    assert not compare(run(program, plan), expect(program), plan)


def compare(outcome: Outcome, expected: Expected, plan: Plan = ()) -> list[str]:
    """Say in what an outcome is not what it must be."""
    problems = list(outcome.problems)
    for instance, lives in outcome.lives.items():
        longest = max(lives, key=lambda life: len(life.seen))
        for life in lives:
            if difference := _difference(life.seen, longest.seen[: len(life.seen)]):
                lives_of = f"life {life.number} of {instance} saw something else than life {longest.number}"
                problems.append(f"{lives_of}: {difference}")
    if problems or not expected.certain or any(one.down_ms for one in plan):
        return problems
    if outcome.output != expected.output:
        problems.append(f"output {outcome.output}, not {expected.output}")
    seen = [entry for entry in outcome.last.seen if not isinstance(entry, _Note)]
    trace = expected.trace if CLOCKED else [entry[1:] for entry in expected.trace]
    ended = outcome.last.returned  # else its end came about while the machine was being stopped
    if difference := _difference(seen, trace if ended else trace[: len(seen)]):
        problems.append(f"the code saw something else than the reference: {difference}")
    # Not those that the code cancelled: whether such a step is over before, in a thread above all, is not certain.
    if ended and (differ := (outcome.done ^ expected.done) - outcome.cancelled):
        problems.append(f"done {sorted(outcome.done & differ)}, not {sorted(expected.done & differ)}")
    return problems


def _difference(one: list[Any], other: list[Any]) -> str:
    if one == other:
        return ""
    same = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return f"after {one[max(0, same - 2) : same]}: {one[same : same + 3]} and {other[same : same + 3]}"


def show(seed: int) -> int:
    """Run a seed and tell what happens."""
    logging.basicConfig(level=logging.WARNING)
    program = program_of(seed)
    expected = expect(program)
    print(program, f"certain: {expected.certain}", f"output: {expected.output}", sep="\n")
    whole = run(program, told=print)
    plan = plan_of(seed, whole.records)
    print("", plan, sep="\n")
    interrupted = run(program, plan, told=print)
    problems = compare(whole, expected) + compare(interrupted, expected, plan)
    print("", *(problems or ["all is well"]), sep="\n")
    return bool(problems)


# One program, life after life


@dataclass
class Outcome:
    """What came of a program, how many records the last life wrote, and every life of every instance."""

    output: Any
    lives: dict[str, list[EngineLife]]
    done: set[str]
    cancelled: set[str]
    problems: list[str]
    records: int

    @property
    def last(self) -> EngineLife:
        return self.lives[ONE][-1]


ONE = "one"


def run(program: Program, plan: Plan = (), *, told: Callable[[str], None] | None = None) -> Outcome:
    """Run a program on an engine of its own."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as directory, _quiet(told) as logged:
        world = World(program, told or (lambda _: None))
        try:
            asyncio.run(world.run(Path(directory) / "state.db", plan))
        except Exception:
            world.problems.append(traceback.format_exc())
        world.problems += [f"logged: {message}" for message in logged if "crash" not in {one.how for one in plan}]
        return Outcome(world.output, world.lives, world.done, world.cancelled, world.problems, world.records)


class World:
    """What outlives an engine: the program, its lives, and everything outside that its steps bring about."""

    def __init__(self, program: Program, tell: Callable[[str], None]) -> None:
        self.program = program
        self.children = {node.n: node for node in inside(program) if isinstance(node, Child)}
        self.lives: dict[str, list[EngineLife]] = {}
        self.effects: dict[str, Effect] = {}
        self.problems: list[str] = []
        self.output: Any = None
        self.records = 0
        self.tell = lambda what: tell(f"{(self.clock.now() - START_MS) / 1000:12.3f} {what}")
        self._events = list(program.events)

    @property
    def cancelled(self) -> set[str]:
        return {label for label, effect in self.effects.items() if effect.ended == "was cancelled"}

    @property
    def done(self) -> set[str]:
        """The steps that completed, those of children left out: they go on when their parent has ended."""
        return {label for label, effect in self.effects.items() if effect.done and effect.instance == ONE}

    async def run(self, path: Path, plan: Plan) -> None:
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(self._unhandled)
        self.clock = VirtualClock()
        machine = Machine(path, self.clock, workflows=self._workflows(), options=EngineOptions(drain_ms=0))
        await machine.boot()
        self._instance = machine.es.workflow("random-program")
        await self._instance.create(id=ONE)
        for interruption in plan:
            if not await self._live(machine, interruption):
                break
        else:
            await self._live(machine, None)
        self.kill()
        await machine.stop()
        self.release()

    async def _live(self, machine: Machine, interruption: Interruption | None) -> bool:
        """Live until the instance has ended or the interruption is over; return whether there is more to come."""
        tap = Tap(machine, interruption, self.kill)
        ended = await self._until_ended(machine, tap)
        self.records = tap.count
        tap.remove()
        if interruption is None or ended:
            return False
        self.tell(f"--- {interruption}")
        if interruption.how == "evict":
            self._evict(machine, random.Random(repr(interruption)))
            return True
        self.kill()
        await (machine.stop() if interruption.how == "stop" else machine.crash())
        self.release()
        if interruption.down_ms:
            await self.clock.advance(interruption.down_ms)
        for label in recorded(machine.path):
            self.effects[label].ended = "is recorded"
        await machine.boot()
        return True

    def _evict(self, machine: Machine, dice: random.Random) -> None:
        """Put one of the instances away, whatever it is at."""
        if instances := in_memory(machine):
            instance = dice.choice(list(instances))
            self.kill(instance)
            evict(machine, instances[instance])
            self.release()

    async def _until_ended(self, machine: Machine, tap: Tap) -> bool:
        """Let time pass and send events; return whether the instance has ended before the interruption came."""

        def over() -> bool:
            return tap.hit.is_set() or (ONE in self.lives and self.lives[ONE][-1].returned)

        while not over() and (await self._status(machine)).status not in TERMINAL:
            due = self._events[0].ms + START_MS if self._events else self.clock.now() + LONGEST_MS
            sent = due <= self.clock.now() and bool(self._events)
            doing = self._send(machine) if sent else self.clock.advance(due - self.clock.now(), until=over)
            await _first(doing, tap.hit.wait())
            if not (sent or over() or self._events or (await self._status(machine)).status in TERMINAL):
                self.problems.append(f"it goes on no more: {await self._status(machine)}")
                return True
        if not tap.hit.is_set():
            await _first(self.clock.settle(), tap.hit.wait())
        if tap.hit.is_set():
            return False
        await self._end(machine)
        return True

    async def _send(self, machine: Machine) -> None:
        """Send an event, unless an earlier life has; it counts as sent once that is on disk, heard of or not."""
        event = self._events[0]
        if event.payload >= events_sent(machine.path):
            self.tell(f"event {event.type} {event.payload}")
            instance = await machine.es.workflow("random-program").get(ONE)
            with contextlib.suppress(InstanceStateError):  # it has ended at this very moment, after a time off
                await instance.send_event(type=event.type, payload=event.payload)
        self._events.pop(0)

    async def _end(self, machine: Machine) -> None:
        status = await self._status(machine)
        if status.status == "complete":
            self.output = status.output
        else:
            self.problems.append(f"the instance is {status.status}: {status.error}")

    async def _status(self, machine: Machine) -> Any:
        instance = await machine.es.workflow("random-program").get(ONE)
        return await instance.status()

    def _unhandled(self, _: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        one_life = all(len(lives) == 1 and lives[0].alive for lives in self.lives.values())
        if one_life and not isinstance(error, Boom):
            self.problems.append(f"nobody handled: {context['message']}: {error!r}")

    # Lives

    def _workflows(self) -> list[type[WorkflowEntrypoint[Any, Any]]]:
        world = self

        class RandomProgram(WorkflowEntrypoint[Any, Any]):
            async def run(self, event: Any, step: WorkflowStep) -> Any:
                return await world.live(event, step, world.program.nodes)

        class RandomChild(WorkflowEntrypoint[Any, Any]):
            async def run(self, event: Any, step: WorkflowStep) -> Any:
                return await world.live(event, step, (world.children[event.payload].body,))

        assert CHILD == "random-child"
        return [RandomProgram, RandomChild]

    async def live(self, event: Any, step: Any, nodes: tuple[Any, ...]) -> Any:
        """One life of one instance."""
        lives = self.lives.setdefault(event.instance_id, [])
        for earlier in lives:
            earlier.alive = False
        life = EngineLife(self, event, len(lives))
        lives.append(life)
        self.tell(f"{life.instance}: life {life.number}")
        got = await Walk(step, life).program(nodes)
        life.returned = life.alive
        life.alive = False
        return got

    def kill(self, instance: str | None = None) -> None:
        """End an instance's life, or every life: what its code still does, on its way out, is nobody's business."""
        for id, lives in self.lives.items():
            if instance in (None, id):
                lives[-1].alive = False

    def release(self) -> None:
        """Let the functions in threads of ended lives go."""
        for effect in self.effects.values():
            if effect.running is not None and not effect.running.alive:
                effect.release()


@dataclass
class Effect:
    """What one step does outside, from its first beginning on, whatever becomes of those who asked for it."""

    label: str
    instance: str
    key: str | None
    began_at: int
    ended: str = ""
    done: bool = False
    failed_at: int = 0
    running: EngineLife | None = None
    cancelled_in: EngineLife | None = None
    held: list[Callable[[], None]] = field(default_factory=list)

    def attempt(self, do: Do, now: int) -> tuple[int, bool]:
        """When the attempt that is under way outside now ends, and whether it is one that fails.

        By the times alone: attempts take `ms` and are `retry_ms` apart, and those that are cut off change nothing.
        """
        ends_at = self.began_at + do.ms
        for _ in range(do.fails):
            if ends_at >= now:
                return ends_at, True
            ends_at += do.retry_ms + do.ms
        return ends_at, False

    def release(self) -> None:
        while self.held:
            self.held.pop()()


class _CutOff(Exception):  # noqa: N818  # what a function in a thread of an ended life raises
    pass


class _Note(tuple[Any, ...]):
    """What only other lives of the instance see as well."""

    __slots__ = ()


class EngineLife:
    """One life of one instance on the engine: a `Life` as `random_programs.py` has it."""

    def __init__(self, world: World, event: Any, number: int) -> None:
        self.world, self.number = world, number
        self.instance: str = event.instance_id
        self.alive = True
        self.returned = False
        self.seen: list[Any] = []
        self.kept: list[Any] = []
        self._created = event.timestamp
        self._began = asyncio.get_running_loop().time()

    @property
    def over(self) -> bool:
        return not self.alive

    # What it sees

    def _elapsed(self) -> int:
        """Milliseconds by the time of the loop that the code runs on."""
        return round((asyncio.get_running_loop().time() - self._began) * 1000)

    def say(self, *message: Any) -> None:
        if self.alive:
            self.seen.append((self._elapsed(), *message) if CLOCKED else message)
            self.world.tell(f"{self.instance}: says {message}")

    def note(self, *message: Any) -> None:
        if self.alive:
            self.seen.append(_Note(message))

    def since_start(self, moment: Any) -> int:
        return (moment - self._created) // timedelta(milliseconds=1)

    def heard(self, label: str) -> None:
        if not self.alive:
            return
        if label in self.world.effects:
            self.world.effects[label].ended = "was heard of"
        else:
            self.world.problems.append(f"step {label} was heard of, and has never begun")

    def cancelled(self, label: str) -> None:
        if self.alive:
            self.world.tell(f"{self.instance}: cancels {label}")
            # One that never began must not later either.
            effect = self.world.effects.setdefault(label, Effect(label, self.instance, None, 0))
            effect.ended, effect.cancelled_in = "was cancelled", self

    def as_completed(self, branches: list[Coroutine[Any, Any, Any]], timeout: float | None) -> Iterable[Any]:
        return asyncio.as_completed(branches, timeout=timeout)

    # What it brings about

    def job(self, do: Do, label: str, *, inner: bool = False) -> tuple[Any, Callable[..., Any]]:
        async def work(ctx: Any) -> str:
            effect = await self._begin(label, key_of(ctx, inner=inner), ctx.attempt)
            ends_at, fails = effect.attempt(do, self.world.clock.now())
            await self._until(ends_at)
            return self._finish(effect, do, fails=fails)

        def work_in_thread(ctx: Any) -> str:
            begun = asyncio.run_coroutine_threadsafe(
                self._hold(do, label, key_of(ctx, inner=inner), ctx.attempt), self.world.loop
            )
            ended, opened = begun.result(_PATIENCE_SECONDS)
            if not opened.wait(_PATIENCE_SECONDS):
                raise TimeoutError("nobody let this thread go")
            return ended()

        return _config(do.retry_ms), work_in_thread if do.thread else work

    def outer(self, nested: Nested, body: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[Any, Callable[..., Any]]:
        label = str(nested.n)

        async def work(ctx: Any) -> Any:
            effect = await self._begin(label, key_of(ctx), ctx.attempt)
            got = await body()
            now = self.world.clock.now()
            if nested.fails and effect.failed_at in (0, now) and self.alive:
                effect.failed_at, effect.running = now, None
                raise Boom(f"boom:{label}")
            self._ends(effect)
            return [f"did:{label}", got]

        return _config(nested.retry_ms), work

    async def _begin(self, label: str, key: str | None, attempt: int) -> Effect:
        world = self.world
        if not self.alive:
            await asyncio.Event().wait()  # a function that an ended life has called: it will be cancelled
        world.tell(f"{self.instance}: {label} begins, attempt {attempt}, {key}")
        effect = world.effects.setdefault(label, Effect(label, self.instance, key, world.clock.now()))
        if effect.ended:
            world.problems.append(f"step {label} begins again, though it {effect.ended}")
        if effect.running is self and self.alive:
            world.problems.append(f"step {label} begins beside itself")
        if key != effect.key:
            world.problems.append(f"step {label} had the idempotency key {effect.key}, and has {key}")
        if key and any(one.key == key for one in world.effects.values() if one is not effect):
            world.problems.append(f"step {label} has the idempotency key of another, {key}")
        effect.running = self
        return effect

    async def _until(self, when: int) -> None:
        if when <= self.world.clock.now():
            return
        future = self.world.loop.create_future()
        timer = self.world.clock.call_at(when, lambda: None if future.done() else future.set_result(None))
        try:
            await future
        finally:
            timer.cancel()

    async def _hold(self, do: Do, label: str, key: str | None, attempt: int) -> tuple[Any, threading.Event]:
        """Begin what a function in a thread does. The clock does not wait for it any more from here on."""
        opened = threading.Event()
        outcome: list[Callable[[], str]] = []
        known = self.world.effects.get(label)
        if not self.alive or (known is not None and known.cancelled_in is self):
            opened.set()  # the thread began just before its call was cancelled
            return _cut_off, opened
        effect = await self._begin(label, key, attempt)
        ends_at, fails = effect.attempt(do, self.world.clock.now())

        def let_go(result: Callable[[], str]) -> None:
            if not outcome:
                outcome.append(result)
                with Held._counting:
                    Held.count -= 1
                opened.set()

        def over() -> None:
            error: list[Boom] = []
            value = ""
            try:
                value = self._finish(effect, do, fails=fails)
            except Boom as failure:
                error.append(failure)
            let_go(lambda: _raised(error) or value)

        with Held._counting:
            Held.count += 1
        self.world.clock.call_at(ends_at, over)
        effect.held.append(lambda: let_go(_cut_off))
        return lambda: outcome[0](), opened  # noqa: PLW0108  # there is none yet

    def _finish(self, effect: Effect, do: Do, *, fails: bool) -> str:
        if fails:
            effect.running = None
            raise Boom(f"boom:{effect.label}")
        self._ends(effect, thread=do.thread)
        if do.dies:
            raise Fatal(f"boom:{effect.label}")
        return f"did:{effect.label}"

    def _ends(self, effect: Effect, *, thread: bool = False) -> None:
        if not self.alive:
            return
        self.world.tell(f"{self.instance}: {effect.label} ends")
        effect.running = None
        if effect.ended == "was cancelled" and not thread:
            self.world.problems.append(f"step {effect.label} goes on to its end, though it was cancelled")
        effect.done = True


def _config(retry_ms: int) -> dict[str, Any]:
    delay = timedelta(milliseconds=retry_ms)

    def delay_after(context: Any) -> timedelta:
        return delay if isinstance(context.error, Boom) else timedelta(0)  # at once after an attempt that was cut off

    retries = {"limit": 1000, "delay": delay_after, "backoff": "constant", "non_retryable": (Fatal,)}
    return {"retries": retries, "timeout": "365 days"}


def _cut_off() -> str:
    raise _CutOff


def _raised(error: list[Boom]) -> None:
    if error:
        raise error.pop()


async def _first(doing: Awaitable[Any], ending: Awaitable[Any]) -> None:
    """Do something, but only until something else is over."""
    tasks = [asyncio.ensure_future(doing), asyncio.ensure_future(ending)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.wait(tasks)
    if tasks[0] in done:
        await tasks[0]


@contextlib.contextmanager
def _quiet(told: Callable[[str], None] | None) -> Iterator[list[str]]:
    """Keep errors that the engine logs, and do without the collector until a program is over."""
    messages: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger, handler = logging.getLogger("everstep"), Kept(logging.ERROR)
    before, asyncio_before = logger.propagate, logging.getLogger("asyncio").level
    logger.addHandler(handler)
    logger.propagate = told is not None
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
        logging.getLogger("asyncio").setLevel(asyncio_before)


# What is known about the inside of the engine and the store


class Tap:
    """Counts what an engine asks its store to write, and ends a life at one of these records.

    A machine that crashes writes nothing more from that very moment on; `hit` is set, and the caller does the rest.
    """

    def __init__(self, machine: Machine, interruption: Interruption | None, power_off: Callable[[], None]) -> None:
        self.hit = asyncio.Event()
        self.count = 0
        self._off = False
        self._interruption, self._power_off = interruption, power_off
        self._loop = asyncio.get_running_loop()
        self._group: Any = machine.engine.store._group  # type: ignore[attr-defined]
        self._submit_really, self._commit_really = self._group.submit, self._group._commit
        self._group.submit, self._group._commit = self._submit, self._commit
        self._last: Any = None

    def remove(self) -> None:
        """Count no more. A machine that is off stays off."""
        if not self._off:
            self._group.submit, self._group._commit = self._submit_really, self._commit_really

    def _submit(self, operation: Any, *, awaited: bool = True, answer: Any = None) -> Any:
        self.count += 1
        at = self._interruption
        if at is not None and self.count == at.record:
            if at.how == "crash" and not at.lost:
                self._last = operation
            else:
                self._end(crashed=at.how == "crash")
        if self._off:
            return answer or self._loop.create_future()  # nobody will ever answer
        return self._submit_really(operation, awaited=awaited, answer=answer)

    def _commit(self, operations: Any) -> list[Any]:
        if self._off:
            raise RuntimeError("the machine is off")
        answers: list[Any] = self._commit_really(operations)
        if self._last is not None and any(one is self._last for one in operations):
            self._end(crashed=True)
        return answers

    def _end(self, *, crashed: bool) -> None:
        if crashed:
            self._off = True
            self._power_off()
            self._group._pending.clear()
        self._loop.call_soon_threadsafe(self.hit.set)


def in_memory(machine: Machine) -> dict[str, int]:
    """The keys of the instances in memory by their ids, in the order of their creation."""
    engine: Any = machine.engine
    return {one.instance.id: one.pk for one in sorted(engine.cache.all(), key=lambda one: one.pk)}


def evict(machine: Machine, pk: int) -> None:
    """Put an instance away, attempts in flight included, and let it go on from what is on disk."""
    machine.engine.make_due(pk)


def key_of(ctx: Any, *, inner: bool = False) -> str | None:
    """The idempotency key of a step's attempt, or what it will be made of; steps of steps have none before that."""
    if (key := getattr(ctx, "idempotency_key", None)) is not None:
        return str(key)
    return None if inner else f"{ctx.instance_id}/{ctx.step.name}/{ctx.step.count}"


def recorded(path: Path) -> set[str]:
    """The labels of the steps whose end is on disk."""
    rows = _rows(path, "select coalesce(result, '') || coalesce(error, '') from step where ended_at is not null")
    return {label for (text,) in rows for label in re.findall(r"(?:did|boom):(\d+(?:\.\d+)?)", text)[:1]}


def events_sent(path: Path) -> int:
    """How many events were ever on disk, taken or not."""
    return sum(count for (count,) in _rows(path, "select seq from sqlite_sequence where name = 'event'"))


def _rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    import sqlite3

    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()
