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
from everstep.core.log_throttle import LogThrottle
from everstep.store.postgres.batch import ChangeRows, InstanceInsert
from everstep.store.retry import OUTAGE_TIMEOUT_SECONDS, Retry

log = logging.getLogger("everstep.store")

MAX_GROUP = 512
_POLL_SECONDS = 0.05
GROUPS_IN_FLIGHT = 2
"""On two connections a thousand instances get 1.4 times as far as on one, and on four no further (limits.md §5.6)."""

Execute: TypeAlias = Callable[[int, Sequence[Any], object], Awaitable[list[Any]]]
"""Carries operations out on a writer; the object is the same when the same ones are tried again."""


class TransactionOp(Struct, eq=False):
    """An operation that is a transaction of its own.

    Attributes:
        work: What it does.
        kept: Whether it must be carried out in the end. Who asked from outside hears of trouble that lasts instead.
        first: Looks whether there is anything to do at all; an answer other than None is the verb's.
    """

    work: Callable[..., Awaitable[Any]]
    must_complete: bool = False
    precheck: Callable[..., Awaitable[Any]] | None = None


class _Pending:
    __slots__ = ("exclusive", "future", "keys", "operation")

    def __init__(self, operation: Any, keys: Sequence[Hashable] | None, future: asyncio.Future[Any]) -> None:
        self.operation = operation
        self.exclusive = keys is None
        self.keys: Sequence[Hashable] = keys or ()
        self.future = future


class WritePipeline:
    """The one queue through which everything that changes the store goes.

    Args:
        carry: Carries out a group of `Rows` and `Birth`s, or one `Verb`.
        writers: How many connections write.
        lost: Called when the lease is lost; what is not a change of an instance is tried again once it returns.
    """

    def __init__(self, carry: Execute, *, writers: int, lost: Callable[[], Awaitable[None]]) -> None:
        self._execute = carry
        self._on_lease_lost = lost
        self._loop = asyncio.get_running_loop()
        self._idle_writers = list(range(writers, 0, -1))
        self._pending: deque[_Pending] = deque()
        self._in_flight: dict[Hashable, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._groups = 0
        self._transactions = 0
        self._exclusive = False
        self._scheduled = False
        self._closing = False
        self._closing_soon = False
        self.outage: str | None = None
        self._outage_since = 0.0
        self._outage_log = LogThrottle()
        self._conflict_log = LogThrottle()
        self._last_answer_at = time.monotonic()  # from the database, or when the pipeline was empty

    @property
    def busy(self) -> bool:
        """Whether anything is queued or on its way."""
        return bool(self._pending or self._tasks or self._scheduled)

    def submit(self, operation: Any, keys: Sequence[Hashable] | None) -> asyncio.Future[Any]:
        """Queue an operation on what `keys` stand for, or on everything; the future is done once it is on disk."""
        if self._closing:
            raise StoreError("the store is closed")
        if not self.busy:
            self._last_answer_at = time.monotonic()
        future: asyncio.Future[Any] = self._loop.create_future()
        self._pending.append(_Pending(operation, keys, future))
        self._transactions += type(operation) is TransactionOp
        self._schedule()
        return future

    def discard_queued(self, pk: int) -> None:
        """Forget what an instance has queued: its changes, and its children to create."""
        for entry in [entry for entry in self._pending if _requesting_instance(entry.operation) == pk]:
            self._pending.remove(entry)
            entry.future.cancel()

    async def close(self) -> bool:
        """Carry out what is queued; return whether the database was silent for longer than patience lasts.

        What it has not answered by then is given up: the next start takes the instances for cut off.
        """
        self._closing_soon = True
        while self.busy and not self.unresponsive:  # noqa: ASYNC110  # once, at the end
            await asyncio.sleep(0.002)
        silent, self._closing = self.unresponsive, True
        await self._abandon()
        return silent

    @property
    def unresponsive(self) -> bool:
        """Whether the database has answered nothing of what was asked of it for longer than patience lasts."""
        return self.busy and time.monotonic() - self._last_answer_at >= OUTAGE_TIMEOUT_SECONDS

    async def wait_responsive(self, asked: asyncio.Future[Any]) -> Any:
        """Wait for an answer as long as the database answers anything at all: one that is frozen does not say so.

        Raises:
            StoreUnavailableError: once it is silent.
        """
        while not asked.done() and not self.unresponsive:
            await asyncio.wait([asked], timeout=_POLL_SECONDS)
        if not asked.done():
            asked.cancel()
            raise StoreUnavailableError(f"the database has not answered for {OUTAGE_TIMEOUT_SECONDS:g} seconds")
        return asked.result()

    async def _abandon(self) -> None:
        """Give up what is still under way."""
        _resolve(self._pending, [_closed_error()] * len(self._pending))
        self._pending.clear()
        under_way = list(self._tasks)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    def _schedule(self) -> None:
        full = (
            self._groups >= GROUPS_IN_FLIGHT and not self._transactions
        )  # what gathers meanwhile need not be looked at
        if not (self._scheduled or self._exclusive or full) and self._idle_writers:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        while self._idle_writers and self._pending and not self._exclusive:
            entries = self._next_batch()
            if not entries:
                return
            self._transactions -= type(entries[0].operation) is TransactionOp
            writer = self._idle_writers.pop()
            in_flight = self._in_flight
            for entry in entries:
                for key in entry.keys:
                    in_flight[key] = in_flight.get(key, 0) + 1
            task = self._loop.create_task(self._run_batch(writer, entries))
            self._tasks.add(task)

    def _next_batch(self) -> list[_Pending]:
        """Take the next operations that meet nobody on the pipeline, in their order."""
        taken: list[_Pending] = []
        skipped: list[_Pending] = []
        blocked: set[Hashable] = set()
        pending, in_flight = self._pending, self._in_flight
        groups_full = self._groups >= GROUPS_IN_FLIGHT
        while pending and len(taken) < MAX_GROUP:
            entry = pending[0]
            if entry.exclusive:
                if not (taken or skipped or self._tasks):
                    pending.popleft()
                    self._exclusive = True
                    return [entry]
                break
            pending.popleft()
            keys, verb = entry.keys, type(entry.operation) is TransactionOp
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
            if type(entry.operation) is ChangeRows and (
                entry.operation.transition is not None or entry.operation.restored
            ):
                blocked.update(keys)  # what comes after a move, or an event given back, is written after it
        pending.extendleft(reversed(skipped))
        if taken and type(taken[0].operation) is not TransactionOp:
            self._groups += 1
        return taken

    async def _run_batch(self, writer: int, entries: list[_Pending]) -> None:
        group = type(entries[0].operation) is not TransactionOp
        alone = entries[0].exclusive
        keys = [key for entry in entries for key in entry.keys]
        try:
            await self._execute_with_retry(writer, entries)
        except asyncio.CancelledError:
            _resolve(entries, [_closed_error()] * len(entries))
            raise
        finally:
            for key in keys:
                if (others := self._in_flight[key] - 1) > 0:
                    self._in_flight[key] = others
                else:
                    del self._in_flight[key]
            self._groups -= group
            self._exclusive = self._exclusive and not alone
            self._idle_writers.append(writer)
            self._tasks.discard(asyncio.current_task())
            if self._pending:
                self._schedule()

    async def _execute_with_retry(self, writer: int, entries: list[_Pending]) -> None:
        token, lost, retry = object(), False, Retry(patience=OUTAGE_TIMEOUT_SECONDS)
        doubt: StoreUnavailableError | None = None
        while entries or lost:
            try:
                if lost:  # in here, as the database may be in trouble when we want to register anew
                    await self._on_lease_lost()
                    lost = False
                answers = await self._execute(writer, [entry.operation for entry in entries], token) if entries else []
            except LeaseLostError as error:
                # Whose instances were lost, is told so; the rest is tried again by the worker that we are from then on.
                entries = self._reject(entries, error, keep=lambda one: type(one) is not ChangeRows)
                if doubt is not None:  # its last_txn is gone with the writer: done twice is worse than not known
                    entries = self._reject(entries, doubt, keep=_is_idempotent)
                lost = True
            except StoreConflictError as error:
                pause = retry.failed()
                entries = self._on_conflict(entries, error, for_good=retry.exhausted)
                await asyncio.sleep(pause)
            except StoreUnavailableError as error:
                doubt = error
                self._report_outage(error)
                pause = retry.failed()
                if time.monotonic() - self._outage_since >= OUTAGE_TIMEOUT_SECONDS:
                    entries = self._fail_callers(entries, error)
                    lost = lost and bool(entries)  # with nothing to carry out, the next heartbeat registers as well
                await asyncio.sleep(pause)
            except Exception as error:  # noqa: BLE001  # its waiter hears of it
                await self._bisect_rejected(writer, entries, error)
                return
            else:
                self._answered(entries, answers)
                return

    def _answered(self, entries: list[_Pending], answers: list[Any]) -> None:
        self._last_answer_at = time.monotonic()
        if self.outage is not None:
            log.warning("the database answers again")
            self.outage = None
            self._outage_log.reset()
        _resolve(entries, answers)

    def _on_conflict(self, entries: list[_Pending], error: StoreConflictError, *, for_good: bool) -> list[_Pending]:
        """Tell of a transaction that lost to another one; return what is to be tried again.

        Only these operations are concerned: the database answers, and carries out others meanwhile.
        """
        self._last_answer_at = time.monotonic()
        if self._conflict_log.should_log(time.monotonic()):
            log.warning("a transaction lost to another one: %s; trying again", error)
        return self._reject(
            entries, error, keep=lambda one: not for_good or (_must_complete(one) and not self._closing_soon)
        )

    async def _bisect_rejected(self, writer: int, entries: list[_Pending], error: Exception) -> None:
        """See that what the database refuses fails alone: it does not say which of a group that is."""
        self._last_answer_at = time.monotonic()
        if len(entries) == 1:
            _resolve(entries, [error])
            return
        middle = len(entries) // 2
        await self._execute_with_retry(writer, entries[:middle])
        await self._execute_with_retry(writer, entries[middle:])

    def _report_outage(self, error: Exception) -> None:
        if self.outage is None:
            self._outage_since = time.monotonic()
        self.outage = str(error)
        if self._outage_log.should_log(time.monotonic()):
            log.warning("cannot write: %s; nothing is acknowledged meanwhile, trying again until it is", error)

    def _fail_callers(self, entries: list[_Pending], error: Exception) -> list[_Pending]:
        """Withdraw what need not be carried out once the trouble lasts, everywhere; return what stays."""
        waiting = self._reject(list(self._pending), error, keep=_must_complete)
        self._pending.clear()
        self._pending.extend(waiting)
        self._transactions = sum(type(entry.operation) is TransactionOp for entry in waiting)
        entries = self._reject(entries, error, keep=_must_complete)
        if self._closing_soon:
            _resolve([*entries, *self._pending], [error] * (len(entries) + len(self._pending)))
            self._pending.clear()
            self._transactions = 0
            return []
        return entries

    @staticmethod
    def _reject(entries: list[_Pending], error: Exception, *, keep: Callable[[Any], bool]) -> list[_Pending]:
        gone = [entry for entry in entries if not keep(entry.operation)]
        _resolve(gone, [error] * len(gone))
        return [entry for entry in entries if keep(entry.operation)]


def _requesting_instance(operation: Any) -> int | None:
    """The instance whose code leads to an operation; None for what is asked from outside."""
    if type(operation) is InstanceInsert:
        return operation.new.parent
    return operation.pk if type(operation) is ChangeRows else None


def _is_idempotent(operation: Any) -> bool:
    """Whether nobody sees that it is done twice: what the engine itself asks for, and inserts, which know their own."""
    return type(operation) is not TransactionOp or operation.must_complete


def _must_complete(operation: Any) -> bool:
    """Whether it is the engine's own affair: an instance's code never hears of trouble that passes."""
    if type(operation) is InstanceInsert:
        return operation.new.parent is not None
    return type(operation) is ChangeRows or (type(operation) is TransactionOp and operation.must_complete)


def _closed_error() -> StoreUnavailableError:
    return StoreUnavailableError("the store was closed before the database answered")


def _resolve(entries: Iterable[_Pending], answers: Sequence[Any]) -> None:
    for entry, answer in zip(entries, answers, strict=True):
        future = entry.future
        if future.done():  # its waiter was cancelled; what it asked for happened all the same
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
