"""Schedules writes: operations on the same instance run in order, operations on others at the same time.

A batch collects while the batches before it are in flight; there is no time window.
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
"""Runs operations on the writer of this number; the object identifies the batch at every try of it."""


class TransactionOp(Struct, eq=False):
    """An operation that is a transaction of its own.

    Attributes:
        work: The statements of the transaction.
        must_complete: Whether it is retried for as long as an outage lasts. The caller of any other operation gets
            StoreUnavailableError after `OUTAGE_TIMEOUT_SECONDS`.
        precheck: Reads whether there is anything to do; an answer other than None is the operation's answer.
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
    """The queue of every write to the store.

    Args:
        execute: Runs a batch of `ChangeRows` and `InstanceInsert`s, or one `TransactionOp`.
        writers: The number of writing connections.
        on_lease_lost: Registers a new worker. Afterwards the pipeline retries what is no change of an instance.
    """

    def __init__(self, execute: Execute, *, writers: int, on_lease_lost: Callable[[], Awaitable[None]]) -> None:
        self._execute = execute
        self._on_lease_lost = on_lease_lost
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
        self._last_answer_at = time.monotonic()  # of the database; or when the pipeline was empty

    @property
    def busy(self) -> bool:
        """Whether an operation is queued or in flight."""
        return bool(self._pending or self._tasks or self._scheduled)

    def submit(self, operation: Any, keys: Sequence[Hashable] | None) -> asyncio.Future[Any]:
        """Queue an operation on the instances of `keys`, or on all; the future is done once it is committed."""
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
        """Cancel what an instance has queued: its changes, and the children it creates."""
        for entry in [entry for entry in self._pending if _requesting_instance(entry.operation) == pk]:
            self._pending.remove(entry)
            entry.future.cancel()

    async def close(self) -> bool:
        """Run what is queued; return whether the database was unresponsive for `OUTAGE_TIMEOUT_SECONDS`.

        What it has not answered by then is abandoned: the next start counts those attempts as interrupted.
        """
        self._closing_soon = True
        while self.busy and not self.unresponsive:  # noqa: ASYNC110  # once, at the end
            await asyncio.sleep(0.002)
        unresponsive, self._closing = self.unresponsive, True
        await self._abandon()
        return unresponsive

    @property
    def unresponsive(self) -> bool:
        """Whether operations are in flight and the database answered none for `OUTAGE_TIMEOUT_SECONDS`."""
        return self.busy and time.monotonic() - self._last_answer_at >= OUTAGE_TIMEOUT_SECONDS

    async def wait_responsive(self, asked: asyncio.Future[Any]) -> Any:
        """Wait for an answer while the database answers any operation. A frozen server reports no error.

        Raises:
            StoreUnavailableError: once the database is unresponsive.
        """
        while not asked.done() and not self.unresponsive:
            await asyncio.wait([asked], timeout=_POLL_SECONDS)
        if not asked.done():
            asked.cancel()
            raise StoreUnavailableError(f"the database has not answered for {OUTAGE_TIMEOUT_SECONDS:g} seconds")
        return asked.result()

    async def _abandon(self) -> None:
        """Fail what is queued and cancel what is in flight."""
        _resolve(self._pending, [_closed_error()] * len(self._pending))
        self._pending.clear()
        under_way = list(self._tasks)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    def _schedule(self) -> None:
        full = (
            self._groups >= GROUPS_IN_FLIGHT and not self._transactions
        )  # the next batch collects until one of these is done
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
        """Take the next operations whose instances have none in flight, in the order of submission."""
        batch: list[_Pending] = []
        skipped: list[_Pending] = []
        blocked: set[Hashable] = set()
        pending, in_flight = self._pending, self._in_flight
        groups_full = self._groups >= GROUPS_IN_FLIGHT
        while pending and len(batch) < MAX_GROUP:
            entry = pending[0]
            if entry.exclusive:
                if not (batch or skipped or self._tasks):
                    pending.popleft()
                    self._exclusive = True
                    return [entry]
                break
            pending.popleft()
            keys, transaction = entry.keys, type(entry.operation) is TransactionOp
            waits = batch if transaction else groups_full
            if waits or not (blocked.isdisjoint(keys) and in_flight.keys().isdisjoint(keys)):
                skipped.append(entry)
                blocked.update(keys)
                if len(skipped) > MAX_GROUP:
                    break
                continue
            batch.append(entry)
            if transaction:
                break
            if type(entry.operation) is ChangeRows and (
                entry.operation.transition is not None or entry.operation.restored
            ):
                blocked.update(keys)  # later operations follow a transition, or a restored event, in another batch
        pending.extendleft(reversed(skipped))
        if batch and type(batch[0].operation) is not TransactionOp:
            self._groups += 1
        return batch

    async def _run_batch(self, writer: int, entries: list[_Pending]) -> None:
        group = type(entries[0].operation) is not TransactionOp
        exclusive = entries[0].exclusive
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
            self._exclusive = self._exclusive and not exclusive
            self._idle_writers.append(writer)
            self._tasks.discard(asyncio.current_task())
            if self._pending:
                self._schedule()

    async def _execute_with_retry(self, writer: int, entries: list[_Pending]) -> None:
        retry_key, lease_lost, retry = object(), False, Retry(patience=OUTAGE_TIMEOUT_SECONDS)
        uncertain: StoreUnavailableError | None = None
        while entries or lease_lost:
            try:
                if lease_lost:  # inside the retry: registering may meet the same outage
                    await self._on_lease_lost()
                    lease_lost = False
                answers = (
                    await self._execute(writer, [entry.operation for entry in entries], retry_key) if entries else []
                )
            except LeaseLostError as error:
                # Writes of instances fail with LeaseLostError; the rest is retried under the new worker's id.
                entries = self._reject(entries, error, keep=lambda one: type(one) is not ChangeRows)
                if uncertain is not None:  # the writer's row is gone, and with it whether it committed: not run twice
                    entries = self._reject(entries, uncertain, keep=_is_idempotent)
                lease_lost = True
            except StoreConflictError as error:
                pause = retry.failed()
                entries = self._on_conflict(entries, error, give_up=retry.exhausted)
                await asyncio.sleep(pause)
            except StoreUnavailableError as error:
                uncertain = error
                self._report_outage(error)
                pause = retry.failed()
                if time.monotonic() - self._outage_since >= OUTAGE_TIMEOUT_SECONDS:
                    entries = self._fail_callers(entries, error)
                    lease_lost = lease_lost and bool(entries)  # otherwise the next heartbeat registers the worker
                await asyncio.sleep(pause)
            except Exception as error:  # noqa: BLE001  # the caller gets it
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

    def _on_conflict(self, entries: list[_Pending], error: StoreConflictError, *, give_up: bool) -> list[_Pending]:
        """Log a serialization failure or deadlock; return the operations to retry.

        It is no outage: the database answers, and runs other batches meanwhile.
        """
        self._last_answer_at = time.monotonic()
        if self._conflict_log.should_log(time.monotonic()):
            log.warning("a transaction was rolled back in favour of another one: %s; retrying", error)
        return self._reject(
            entries, error, keep=lambda one: not give_up or (_must_complete(one) and not self._closing_soon)
        )

    async def _bisect_rejected(self, writer: int, entries: list[_Pending], error: Exception) -> None:
        """Retry the halves of a rejected batch: the database does not say which operation it rejects."""
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
        """After `OUTAGE_TIMEOUT_SECONDS`, fail queued and running operations of callers; return what must complete."""
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
        rejected = [entry for entry in entries if not keep(entry.operation)]
        _resolve(rejected, [error] * len(rejected))
        return [entry for entry in entries if keep(entry.operation)]


def _requesting_instance(operation: Any) -> int | None:
    """The instance whose code requested an operation; None for one of a caller."""
    if type(operation) is InstanceInsert:
        return operation.new.parent
    return operation.pk if type(operation) is ChangeRows else None


def _is_idempotent(operation: Any) -> bool:
    """Whether repeating it is safe: operations of the engine, and inserts, which are deduplicated by their nonce."""
    return type(operation) is not TransactionOp or operation.must_complete


def _must_complete(operation: Any) -> bool:
    """Whether it is retried through an outage: the code of an instance never gets an error that passes."""
    if type(operation) is InstanceInsert:
        return operation.new.parent is not None
    return type(operation) is ChangeRows or (type(operation) is TransactionOp and operation.must_complete)


def _closed_error() -> StoreUnavailableError:
    return StoreUnavailableError("the store was closed before the database answered")


def _resolve(entries: Iterable[_Pending], answers: Sequence[Any]) -> None:
    for entry, answer in zip(entries, answers, strict=True):
        future = entry.future
        if future.done():  # the caller was cancelled; the operation was run all the same
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
