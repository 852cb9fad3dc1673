"""A disk that survives crashes, and a store on it that is slow, refuses, loses answers and is cut off, by a seed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeAlias

from everstep.store.batches import Batches, Rows
from everstep.store.driver import StoreUnavailableError, connect
from everstep.store.protocol import NewInstance
from everstep.store.sqlite import _SQL, SqliteStore
from everstep.store.sqlite_schema import migrate

CutAt: TypeAlias = Literal["before", "after"]
"""When the machine dies: before a commit, or after it and before anybody has heard of it."""


class Faults:
    """What goes wrong, by a seed: nothing in this one. Counts commits."""

    def __init__(self) -> None:
        self.commits = 0
        self.peace = False

    def verb(self) -> CutAt | None:
        """Whether a verb that a client asked for fails, and whether it has happened all the same."""
        return None

    def delay(self) -> float:
        """How many seconds until the next commit, or the next answer; 0 is the next turn."""
        return 0.0

    def group(self, waiting: int) -> int:
        """How many of the waiting operations are committed together."""
        return waiting

    def cut(self) -> CutAt | None:
        """Whether the machine dies at this commit."""
        return None


class SeededFaults(Faults):
    """Everything goes wrong now and then, and for a while: then there is peace."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng
        self._failing = rng.choice((0.0, 0.1, 0.3))
        self._cutting = rng.choice((0.0, 0.03, 0.1))
        self._slow = rng.choice((0.0, 0.2, 0.5))
        self._outages = rng.choice((0.0, 0.02))

    def verb(self) -> CutAt | None:
        if self.peace or self._rng.random() >= self._failing:
            return None
        return self._rng.choice(("before", "after"))

    def delay(self) -> float:
        if self.peace:
            return 0.0
        chance = self._rng.random()
        if chance < self._outages:
            return self._rng.uniform(1, 90)
        return self._rng.uniform(0.001, 0.03) if chance < self._outages + self._slow else 0.0

    def group(self, waiting: int) -> int:
        return self._rng.randint(1, waiting)

    def cut(self) -> CutAt | None:
        if self.peace or self._rng.random() >= self._cutting:
            return None
        return self._rng.choice(("before", "after"))


class Disk:
    """What a crash leaves: a database, in memory as nothing here depends on a real disk."""

    def __init__(self) -> None:
        self.connection = connect(":memory:")
        migrate(self.connection, Path("simulated"))

    def rows(self, sql: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Look at what is written."""
        return self.connection.execute(sql, arguments)

    def seeded_faults(self, rng: random.Random) -> SeededFaults:
        return SeededFaults(rng)

    def store(
        self, faults: Faults, *, committed: Callable[[list[str]], None], cut_off: Callable[[], None]
    ) -> SimulatedStore:
        """Return the store that a machine has on this disk."""
        return SimulatedStore(self, faults, committed=committed, cut_off=cut_off)

    def died(self) -> None:
        """See to what is known of a machine that is off, before the next one starts."""


class SimulatedStore(SqliteStore):
    """The SQLite store as one engine has it, with a queue of its own in place of the writer thread.

    Args:
        disk: What is written.
        faults: What goes wrong.
        committed: Told after each commit what it was, in words.
        cut_off: Told that the machine dies.
    """

    def __init__(
        self, disk: Disk, faults: Faults, *, committed: Callable[[list[str]], None], cut_off: Callable[[], None]
    ) -> None:
        super().__init__(Path("simulated"))
        self._disk = disk
        self._faults = faults
        self._committed = committed
        self._cut_off = cut_off
        self._queue: deque[tuple[str, Any, asyncio.Future[Any]]] = deque()
        self._unheard: deque[tuple[asyncio.Future[Any], Any]] = deque()
        self._committing = self._answering = False
        self._asked = ""
        self.off = False
        self.released = True

    @contextlib.contextmanager
    def alive(self, _: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Be used for as long as its machine lives."""
        yield

    @property
    def idle(self) -> bool:
        """Whether everything that was asked for is done, and heard of."""
        return not (self._queue or self._unheard)

    async def open(self) -> None:
        self._writer = self._reader = self._disk.connection
        [(block,)] = self._writer.execute(_SQL["next_block"])
        self._positions: Iterator[int] = itertools.count(block << 32)
        self._batches = Batches(_SQL, self._positions)

    async def close(self) -> None:
        self.off = True

    # The queue: one commit after the other, one answer after the other, both in the order of the questions

    def _submit(self, operation: Any, *, awaited: bool = True) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        if self.off:
            future.cancel()
            return future
        asked, self._asked = self._asked or _in_words(operation), ""
        self._queue.append((asked, operation, future))
        if not self._committing:
            self._committing = True
            self._later(self._commit_some)
        return future

    def _later(self, then: Callable[[], None]) -> None:
        loop, delay = asyncio.get_running_loop(), self._faults.delay()
        if delay:
            loop.call_later(delay, then)
        else:
            loop.call_soon(then)

    def _commit_some(self) -> None:
        self._committing = False
        if self.off:
            return
        group = [self._queue.popleft() for _ in range(self._faults.group(len(self._queue)))]
        self._faults.commits += 1
        cut = self._faults.cut()
        if cut != "before":
            answers = self._commit([operation for _, operation, _ in group])
            self._committed([asked for asked, _, _ in group])
            self._unheard.extend((future, answer) for (_, _, future), answer in zip(group, answers, strict=True))
        if cut is not None:
            self.off = True
            self._cut_off()
            return
        if self._unheard and not self._answering:
            self._answering = True
            self._later(self._answer_one)
        if self._queue and not self._committing:
            self._committing = True
            self._later(self._commit_some)

    def _answer_one(self) -> None:
        """Answer one at a time: what follows on an answer keeps its place before what follows on the next."""
        self._answering = False
        if self.off:
            return
        future, answer = self._unheard.popleft()
        if not future.done():
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        if self._unheard:
            self._answering = True
            self._later(self._answer_one)


def _fallible(name: str) -> Callable[..., Any]:
    """Let a verb that clients ask for fail: before anything happened, or after."""
    verb = getattr(SqliteStore, name)

    async def ask(self: SimulatedStore, *arguments: Any, **more: Any) -> Any:
        new = arguments[0] if isinstance(arguments[0], NewInstance) else None
        by_client = new is None or new.parent is None  # children are created by the engine itself
        fault = self._faults.verb() if by_client else None
        if fault == "before":
            raise StoreUnavailableError(f"{name} was refused")
        self._asked = f"{name} {new.id if new is not None else arguments[1]}"
        answer = await verb(self, *arguments, **more)
        if fault == "after":
            raise StoreUnavailableError(f"the answer to {name} was lost")
        return answer

    return ask


def _named(name: str) -> Callable[..., Any]:
    """Say what is asked for, for the record."""
    verb = getattr(SqliteStore, name)

    async def ask(self: SimulatedStore, *arguments: Any, **more: Any) -> Any:
        self._asked = f"{name} {arguments[1]}" if name == "delete" else name
        return await verb(self, *arguments, **more)

    return ask


for _name in ("recover", "release", "claim", "delete", "expire"):
    setattr(SimulatedStore, _name, _named(_name))
for _name in ("create", "send_event", "pause", "resume", "terminate", "begin_rollback", "restart"):
    setattr(SimulatedStore, _name, _fallible(_name))


def _in_words(operation: Any) -> str:
    if isinstance(operation, Rows):
        steps = [f"{row[2]} {row[3]} {row[5]}#{row[6]}" for row in operation.steps]
        moved = [f"{operation.instance[1]} due {operation.instance[2]}"] if operation.instance else []
        return f"write {operation.pk}: " + ", ".join(steps + moved)
    return "something"
