"""A disk that survives crashes, and a store on it that is slow, refuses, loses answers and is cut off, by a seed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any, Literal, TypeAlias

from everstep.core.errors import StoreUnavailableError
from everstep.store.protocol import NewInstance
from everstep.store.sqlite.batch import ChangeRows, WriteBatch
from everstep.store.sqlite.connection import connect
from everstep.store.sqlite.group_commit import INLINE_SECONDS, Sizes
from everstep.store.sqlite.schema import migrate
from everstep.store.sqlite.store import _SQL, SqliteStore
from everstep.store.sqlite.writer_thread import Work

CutAt: TypeAlias = Literal["before", "after"]
"""When the machine dies: before a commit, or after it and before anybody has heard of it."""
QUICK_SECONDS = INLINE_SECONDS / 4
"""What a commit takes while the disk is quick: so many in a turn of the loop that it gets its turn now and then."""
SLOW_SECONDS = INLINE_SECONDS * 6
"""What it takes now and then on some disks: two in a row, and groups are left to the writer for a while."""


class Faults:
    """What goes wrong, by a seed: nothing in this one. Counts commits."""

    def __init__(self) -> None:
        self.commits = 0
        self.peace = False

    def verb(self) -> CutAt | None:
        """Whether a verb that a client asked for fails, and whether it has happened all the same."""
        return None

    def delay(self) -> float:
        """How many seconds until the writer goes on, or the loop hears of it; 0 is the next turn."""
        return 0.0

    def sizes(self) -> Sizes:
        """From which size on groups of this machine go another way."""
        return Sizes()

    def seconds(self) -> float:
        """How long a commit seems to take: whether the next one is made on the loop depends on it."""
        return QUICK_SECONDS

    def refuses(self, now: float) -> bool:
        """Whether the disk takes nothing at this moment."""
        return False

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

    def cut(self) -> CutAt | None:
        if self.peace or self._rng.random() >= self._cutting:
            return None
        return self._rng.choice(("before", "after"))


class SeededDiskFaults(SeededFaults):
    """What happens to a machine, and to its disk."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._hesitating = rng.choice((0.0, 0.05, 0.3))
        self._refusing = rng.choice((0.0, 0.0, 0.02))
        self._refuses_until = 0.0

    def sizes(self) -> Sizes:
        inline = self._rng.choice((1, 2, 4, 16))
        return Sizes(early=self._rng.choice((2, 4, 128)), inline=inline, most=self._rng.choice((inline, 512)))

    def seconds(self) -> float:
        return SLOW_SECONDS if self._rng.random() < self._hesitating else QUICK_SECONDS

    def refuses(self, now: float) -> bool:
        if self.peace:
            return False
        if now >= self._refuses_until and self._rng.random() < self._refusing:
            self._refuses_until = now + self._rng.choice((0.0, self._rng.uniform(0.1, 4), self._rng.uniform(5, 60)))
            return True
        return now < self._refuses_until


class Disk:
    """What a crash leaves: a database, in memory as nothing here depends on a real disk."""

    def __init__(self) -> None:
        self.connection = connect(":memory:")
        migrate(self.connection, Path("simulated"))

    def rows(self, sql: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Look at what is written."""
        return self.connection.execute(sql, arguments)

    def seeded_faults(self, rng: random.Random) -> SeededFaults:
        return SeededDiskFaults(rng)

    def store(
        self, faults: Faults, *, committed: Callable[[list[str]], None], cut_off: Callable[[], None]
    ) -> SimulatedStore:
        """Return the store that a machine has on this disk."""
        return SimulatedStore(self, faults, committed=committed, cut_off=cut_off)

    def died(self) -> None:
        """See to what is known of a machine that is off, before the next one starts."""


class SimulatedWriter:
    """The writer's thread as callbacks of the loop: its work goes on after a drawn delay, and so is the loop told."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._told: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._work: Work

    def start(self, work: Work) -> None:
        self._work = work

    def wake(self) -> None:
        self._later(0.0, self._go_on, self._work())

    def call_on_loop(self, callback: Callable[..., None], *arguments: Any) -> None:
        self._told.append((callback, arguments))
        if len(self._told) == 1:
            self._later(0.0, self._tell_one)

    async def stop(self) -> None:
        """Nothing was left: a group commit stops its writer when that is idle."""

    def _later(self, seconds: float, then: Callable[..., None], *arguments: Any) -> None:
        loop = asyncio.get_running_loop()
        if seconds := seconds + self._faults.delay():
            loop.call_later(seconds, then, *arguments)
        else:
            loop.call_soon(then, *arguments)

    def _go_on(self, work: Iterator[float]) -> None:
        seconds = next(work, None)
        if seconds is not None:
            self._later(seconds, self._go_on, work)

    def _tell_one(self) -> None:
        """Tell one thing at a time: what follows on an answer keeps its place before what follows on the next."""
        callback, arguments = self._told[0]
        callback(*arguments)
        self._told.popleft()
        if self._told:
            self._later(0.0, self._tell_one)


class MachineDied(BaseException):
    """Ends whoever makes a commit of a machine that is off. No error: nothing on that machine may take it for one."""


class SimulatedStore(SqliteStore):
    """The SQLite store as one engine has it, its group commit included, on a simulated disk and without a thread.

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
        self._spent = 0.0  # on commits, of which the loop's time knows nothing
        self._asked = ""
        self.off = False
        self.released = False

    @contextlib.contextmanager
    def alive(self, _: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Be used for as long as its machine lives."""
        yield

    @property
    def idle(self) -> bool:
        """Whether everything that was asked for is done, and heard of."""
        return self._group is None or self._group.idle

    async def open(self) -> None:
        self._writer = self._reader = self._disk.connection
        [(block,)] = self._writer.execute(_SQL["next_position_block"])
        self._positions: Iterator[int] = itertools.count(block << 32)
        self._batches = WriteBatch(_SQL, self._positions)
        self._group = self._group_commit(
            writer=SimulatedWriter(self._faults), clock=self._clock, sizes=self._faults.sizes()
        )

    def create(self, new: NewInstance) -> asyncio.Future[int]:
        """Queue it at once, as the store does; what clients ask for may fail, children are the engine's own affair."""
        fault = self._faults.verb() if new.parent is None else None
        if fault == "before":
            refused = asyncio.get_running_loop().create_future()
            refused.set_exception(StoreUnavailableError("create was refused"))
            return refused
        created = super().create(new)
        return asyncio.ensure_future(_lost(created)) if fault == "after" else created

    async def release(self, *, now: int) -> None:
        self._asked = "release"
        await super().release(now=now)
        self.released = True  # unless the disk was in trouble for too long

    async def close(self) -> None:
        if self._group is not None:
            await self._group.close()
        self.off = True

    async def _read_in_thread(
        self, make: Callable[[tuple[Any, ...]], Any], query: str, arguments: Any = ()
    ) -> list[Any]:
        return [make(row) for row in self._read(query, arguments)]

    def _clock(self) -> float:
        return asyncio.get_running_loop().time() + self._spent

    def _submit(self, operation: Any, *, awaited: bool = True) -> asyncio.Future[Any]:
        if self.off:
            nobody = asyncio.get_running_loop().create_future()
            nobody.cancel()
            return nobody
        if isinstance(operation, FunctionType):
            operation.asked = self._asked  # type: ignore[attr-defined]  # for the record
        return super()._submit(operation, awaited=awaited)

    def _commit(self, operations: Sequence[Any]) -> list[Any]:
        if self.off:
            raise MachineDied
        self._spent += self._faults.seconds()
        if self._faults.refuses(asyncio.get_running_loop().time()):
            raise StoreUnavailableError("the disk takes nothing")
        self._faults.commits += 1
        cut = self._faults.cut()
        answers: list[Any] = []
        if cut != "before":
            answers = super()._commit(operations)
            self._committed([_in_words(operation) for operation in operations])
        if cut is not None:
            self.off = True
            self._cut_off()
            raise MachineDied
        return answers


def _fallible(name: str) -> Callable[..., Any]:
    """Let a verb that clients ask for fail: before anything happened, or after."""
    verb = getattr(SqliteStore, name)

    async def ask(self: SimulatedStore, *arguments: Any, **more: Any) -> Any:
        fault = self._faults.verb()
        if fault == "before":
            raise StoreUnavailableError(f"{name} was refused")
        self._asked = f"{name} {arguments[1]}"
        answer = await verb(self, *arguments, **more)
        if fault == "after":
            raise StoreUnavailableError(f"the answer to {name} was lost")
        return answer

    return ask


async def _lost(created: asyncio.Future[int]) -> int:
    await created
    raise StoreUnavailableError("the answer to create was lost")


def _named(name: str) -> Callable[..., Any]:
    """Say what is asked for, for the record."""
    verb = getattr(SqliteStore, name)

    async def ask(self: SimulatedStore, *arguments: Any, **more: Any) -> Any:
        self._asked = f"{name} {arguments[1]}" if name == "delete" else name
        return await verb(self, *arguments, **more)

    return ask


for _name in ("recover", "claim", "delete", "expire"):
    setattr(SimulatedStore, _name, _named(_name))
for _name in ("send_event", "pause", "resume", "terminate", "begin_rollback", "restart"):
    setattr(SimulatedStore, _name, _fallible(_name))


def _in_words(operation: Any) -> str:
    if isinstance(operation, NewInstance):
        return f"create {operation.id}"
    if isinstance(operation, ChangeRows):
        steps = [f"{row[2]} {row[3]} {row[5]}#{row[6]}" for row in operation.steps]
        moved = [f"{operation.instance[1]} due {operation.instance[2]}"] if operation.instance else []
        return f"write {operation.pk}: " + ", ".join(steps + moved)
    return getattr(operation, "asked", "something")
