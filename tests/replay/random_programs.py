"""Programs drawn from a seed, as trees of data, and the workflow code that carries one out.

A tree says what a program does; `Walk` does it, with whatever `step` and `Life` it is given: the engine's in
`test_random_programs.py`, a plain one in `reference.py`. `python -m tests.replay.random_programs SEED` shows one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

GRAIN_MS = 125
"""Every length of time is a multiple of this: an eighth of a second is exact in binary, so sums are exact as well."""
LONGEST_GRAINS = 80_000

CONSTRUCTS = frozenset({"threads", "timers", "nested", "children", "values", "events", "cancellations"})
"""What can be left out: `timers` are asyncio's own (sleep, timeout, wait_for, call_later) in workflow code, `nested`
are steps asked for by a step's function. Plain steps and the ways to run them side by side are always drawn."""


class Boom(Exception):  # noqa: N818  # a name that workflows show
    """A step's own error."""


class Fatal(Boom):
    """A step's own error that is not retried."""


# Leaves


@dataclass(frozen=True)
class Do:
    """A step: `fails` attempts fail, then it returns or, if it `dies`, fails for good. Each attempt takes `ms`."""

    n: int
    name: str
    ms: int
    fails: int = 0
    retry_ms: int = GRAIN_MS
    dies: bool = False
    thread: bool = False


@dataclass(frozen=True)
class Nap:
    """`step.sleep`."""

    n: int
    name: str
    ms: int


@dataclass(frozen=True)
class Wait:
    """`step.wait_for_event`, given up after `ms`."""

    n: int
    name: str
    type: str
    ms: int


@dataclass(frozen=True)
class Value:
    """`step.now()` or `step.random()`, looked at once the step after it has ended."""

    n: int
    kind: Literal["now", "random"]
    then: Do


@dataclass(frozen=True)
class Nested:
    """A step whose function asks for steps; `fails` of its attempts fail after them."""

    n: int
    name: str
    inner: tuple[Do | Nap, ...]
    parallel: bool = False
    fails: int = 0
    retry_ms: int = GRAIN_MS


@dataclass(frozen=True)
class Child:
    """`step.run_workflow`: another instance that carries out `body`."""

    n: int
    name: str
    body: Node


@dataclass(frozen=True)
class Pause:
    """`asyncio.sleep`."""

    n: int
    ms: int


@dataclass(frozen=True)
class Later:
    """A future that `loop.call_later` ends."""

    n: int
    ms: int


@dataclass(frozen=True)
class Yield:
    """`asyncio.sleep(0)`, some times."""

    n: int
    times: int


# What holds other nodes


@dataclass(frozen=True)
class Seq:
    n: int
    body: tuple[Node, ...]


@dataclass(frozen=True)
class Catch:
    """`try` and `except Boom`."""

    n: int
    body: Node


@dataclass(frozen=True)
class Gather:
    """`asyncio.gather`; with `collect`, `return_exceptions=True`."""

    n: int
    branches: tuple[Node, ...]
    collect: bool


@dataclass(frozen=True)
class Group:
    """A `TaskGroup` with `except* Boom`."""

    n: int
    branches: tuple[Node, ...]


@dataclass(frozen=True)
class Race:
    """`asyncio.wait`, and what becomes of those that are not done."""

    n: int
    branches: tuple[Node, ...]
    until: Literal["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"]
    losers: Literal["left", "cancelled", "cancelled and awaited"]
    timeout_ms: int | None = None


@dataclass(frozen=True)
class Completed:
    """`asyncio.as_completed` over coroutines."""

    n: int
    branches: tuple[Node, ...]
    timeout_ms: int | None = None


@dataclass(frozen=True)
class Timeout:
    """`asyncio.timeout`."""

    n: int
    ms: int
    body: Node


@dataclass(frozen=True)
class WaitFor:
    """`asyncio.wait_for`; with `shield`, around `asyncio.shield`, and the body is awaited afterwards or not."""

    n: int
    ms: int
    body: Node
    shield: bool = False
    awaited: bool = False


@dataclass(frozen=True)
class Locked:
    """`async with` a lock that all nodes of this `level` share. Inner nodes have lower levels: no deadlock."""

    n: int
    level: int
    body: Node


@dataclass(frozen=True)
class Slots:
    """Branches that share a semaphore."""

    n: int
    permits: int
    branches: tuple[Node, ...]


@dataclass(frozen=True)
class Pipe:
    """Producers that put what they return into a queue, and one or more consumers that use each item in a step."""

    n: int
    size: int
    producers: tuple[Node, ...]
    consumers: int
    name: str
    uses_ms: tuple[int, ...]


@dataclass(frozen=True)
class Signal:
    """An `asyncio.Event` that is set once the body has ended, and branches that wait for it."""

    n: int
    body: Node
    waiters: tuple[Node, ...]


@dataclass(frozen=True)
class Cancel:
    """A branch that is cancelled after a sleep, if it is not over by then."""

    n: int
    name: str
    after_ms: int
    body: Node


@dataclass(frozen=True)
class Guard:
    """`except CancelledError` with a cleanup step, which raises it again or `swallows` it; `finally` with a step."""

    n: int
    body: Node
    cleanup: Do | None
    swallows: bool
    last: Do | None


@dataclass(frozen=True)
class Behind:
    """Branches that nobody waits for, and a step in front."""

    n: int
    branches: tuple[Node, ...]
    front: Do


@dataclass(frozen=True)
class Stream:
    """An async generator with a step in its `finally`, left after `take` items."""

    n: int
    items: tuple[Node, ...]
    take: int
    last: Do


Node: TypeAlias = Any


@dataclass(frozen=True)
class Event:
    ms: int
    type: str
    payload: int


@dataclass(frozen=True)
class Program:
    nodes: tuple[Node, ...]
    events: tuple[Event, ...] = ()


def inside(node: Any) -> Iterator[Any]:
    """Every node below a node or a program, itself included."""
    yield node
    for field in fields(node):
        value = getattr(node, field.name)
        for one in value if isinstance(value, tuple) else (value,):
            if is_dataclass(one):
                yield from inside(one)


def kinds_of(program: Program) -> set[str]:
    """The names of the classes of its nodes."""
    return {type(node).__name__ for node in inside(program)}


# Drawing


def draw(seed: int | str, constructs: Iterable[str] = CONSTRUCTS, *, tied: bool = False) -> Program:
    """Draw a program.

    Args:
        seed: Decides.
        constructs: What may be drawn besides steps, of `CONSTRUCTS`.
        tied: Draw few short times, so that much happens at the same moment; otherwise all are different.
    """
    return _Drawing(random.Random(f"program {seed}"), frozenset(constructs), tied=tied).program()


class _Drawing:
    def __init__(self, dice: random.Random, constructs: frozenset[str], *, tied: bool) -> None:
        self._dice, self._with, self._tied = dice, constructs, tied
        self._number = 0
        self._left = dice.choice((8, 16, 24, 32))
        self._used: set[int] = set()
        self._names = dice.choice(("a", "a", "ab", "abc"))

    def program(self) -> Program:
        dice = self._dice
        nodes = tuple(self._node(dice.choice((1, 2, 3, 3))) for _ in range(dice.randint(1, 3)))
        count = dice.randint(0, 4) if "events" in self._with else 0
        times = sorted(self._ms() for _ in range(count))
        events = tuple(Event(ms, dice.choice("xy"), number) for number, ms in enumerate(times))
        return Program(nodes, events)

    def _ms(self) -> int:
        """A length of time that no other has. Now and then a short one, as steps within a timeout are."""
        dice = self._dice
        if self._tied:
            return GRAIN_MS * dice.choice((1, 1, 2, 3))
        while (ms := GRAIN_MS * int(LONGEST_GRAINS ** dice.uniform(0.5, 1))) in self._used:
            pass
        self._used.add(ms)
        return ms

    def _n(self) -> int:
        self._number += 1
        return self._number

    def _name(self) -> str:
        return self._dice.choice(self._names)

    def _node(self, depth: int) -> Node:
        self._left -= 1
        if depth <= 0 or self._left <= 0:
            return self._leaf()
        if self._dice.random() < 0.15:
            return self._leaf()
        kinds = ["seq", "seq", "catch", "gather", "gather", "group", "race", "race", "completed", "locked", "locked"]
        kinds += ["slots", "pipe", "signal", "behind", "stream"]
        if "cancellations" in self._with:
            kinds += ["cancel", "cancel", "guard", "guard"]
        if "timers" in self._with:
            kinds += ["timeout", "timeout", "wait_for", "wait_for"]
        return getattr(self, f"_{self._dice.choice(kinds)}")(depth)

    def _leaf(self) -> Node:
        kinds = ["do"] * 8 + ["nap", "yield"]
        kinds += ["wait"] * 2 * ("events" in self._with) + ["value"] * ("values" in self._with)
        kinds += ["nested"] * ("nested" in self._with) + ["child"] * ("children" in self._with)
        kinds += ["pause", "later"] * ("timers" in self._with)
        return getattr(self, f"_{self._dice.choice(kinds)}")()

    def _body(self, depth: int) -> Node:
        return self._node(depth - 1)

    def _branches(self, depth: int, most: int = 4) -> tuple[Node, ...]:
        return tuple(self._body(depth) for _ in range(min(most, self._dice.choice((1, 2, 2, 3, 3, 4)))))

    # Leaves

    def _do(self) -> Do:
        dice = self._dice
        do = Do(self._n(), self._name(), 0 if dice.random() < 0.15 else self._ms())
        if dice.random() < 0.2:
            do = replace(do, fails=dice.randint(1, 2), retry_ms=self._ms())
        if dice.random() < 0.15:
            do = replace(do, dies=True)
        if do.ms and "threads" in self._with and dice.random() < 0.1:
            do = replace(do, thread=True)
        return do

    def _sure(self) -> Do:
        return Do(self._n(), self._name(), 0 if self._dice.random() < 0.15 else self._ms())

    def _nap(self) -> Nap:
        return Nap(self._n(), self._name(), self._ms())

    def _wait(self) -> Wait:
        return Wait(self._n(), self._name(), self._dice.choice("xy"), self._ms())

    def _value(self) -> Value:
        return Value(self._n(), self._dice.choice(("now", "random")), self._sure())

    def _nested(self) -> Nested:
        dice = self._dice
        inner = tuple(dice.choice((self._sure, self._sure, self._do, self._nap))() for _ in range(dice.randint(1, 3)))
        # What failed for good inside begins anew with the outer step's next attempt, at a time of its own.
        inner = tuple(replace(one, dies=False) if isinstance(one, Do) else one for one in inner)
        return Nested(self._n(), self._name(), inner, dice.random() < 0.4, dice.choice((0, 0, 1)), self._ms())

    def _child(self) -> Child:
        self._with, before = self._with - {"children", "events"}, self._with
        try:
            return Child(self._n(), self._name(), self._node(1))
        finally:
            self._with = before

    def _pause(self) -> Pause:
        return Pause(self._n(), self._ms())

    def _later(self) -> Later:
        return Later(self._n(), self._ms())

    def _yield(self) -> Yield:
        return Yield(self._n(), self._dice.randint(1, 4))

    # What holds others

    def _seq(self, depth: int) -> Seq:
        return Seq(self._n(), self._branches(depth, 3))

    def _catch(self, depth: int) -> Catch:
        return Catch(self._n(), self._body(depth))

    def _gather(self, depth: int) -> Gather:
        return Gather(self._n(), self._branches(depth), self._dice.random() < 0.5)

    def _group(self, depth: int) -> Group:
        return Group(self._n(), self._branches(depth))

    def _race(self, depth: int) -> Race:
        dice = self._dice
        until = dice.choice(("FIRST_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"))
        losers = ("left", "cancelled", "cancelled and awaited") if "cancellations" in self._with else ("left",)
        timeout = self._ms() if "timers" in self._with and dice.random() < 0.4 else None
        return Race(self._n(), self._branches(depth), until, dice.choice(losers), timeout)

    def _completed(self, depth: int) -> Completed:
        timeout = self._ms() if "timers" in self._with and self._dice.random() < 0.3 else None
        return Completed(self._n(), self._branches(depth), timeout)

    def _timeout(self, depth: int) -> Timeout:
        return Timeout(self._n(), self._ms(), self._body(depth))

    def _wait_for(self, depth: int) -> WaitFor:
        dice = self._dice
        return WaitFor(self._n(), self._ms(), self._body(depth), dice.random() < 0.4, dice.random() < 0.5)

    def _locked(self, depth: int) -> Locked:
        return Locked(self._n(), depth, self._body(depth))

    def _slots(self, depth: int) -> Slots:
        return Slots(self._n(), self._dice.randint(1, 2), self._branches(depth))

    def _pipe(self, depth: int) -> Pipe:
        dice, producers = self._dice, self._branches(depth, 3)
        uses = tuple(self._ms() for _ in producers)
        return Pipe(self._n(), dice.randint(1, 2), producers, dice.randint(1, 2), self._name(), uses)

    def _signal(self, depth: int) -> Signal:
        return Signal(self._n(), self._body(depth), self._branches(depth, 2))

    def _cancel(self, depth: int) -> Cancel:
        return Cancel(self._n(), self._name(), self._ms(), self._body(depth))

    def _guard(self, depth: int) -> Guard:
        dice = self._dice
        cleanup, last = dice.choice(((True, False), (True, True), (False, True)))
        body, swallows = self._body(depth), dice.random() < 0.3
        return Guard(self._n(), body, self._sure() if cleanup else None, swallows, self._sure() if last else None)

    def _behind(self, depth: int) -> Behind:
        return Behind(self._n(), self._branches(depth, 2), self._sure())

    def _stream(self, depth: int) -> Stream:
        items = self._branches(depth, 3)
        return Stream(self._n(), items, self._dice.randint(1, len(items)), self._sure())


# Carrying out


class Life(Protocol):
    """What the code of one life of one instance tells and is given, besides `step`."""

    kept: list[Any]
    over: bool

    def say(self, *message: Any) -> None:
        """What the code sees, in the order in which it sees it: the same in every life and in the reference."""
        ...

    def note(self, *message: Any) -> None:
        """What the code sees that only another life of the same instance sees as well."""
        ...

    def job(self, do: Do, label: str, *, inner: bool = False) -> tuple[Any, Callable[..., Any]]:
        """The config and the function of a step."""
        ...

    def outer(self, nested: Nested, body: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[Any, Callable[..., Any]]:
        """The config and the function of a step that asks for steps in `body`."""
        ...

    def heard(self, label: str) -> None:
        """The code has heard how a step ended."""
        ...

    def cancelled(self, label: str) -> None:
        """The code has cancelled a step."""
        ...

    def as_completed(self, branches: list[Coroutine[Any, Any, Any]], timeout: float | None) -> Iterable[Any]: ...

    def since_start(self, moment: Any) -> int:
        """Milliseconds from the instance's creation to what `step.now()` gave."""
        ...


CHILD = "random-child"
"""The name of the workflow that carries out the body of a `Child`, whose number is its params."""


class Walk:
    """Carries out a tree, with a `step` and a life."""

    def __init__(self, step: Any, life: Life) -> None:
        self._step, self._life = step, life
        self._locks: dict[int, asyncio.Lock] = {}

    async def program(self, nodes: tuple[Node, ...]) -> list[Any]:
        got = []
        for node in nodes:
            try:
                got.append(await self.node(node))
            except Boom as error:
                got.append(str(error))
            except asyncio.CancelledError:
                if self._life.over:
                    raise
                got.append("cancelled")  # groups and timeouts of Python 3.11 let one through now and then
        return got

    async def node(self, node: Node) -> Any:
        got = await getattr(self, f"_{type(node).__name__.lower()}")(node)
        self._life.say(node.n, got)
        return got

    async def _step_of(self, do: Do, label: str | None = None, *, inner: bool = False) -> Any:
        label, life = label or str(do.n), self._life
        try:
            got = await self._step.do(do.name, *life.job(do, label, inner=inner))
        except asyncio.CancelledError:
            life.cancelled(label)
            raise
        except Boom:
            life.heard(label)
            raise
        life.heard(label)
        return got

    # Leaves

    async def _do(self, node: Do) -> Any:
        return await self._step_of(node)

    async def _nap(self, node: Nap) -> Any:
        return await self._step.sleep(node.name, timedelta(milliseconds=node.ms))

    async def _wait(self, node: Wait) -> Any:
        try:
            event = await self._step.wait_for_event(node.name, node.type, timeout=timedelta(milliseconds=node.ms))
        except TimeoutError:
            return "no event"
        return event.payload

    async def _value(self, node: Value) -> Any:
        value = self._step.now() if node.kind == "now" else self._step.random()
        got = await self._step_of(node.then)
        self._life.note(node.n, value)  # not before: it is on disk with what comes after it
        return [self._life.since_start(value) if node.kind == "now" else 0 <= value < 1, got]

    async def _nested(self, node: Nested) -> Any:
        async def one(inner: Do | Nap) -> Any:
            if isinstance(inner, Nap):
                return await self._nap(inner)
            try:
                return await self._step_of(inner, inner=True)
            except Boom as error:
                return str(error)

        async def body() -> Any:
            if node.parallel:
                return await asyncio.gather(*map(one, node.inner))
            return [await one(inner) for inner in node.inner]

        label = str(node.n)
        try:
            got = await self._step.do(node.name, *self._life.outer(node, body))
        except asyncio.CancelledError:
            self._life.cancelled(label)
            raise
        self._life.heard(label)
        return got

    async def _child(self, node: Child) -> Any:
        return await self._step.run_workflow(node.name, CHILD, node.n)

    async def _pause(self, node: Pause) -> Any:
        return await asyncio.sleep(node.ms / 1000, "paused")

    async def _later(self, node: Later) -> Any:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        timer = loop.call_later(node.ms / 1000, future.set_result, "later")
        try:
            return await future
        finally:
            timer.cancel()

    async def _yield(self, node: Yield) -> Any:
        for _ in range(node.times):
            await asyncio.sleep(0)

    # What holds others

    async def _seq(self, node: Seq) -> Any:
        return [await self.node(one) for one in node.body]

    async def _catch(self, node: Catch) -> Any:
        try:
            return await self.node(node.body)
        except Boom as error:
            return str(error)

    async def _gather(self, node: Gather) -> Any:
        got = await asyncio.gather(*map(self.node, node.branches), return_exceptions=node.collect)
        return [*map(_plain, got)]

    async def _group(self, node: Group) -> Any:
        got: Any = []
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self.node(one)) for one in node.branches]
        except* Boom as errors:
            got = sorted(map(str, errors.exceptions))
        else:
            got = [task.result() for task in tasks]
        return got

    async def _race(self, node: Race) -> Any:
        tasks = self._tasks(node.branches)
        timeout = None if node.timeout_ms is None else node.timeout_ms / 1000
        done, pending = await asyncio.wait(set(tasks), timeout=timeout, return_when=node.until)
        self._life.note(node.n, "done, in the order of the set", [tasks.index(one) for one in done])
        won = sorted(map(tasks.index, done))
        self._life.say(node.n, "won", won)
        if node.losers != "left":
            for one in pending:
                one.cancel()
        if pending and node.losers == "cancelled and awaited":
            await asyncio.wait(pending)
            return [won, *map(_outcome, tasks)]
        return [won, *(_outcome(tasks[index]) for index in won)]

    async def _completed(self, node: Completed) -> Any:
        got: list[Any] = []
        timeout = None if node.timeout_ms is None else node.timeout_ms / 1000
        for coming in self._life.as_completed([self.node(one) for one in node.branches], timeout):
            try:
                got.append(await coming)
            except Boom as error:
                got.append(str(error))
            except TimeoutError:
                got.append("late")
            self._life.say(node.n, "completed", got[-1])
        return got

    async def _timeout(self, node: Timeout) -> Any:
        try:
            async with asyncio.timeout(node.ms / 1000):
                return await self.node(node.body)
        except TimeoutError:
            return "late"

    async def _waitfor(self, node: WaitFor) -> Any:
        if not node.shield:
            try:
                return await asyncio.wait_for(self.node(node.body), node.ms / 1000)
            except TimeoutError:
                return "late"
        [task] = self._tasks((node.body,))
        try:
            return await asyncio.wait_for(asyncio.shield(task), node.ms / 1000)
        except TimeoutError:
            self._life.say(node.n, "not yet")
            return await task if node.awaited else "left"

    async def _locked(self, node: Locked) -> Any:
        async with self._locks.setdefault(node.level, asyncio.Lock()):
            self._life.say(node.n, "locked")
            return await self.node(node.body)

    async def _slots(self, node: Slots) -> Any:
        slots = asyncio.Semaphore(node.permits)

        async def one(branch: Node) -> Any:
            async with slots:
                self._life.say(branch.n, "has a slot")
                return await self.node(branch)

        return [*map(_plain, await asyncio.gather(*map(one, node.branches), return_exceptions=True))]

    async def _pipe(self, node: Pipe) -> Any:
        queue: asyncio.Queue[Any] = asyncio.Queue(node.size)
        taken = 0

        async def produce(branch: Node) -> None:
            try:
                item = await self.node(branch)
            except Boom as error:
                item = str(error)
            await queue.put(item)

        async def consume() -> list[Any]:
            nonlocal taken
            used = []
            while taken < len(node.producers):
                number, taken = taken, taken + 1
                item = await queue.get()
                self._life.say(node.n, "takes", number, item)
                use = Do(node.n, node.name, node.uses_ms[number])
                used.append([item, await self._step_of(use, f"{node.n}.{number}")])
            return used

        producing = [asyncio.create_task(produce(one)) for one in node.producers]
        self._life.kept.extend(producing)
        return await asyncio.gather(*(consume() for _ in range(node.consumers)))

    async def _signal(self, node: Signal) -> Any:
        signal = asyncio.Event()

        async def body() -> Any:
            try:
                return await self.node(node.body)
            finally:
                signal.set()

        async def waiter(branch: Node) -> Any:
            await signal.wait()
            self._life.say(branch.n, "goes on")
            return await self.node(branch)

        got = await asyncio.gather(body(), *map(waiter, node.waiters), return_exceptions=True)
        return [*map(_plain, got)]

    async def _cancel(self, node: Cancel) -> Any:
        [task] = self._tasks((node.body,))
        await self._step.sleep(node.name, timedelta(milliseconds=node.after_ms))
        self._life.say(node.n, "cancels", task.cancel())
        await asyncio.wait((task,))
        return _outcome(task)

    async def _guard(self, node: Guard) -> Any:
        try:
            return await self.node(node.body)
        except asyncio.CancelledError:
            self._life.say(node.n, "cleans")
            if node.cleanup is not None:
                await self.node(node.cleanup)
            if not node.swallows:
                raise
            return "cleaned"
        finally:
            if node.last is not None:
                await self.node(node.last)

    async def _behind(self, node: Behind) -> Any:
        self._tasks(node.branches)
        return await self._step_of(node.front)

    async def _stream(self, node: Stream) -> Any:
        async def items() -> AsyncIterator[Any]:
            try:
                for one in node.items:
                    yield await self.node(one)
            finally:
                await self.node(node.last)

        got = []
        async with contextlib.aclosing(items()) as stream:  # type: ignore[type-var]
            async for item in stream:
                got.append(item)
                if len(got) == node.take:
                    break
        return got

    def _tasks(self, branches: tuple[Node, ...]) -> list[asyncio.Task[Any]]:
        tasks = [asyncio.create_task(self.node(one)) for one in branches]
        self._life.kept.extend(tasks)
        for task in tasks:
            task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # nobody may ask
        return tasks


def _plain(got: Any) -> Any:
    if isinstance(got, asyncio.CancelledError):
        return "cancelled"
    return f"{type(got).__name__} {got}" if isinstance(got, BaseException) else got


def _outcome(task: asyncio.Task[Any]) -> Any:
    if not task.done():
        return "not done"
    return "cancelled" if task.cancelled() else _plain(task.exception() or task.result())


# By hand


def chosen_constructs() -> frozenset[str]:
    """`EVERSTEP_REPLAY_CONSTRUCTS`: names that are drawn, or names with a minus that are not; all by default."""
    names = os.environ.get("EVERSTEP_REPLAY_CONSTRUCTS", "").replace(",", " ").split()
    unknown = {name.removeprefix("-") for name in names} - CONSTRUCTS
    if unknown:
        raise ValueError(f"EVERSTEP_REPLAY_CONSTRUCTS names {sorted(unknown)}; there are {sorted(CONSTRUCTS)}")
    named = {name for name in names if not name.startswith("-")} or CONSTRUCTS
    return frozenset(named - {name[1:] for name in names if name.startswith("-")})


if __name__ == "__main__":
    # By the name that the tests have under pytest: errors are stored with their module's, and this one is __main__.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from replay import test_random_programs

    sys.exit(test_random_programs.show(*map(int, sys.argv[1:])))
