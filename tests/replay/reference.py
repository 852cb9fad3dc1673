"""What a random program does when nothing interrupts it, on plain asyncio: no engine, no journal, no retries by policy.

Time is virtual. Settlements (a step's end, a sleep's, an event, a timer of asyncio) are heard one at a time, each when
nothing else is ready. Where something depends on more than that, as on the order of a set or on which of two things at
the same moment is first, several runs that decide it differently differ, and the expectation is not `certain`.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from .random_programs import Boom, Child, Do, Fatal, Nested, Program, Walk, inside

_ROUNDS_TO_DIE = 200


class StuckError(Exception):
    """Nothing will ever happen again, and the program has not ended."""


@dataclass
class Expected:
    """What must come out: `trace` is what the code saw, with the milliseconds since the start, `done` the labels of the
    steps that completed or died in time; `certain` whether all of it follows from the program alone.
    """

    output: Any = None
    trace: list[Any] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    stuck: bool = False
    certain: bool = True

    def same(self, other: Expected) -> bool:
        return (self.output, self.trace, self.done) == (other.output, other.trace, other.done)


@dataclass(frozen=True)
class _Way:
    """How to decide what is not for a program to rely on."""

    sign: int = 1
    """Of the hashes of tasks: the order of sets."""
    at_rest: bool = True
    """Whether things are heard of one at a time, each once nothing else is ready."""
    turns: int = 0
    """Of the loop, from the end of a call to its caller."""
    latest_first: bool = False
    """Whether waits that find their events there are answered before whatever else is over at once, in reverse."""
    latest_last: bool = False
    """Whether they, and children that end at once, are answered after whatever else is over at once."""


_WAYS = (
    _Way(),
    _Way(sign=-1, turns=1),
    _Way(at_rest=False, turns=3),
    _Way(latest_first=True),
    _Way(latest_last=True),
)


def expect(program: Program) -> Expected:
    """Say what must come of a program."""
    expected, *others = (_run(program, way) for way in _WAYS)
    expected.certain = expected.certain and not expected.stuck and all(map(expected.same, others))
    return expected


def _run(program: Program, way: _Way) -> Expected:
    loop = _Loop(way)
    expected = Expected()
    world = _World(loop, program, expected)
    try:
        expected.output = loop.run_until_complete(world.main())
    except StuckError:
        expected.stuck = True
    finally:
        world.over = True
        loop.die()
    expected.certain = not loop.ties
    return expected


class _Task(asyncio.Task[Any]):
    """A task that hashes by the number of its creation."""

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other

    def __init__(self, *args: Any, hash: int, **kwargs: Any) -> None:
        self._hash = hash
        super().__init__(*args, **kwargs)


class _Loop(asyncio.BaseEventLoop):
    """Time jumps to the next timer when nothing is ready and nothing is to be heard. `ties` counts equal moments."""

    def __init__(self, way: _Way) -> None:
        super().__init__()
        self.way = way
        self.ties = 0
        self._seconds = 0.0
        self._made = 0
        self._settlements: deque[Callable[[], None]] = deque()
        self._last: deque[Callable[[], None]] = deque()
        self._held: set[asyncio.Task[Any]] = set()
        self.set_task_factory(self._make)
        self.set_exception_handler(lambda *_: None)

    def _make(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **more: Any) -> asyncio.Task[Any]:
        self._made += 1
        task = _Task(coroutine, loop=loop, hash=self.way.sign * self._made, **more)
        self._held.add(task)
        task.add_done_callback(self._held.discard)
        return task

    def time(self) -> float:
        return self._seconds

    def settle(self, callback: Callable[[], None], *, early: bool = False, child: bool = False) -> None:
        """Let the code hear of something once it is at rest; `early` is an event that came before its wait."""
        if early and self.way.latest_first:
            self._settlements.appendleft(callback)
        elif (early or child) and self.way.latest_last:
            self._last.append(callback)
        elif self.way.at_rest:
            self._settlements.append(callback)
        else:
            self.call_soon(callback)

    def _run_once(self) -> None:
        if not self._ready:
            if self._settlements or self._last:
                (self._settlements or self._last).popleft()()
            else:
                self._jump()
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()

    def _jump(self) -> None:
        due: list[asyncio.TimerHandle] = []
        while self._scheduled and (not due or self._scheduled[0].when() <= self._seconds):
            timer = heapq.heappop(self._scheduled)
            if not timer.cancelled():
                self._seconds = max(self._seconds, timer.when())
                due.append(timer)
        if not due:
            raise StuckError
        self.ties += len(due) > 1
        for timer in due:
            self.settle(lambda timer=timer: None if timer.cancelled() else timer._run())  # type: ignore[misc]

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers leave when their time comes."""

    def _write_to_self(self) -> None:
        """There are no threads."""

    def die(self) -> None:
        """End every task."""
        self._settlements.clear()
        self._last.clear()
        for _ in range(_ROUNDS_TO_DIE):
            if not self._held:
                break
            for task in tuple(self._held):
                task.cancel()
            for _ in range(4):
                self.call_soon(self.stop)
                self.run_forever()
        self.close()


class _Dead(BaseException):
    """Raised in code whose program is over."""


class _World:
    def __init__(self, loop: _Loop, program: Program, expected: Expected) -> None:
        self.loop, self.expected = loop, expected
        self.over = False
        self._program = program
        self._children = {node.n: node for node in inside(program) if isinstance(node, Child)}
        self._inbox: dict[str, deque[int]] = {"x": deque(), "y": deque()}
        self._waiting: dict[str, deque[asyncio.Future[Any]]] = {"x": deque(), "y": deque()}

    async def main(self) -> Any:
        for event in self._program.events:
            self.loop.call_at(event.ms / 1000, self._arrive, event.type, event.payload)
        life = _Life(self, self.expected.trace)
        got = await Walk(_Step(self, life), life).program(self._program.nodes)
        self.over = True
        return got

    async def child(self, number: int) -> Any:
        life = _Life(self, [])
        return await Walk(_Step(self, life), life).program((self._children[number].body,))

    def _arrive(self, type: str, payload: int) -> None:
        waiting = self._waiting[type]
        while waiting:
            future = waiting.popleft()
            if not future.done():
                future.set_result(_Came(payload))
                return
        self._inbox[type].append(payload)

    def event(self, type: str) -> asyncio.Future[Any]:
        """Return what the next event of a type will end: an early one at once."""
        future = self.loop.create_future()
        if self._inbox[type]:
            _end(self.loop, future, _Came(self._inbox[type].popleft()), early=True)
        else:
            self._waiting[type].append(future)
        return future


@dataclass
class _Came:
    payload: int


def _end(loop: _Loop, future: asyncio.Future[Any], got: Any, *, early: bool = False, child: bool = False) -> None:
    def settle() -> None:
        if future.done():
            return
        if isinstance(got, BaseException):
            future.set_exception(got)
        else:
            future.set_result(got)

    loop.settle(settle, early=early, child=child)


class _Life:
    def __init__(self, world: _World, trace: list[Any]) -> None:
        self.kept: list[Any] = []
        self._world, self._trace = world, trace
        self._created = world.loop.time()

    @property
    def over(self) -> bool:
        return self._world.over

    def say(self, *message: Any) -> None:
        if not self._world.over:
            self._trace.append((round(self._world.loop.time() * 1000), *message))

    def note(self, *message: Any) -> None:
        """What is not certain is of no use here."""

    def job(self, do: Do, label: str, *, inner: bool = False) -> tuple[Any, Callable[[], Any]]:
        tries = 0

        async def work() -> str:
            nonlocal tries
            tries += 1
            if do.ms:
                await asyncio.sleep(do.ms / 1000)
            if tries <= do.fails:
                raise Boom(f"boom:{label}")
            self._done(label)
            if do.dies:
                raise Fatal(f"boom:{label}")
            return f"did:{label}"

        return (do.retry_ms, do.thread), work

    def outer(self, nested: Nested, body: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[Any, Callable[[], Any]]:
        tries, got = 0, None

        async def work() -> Any:
            nonlocal tries, got
            tries += 1
            if tries == 1:  # later attempts find the same steps done
                got = await body()
            if tries <= nested.fails:
                raise Boom(f"boom:{nested.n}")
            self._done(str(nested.n))
            return [f"did:{nested.n}", got]

        return (nested.retry_ms, False), work

    def _done(self, label: str) -> None:
        if not self._world.over and self._trace is self._world.expected.trace:  # a child's may go on after its parent
            self._world.expected.done.add(label)

    def heard(self, label: str) -> None: ...

    def cancelled(self, label: str) -> None: ...

    def as_completed(self, branches: list[Coroutine[Any, Any, Any]], timeout: float | None) -> Iterable[Any]:
        return asyncio.as_completed([*map(asyncio.create_task, branches)], timeout=timeout)

    def since_start(self, moment: float) -> int:
        return round((moment - self._created) * 1000)


class _Step:
    """The calls of `WorkflowStep` that programs use."""

    def __init__(self, world: _World, life: _Life) -> None:
        self._world, self._life, self._loop = world, life, world.loop

    async def do(self, name: str, config: tuple[int, bool], fn: Callable[[], Any]) -> Any:
        self._check()
        retry_ms, thread = config
        future = self._loop.create_future()
        work = asyncio.create_task(self._attempts(fn, retry_ms, future))
        try:
            return await self._answer(future)
        except asyncio.CancelledError:
            if not thread:
                work.cancel()
            raise

    async def _attempts(self, fn: Callable[[], Any], retry_ms: int, future: asyncio.Future[Any]) -> None:
        while True:
            try:
                got = await fn()
            except Fatal as error:
                return _end(self._loop, future, error)
            except Boom:
                await asyncio.sleep(retry_ms / 1000)
                if future.cancelled():  # a thread's; it is not begun again
                    return None
            else:
                return _end(self._loop, future, got)

    async def sleep(self, name: str, duration: timedelta) -> None:
        self._check()
        future = self._loop.create_future()
        timer = self._loop.call_later(duration.total_seconds(), lambda: future.done() or future.set_result(None))
        try:
            await self._answer(future)
        finally:
            timer.cancel()

    async def wait_for_event(self, name: str, type: str, *, timeout: timedelta) -> _Came:
        self._check()
        future = self._world.event(type)

        def late() -> None:
            if not future.done():
                future.set_exception(TimeoutError())

        timer = self._loop.call_later(timeout.total_seconds(), late)
        try:
            return await self._answer(future)
        finally:
            timer.cancel()

    async def run_workflow(self, name: str, workflow: str, params: int) -> Any:
        self._check()
        future = self._loop.create_future()
        child = asyncio.create_task(self._world.child(params))
        child.add_done_callback(lambda ended: ended.cancelled() or _end(self._loop, future, ended.result(), child=True))
        return await self._answer(future)

    def now(self) -> float:
        return self._loop.time()

    def random(self) -> float:
        return 0.5

    async def _answer(self, future: asyncio.Future[Any]) -> Any:
        try:
            return await future
        finally:
            for _ in range(0 if self._world.over else self._loop.way.turns):
                await asyncio.sleep(0)

    def _check(self) -> None:
        if self._world.over:
            raise _Dead
