"""The order in which operations reach the database: those on the same instance one after another, others side by side.

Groups gather while the groups before them are on their way; there is no window. Knows nothing of SQL.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from everstep.core.errors import LeaseLostError, StoreConflictError, StoreError, StoreUnavailableError
from everstep.core.log_throttle import Reminders
from everstep.store.postgres.batch import Birth, Rows
from everstep.store.retry import PATIENCE_SECONDS, Retry

log = logging.getLogger("everstep.store")

MAX_GROUP = 512
_LOOK_SECONDS = 0.05
GROUPS_IN_FLIGHT = 2
"""On two connections a thousand instances get 1.4 times as far as on one, and on four no further (limits.md §5.6)."""

Carry: TypeAlias = Callable[[int, Sequence[Any], object], Awaitable[list[Any]]]
"""Carries operations out on a lane; the object is the same when the same ones are tried again."""


class Verb(Struct, eq=False):
    """An operation that is a transaction of its own.

    Attributes:
        work: What it does.
        kept: Whether it must be carried out in the end. Who asked from outside hears of trouble that lasts instead.
        first: Looks whether there is anything to do at all; an answer other than None is the verb's.
    """

    work: Callable[..., Awaitable[Any]]
    kept: bool = False
    first: Callable[..., Awaitable[Any]] | None = None


class _Entry:
    __slots__ = ("everything", "future", "keys", "operation")

    def __init__(self, operation: Any, keys: Sequence[Hashable] | None, future: asyncio.Future[Any]) -> None:
        self.operation = operation
        self.everything = keys is None
        self.keys: Sequence[Hashable] = keys or ()
        self.future = future


class Road:
    """The one queue through which everything that changes the store goes.

    Args:
        carry: Carries out a group of `Rows` and `Birth`s, or one `Verb`.
        lanes: How many connections write.
        lost: Called when the lease is lost; what is not a change of an instance is tried again once it returns.
    """

    def __init__(self, carry: Carry, *, lanes: int, lost: Callable[[], Awaitable[None]]) -> None:
        self._carry = carry
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._free = list(range(lanes, 0, -1))
        self._pending: deque[_Entry] = deque()
        self._in_flight: dict[Hashable, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._groups = 0
        self._verbs = 0
        self._alone = False
        self._scheduled = False
        self._closing = False
        self._leaving = False
        self.trouble: str | None = None
        self._trouble_since = 0.0
        self._reminders = Reminders()
        self._conflicts = Reminders()
        self._heard_at = time.monotonic()  # from the database, or when the road was empty

    @property
    def busy(self) -> bool:
        """Whether anything is queued or on its way."""
        return bool(self._pending or self._tasks or self._scheduled)

    def submit(self, operation: Any, keys: Sequence[Hashable] | None) -> asyncio.Future[Any]:
        """Queue an operation on what `keys` stand for, or on everything; the future is done once it is on disk."""
        if self._closing:
            raise StoreError("the store is closed")
        if not self.busy:
            self._heard_at = time.monotonic()
        future: asyncio.Future[Any] = self._loop.create_future()
        self._pending.append(_Entry(operation, keys, future))
        self._verbs += type(operation) is Verb
        self._schedule()
        return future

    def withdraw(self, pk: int) -> None:
        """Forget what an instance has queued: its changes, and its children to create."""
        for entry in [entry for entry in self._pending if _asked_by(entry.operation) == pk]:
            self._pending.remove(entry)
            entry.future.cancel()

    async def close(self) -> bool:
        """Carry out what is queued; return whether the database was silent for longer than patience lasts.

        What it has not answered by then is given up: the next start takes the instances for cut off.
        """
        self._leaving = True
        while self.busy and not self.silent:  # noqa: ASYNC110  # once, at the end
            await asyncio.sleep(0.002)
        silent, self._closing = self.silent, True
        await self._abandon()
        return silent

    @property
    def silent(self) -> bool:
        """Whether the database has answered nothing of what was asked of it for longer than patience lasts."""
        return self.busy and time.monotonic() - self._heard_at >= PATIENCE_SECONDS

    async def in_time(self, asked: asyncio.Future[Any]) -> Any:
        """Wait for an answer as long as the database answers anything at all: one that is frozen does not say so.

        Raises:
            StoreUnavailableError: once it is silent.
        """
        while not asked.done() and not self.silent:
            await asyncio.wait([asked], timeout=_LOOK_SECONDS)
        if not asked.done():
            asked.cancel()
            raise StoreUnavailableError(f"the database has not answered for {PATIENCE_SECONDS:g} seconds")
        return asked.result()

    async def _abandon(self) -> None:
        """Give up what is still under way."""
        _answer(self._pending, [_closed_unanswered()] * len(self._pending))
        self._pending.clear()
        under_way = list(self._tasks)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    def _schedule(self) -> None:
        full = self._groups >= GROUPS_IN_FLIGHT and not self._verbs  # what gathers meanwhile need not be looked at
        if not (self._scheduled or self._alone or full) and self._free:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        while self._free and self._pending and not self._alone:
            entries = self._take()
            if not entries:
                return
            self._verbs -= type(entries[0].operation) is Verb
            lane = self._free.pop()
            in_flight = self._in_flight
            for entry in entries:
                for key in entry.keys:
                    in_flight[key] = in_flight.get(key, 0) + 1
            task = self._loop.create_task(self._travel(lane, entries))
            self._tasks.add(task)

    def _take(self) -> list[_Entry]:
        """Take the next operations that meet nobody on the road, in their order."""
        taken: list[_Entry] = []
        skipped: list[_Entry] = []
        blocked: set[Hashable] = set()
        pending, in_flight = self._pending, self._in_flight
        groups_full = self._groups >= GROUPS_IN_FLIGHT
        while pending and len(taken) < MAX_GROUP:
            entry = pending[0]
            if entry.everything:
                if not (taken or skipped or self._tasks):
                    pending.popleft()
                    self._alone = True
                    return [entry]
                break
            pending.popleft()
            keys, verb = entry.keys, type(entry.operation) is Verb
            waits = taken if verb else groups_full
            if waits or not (blocked.isdisjoint(keys) and in_flight.keys().isdisjoint(keys)):
                skipped.append(entry)
                blocked.update(keys)
                if len(skipped) > MAX_GROUP:
                    break
                continue
            taken.append(entry)
            if verb:
                break
            if type(entry.operation) is Rows and (entry.operation.move is not None or entry.operation.restored):
                blocked.update(keys)  # what comes after a move, or an event given back, is written after it
        pending.extendleft(reversed(skipped))
        if taken and type(taken[0].operation) is not Verb:
            self._groups += 1
        return taken

    async def _travel(self, lane: int, entries: list[_Entry]) -> None:
        group = type(entries[0].operation) is not Verb
        alone = entries[0].everything
        keys = [key for entry in entries for key in entry.keys]
        try:
            await self._carry_persistently(lane, entries)
        except asyncio.CancelledError:
            _answer(entries, [_closed_unanswered()] * len(entries))
            raise
        finally:
            for key in keys:
                if (others := self._in_flight[key] - 1) > 0:
                    self._in_flight[key] = others
                else:
                    del self._in_flight[key]
            self._groups -= group
            self._alone = self._alone and not alone
            self._free.append(lane)
            self._tasks.discard(asyncio.current_task())
            if self._pending:
                self._schedule()

    async def _carry_persistently(self, lane: int, entries: list[_Entry]) -> None:
        token, lost, retry = object(), False, Retry(patience=PATIENCE_SECONDS)
        doubt: StoreUnavailableError | None = None
        while entries or lost:
            try:
                if lost:  # in here, as the database may be in trouble when we want to register anew
                    await self._lost()
                    lost = False
                answers = await self._carry(lane, [entry.operation for entry in entries], token) if entries else []
            except LeaseLostError as error:
                # Whose instances were lost, is told so; the rest is tried again by the worker that we are from then on.
                entries = self._without(entries, error, keep=lambda one: type(one) is not Rows)
                if doubt is not None:  # its receipt is gone with the lane: done twice is worse than not known
                    entries = self._without(entries, doubt, keep=_is_harmless_twice)
                lost = True
            except StoreConflictError as error:
                pause = retry.failed()
                entries = self._lose(entries, error, for_good=retry.exhausted)
                await asyncio.sleep(pause)
            except StoreUnavailableError as error:
                doubt = error
                self._tell_trouble(error)
                pause = retry.failed()
                if time.monotonic() - self._trouble_since >= PATIENCE_SECONDS:
                    entries = self._gives_up(entries, error)
                    lost = lost and bool(entries)  # with nothing to carry out, the next beat registers as well
                await asyncio.sleep(pause)
            except Exception as error:  # noqa: BLE001  # its waiter hears of it
                await self._refused(lane, entries, error)
                return
            else:
                self._answered(entries, answers)
                return

    def _answered(self, entries: list[_Entry], answers: list[Any]) -> None:
        self._heard_at = time.monotonic()
        if self.trouble is not None:
            log.warning("the database answers again")
            self.trouble = None
            self._reminders.over()
        _answer(entries, answers)

    def _lose(self, entries: list[_Entry], error: StoreConflictError, *, for_good: bool) -> list[_Entry]:
        """Tell of a transaction that lost to another one; return what is to be tried again.

        Only these operations are concerned: the database answers, and carries out others meanwhile.
        """
        self._heard_at = time.monotonic()
        if self._conflicts.due(time.monotonic()):
            log.warning("a transaction lost to another one: %s; trying again", error)
        return self._without(entries, error, keep=lambda one: not for_good or (_is_kept(one) and not self._leaving))

    async def _refused(self, lane: int, entries: list[_Entry], error: Exception) -> None:
        """See that what the database refuses fails alone: it does not say which of a group that is."""
        self._heard_at = time.monotonic()
        if len(entries) == 1:
            _answer(entries, [error])
            return
        middle = len(entries) // 2
        await self._carry_persistently(lane, entries[:middle])
        await self._carry_persistently(lane, entries[middle:])

    def _tell_trouble(self, error: Exception) -> None:
        if self.trouble is None:
            self._trouble_since = time.monotonic()
        self.trouble = str(error)
        if self._reminders.due(time.monotonic()):
            log.warning("cannot write: %s; nothing is acknowledged meanwhile, trying again until it is", error)

    def _gives_up(self, entries: list[_Entry], error: Exception) -> list[_Entry]:
        """Withdraw what need not be carried out once the trouble lasts, everywhere; return what stays."""
        waiting = self._without(list(self._pending), error, keep=_is_kept)
        self._pending.clear()
        self._pending.extend(waiting)
        self._verbs = sum(type(entry.operation) is Verb for entry in waiting)
        entries = self._without(entries, error, keep=_is_kept)
        if self._leaving:
            _answer([*entries, *self._pending], [error] * (len(entries) + len(self._pending)))
            self._pending.clear()
            self._verbs = 0
            return []
        return entries

    @staticmethod
    def _without(entries: list[_Entry], error: Exception, *, keep: Callable[[Any], bool]) -> list[_Entry]:
        gone = [entry for entry in entries if not keep(entry.operation)]
        _answer(gone, [error] * len(gone))
        return [entry for entry in entries if keep(entry.operation)]


def _asked_by(operation: Any) -> int | None:
    """The instance whose code leads to an operation; None for what is asked from outside."""
    if type(operation) is Birth:
        return operation.new.parent
    return operation.pk if type(operation) is Rows else None


def _is_harmless_twice(operation: Any) -> bool:
    """Whether nobody sees that it is done twice: what the engine itself asks for, and births, which know their own."""
    return type(operation) is not Verb or operation.kept


def _is_kept(operation: Any) -> bool:
    """Whether it is the engine's own affair: an instance's code never hears of trouble that passes."""
    if type(operation) is Birth:
        return operation.new.parent is not None
    return type(operation) is Rows or (type(operation) is Verb and operation.kept)


def _closed_unanswered() -> StoreUnavailableError:
    return StoreUnavailableError("the store was closed before the database answered")


def _answer(entries: Iterable[_Entry], answers: Sequence[Any]) -> None:
    for entry, answer in zip(entries, answers, strict=True):
        future = entry.future
        if future.done():  # its waiter was cancelled; what it asked for happened all the same
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
