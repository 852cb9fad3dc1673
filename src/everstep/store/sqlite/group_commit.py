"""Group commit: operations gather while the group before them is on its way to disk. Knows nothing of SQL.

There is no window: a lone operation is committed at once, and a thousand that arrive meanwhile share the next commit.
Three ways lead to the disk (docs/design/performance.md): at once where it was asked for, while there is one caller at a
time; at the end of the loop's turn, for a few; on the writer's thread, for many or when the disk is slow.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from everstep.core.errors import StoreError
from everstep.core.log_throttle import LogThrottle
from everstep.store.retry import OUTAGE_TIMEOUT_SECONDS, Retry
from everstep.store.sqlite.writer_thread import Writer, WriterThread
from everstep.store.write_callback import WriteCallback

log = logging.getLogger("everstep.store")

Commit: TypeAlias = Callable[[Sequence[Any]], list[Any]]
"""Runs operations in one durable transaction; returns a value or an exception for each."""

MAX_GROUP = 512
FINAL_ATTEMPT_SECONDS = 0.2
"""How long before the outage timeout the last try begins: a try takes a moment."""
CLOSING_SECONDS = 0.01
"""The pause between failed tries while closing: the writer answers before it is idle."""
INLINE_GROUP = 16
INLINE_SECONDS = 0.000_6
"""Below this a commit on the loop costs less than handing it to the thread and back."""
SOLO_GROUPS_BEFORE_INLINE = 3
"""After so many groups in a row with one waiter each, a single operation commits before the next loop tick."""
EARLY_HANDOFF = 128
"""A group of this size goes to the writer thread before the loop tick ends: it writes while more are submitted."""
INLINE_BUDGET_SECONDS = 0.001
"""How long commits may block the loop within a tick. The next one waits for the tick to end."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of groups: from `early` on, the writer thread starts at once; up to `inline`, the loop may commit.

    `most` is the largest group, at least `inline`: a commit on the loop takes everything that is queued.
    """

    early: int = EARLY_HANDOFF
    inline: int = INLINE_GROUP
    most: int = MAX_GROUP


class GroupCommit:
    """The queue of every write to the store, in order.

    Submitting happens on the event loop; committing on a writer thread, or on the loop itself while groups are small
    and the disk is quick; at once, without a turn of the loop, while there is one waiter at a time. `retryable` errors
    keep the group and try again: nothing is acknowledged that is not on disk, and nothing is lost for want of room.
    `trouble` says why, as long as it lasts.

    Args:
        commit: Carries out a group.
        retryable: Errors after which the same group is tried again.
        kept: Whether an operation must be carried out in the end. Others are answered with the error when the trouble
            lasts: whoever asked from outside had better hear of it than wait, and they are not carried out afterwards.
        writer: Who commits what is not committed on the loop; a thread if omitted.
        clock: Seconds of a clock that only rises.
        sizes: From which size on groups go another way.
    """

    def __init__(
        self,
        commit: Commit,
        *,
        retryable: type[Exception],
        kept: Callable[[Any], bool] = lambda _: True,
        writer: Writer | None = None,
        clock: Callable[[], float] = time.perf_counter,
        sizes: Sizes | None = None,
    ) -> None:
        self._commit = commit
        self._retryable = retryable
        self._must_complete = kept
        self.outage: str | None = None
        self._outage_since: float | None = None
        self._outage_log = LogThrottle()
        self._pending: deque[tuple[Any, asyncio.Future[Any]]] = deque()
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        sizes = sizes or Sizes()
        self._early_group, self._inline_group, self._max_group = sizes.early, sizes.inline, sizes.most
        self._writer = writer or WriterThread()
        self._writer.start(self._write)
        self._scheduled = False
        self._writing = False
        self._rounds = 0  # of the writer's that the loop has yet to hear the end of
        self._closing = False
        self._closing_soon = False
        self._commit_seconds = 0.000_3  # moving average of small commits
        self._waiters = 0  # who came since the loop's latest flush
        self._solo_groups = 0
        self._inline_budget_seconds = 0.0  # spent on commits since the loop's latest turn
        self._unresolved = 0  # groups that are answered, with waiters the loop has yet to wake

    @property
    def idle(self) -> bool:
        """Whether everything that was submitted is done."""
        return not (self._pending or self._rounds)

    def submit(self, operation: Any, *, awaited: bool = True, answer: WriteCallback | None = None) -> Any:
        """Queue an operation; the future, or the answer that is given for it, is done once its group is on disk.

        With `awaited` the caller goes on only when it is done: if it is alone with that, it is done at once.
        """
        if self._closing:
            raise StoreError("the store is closed")
        future: Any = self._loop.create_future() if answer is None else answer
        if awaited:
            self._waiters += 1
            if self.answers_at_once:
                self._commit_inline(operation, future)
                return future
        self._pending.append((operation, future))
        if not self._writing and len(self._pending) >= self._early_group:
            self._wake_writer()
        elif not (self._rounds or self._scheduled):
            self._scheduled = True
            self._loop.call_soon(self._flush)
        return future

    async def close(self) -> None:
        """Commit what is queued, then stop the writer; on a disk in trouble, only as long as patience lasts."""
        self._closing_soon = True
        while not self.idle:
            try:
                await self.submit(_nothing)
            except Exception:  # noqa: BLE001  # who asked for what failed has heard of it
                await asyncio.sleep(CLOSING_SECONDS)
        self._closing = True
        await self._writer.stop()

    @property
    def answers_at_once(self) -> bool:
        """Whether an operation that is submitted now would be on disk, and answered, before `submit` returns."""
        return self._solo_groups >= SOLO_GROUPS_BEFORE_INLINE and self._may_commit_inline()

    def _may_commit_inline(self) -> bool:
        """Whether nobody else has anything to write, or has yet to hear that it is written.

        Who is answered at once acts at once. A claim would bring an instance whose move was committed before it, to an
        engine that does not know of the move yet.
        """
        quick = self._commit_seconds <= INLINE_SECONDS and self._inline_budget_seconds < INLINE_BUDGET_SECONDS
        return quick and not (self._pending or self._rounds or self._unresolved)

    def _commit_inline(self, operation: Any, future: asyncio.Future[Any]) -> None:
        """Commit one operation before its caller goes on, and keep account of how long the loop has to wait."""
        if not self._inline_budget_seconds:
            self._loop.call_soon(self._reset_inline_budget)
        self._waiters = 0
        began = self._clock()
        try:
            [answer] = self._commit((operation,))
        except self._retryable:
            self._requeue_on_writer([(operation, future)])
            return
        except Exception as error:  # noqa: BLE001  # its waiter hears of it
            answer = error
        try:
            _resolve(future, answer)
        except Exception:
            log.exception("what was to follow a commit failed")
        seconds = self._clock() - began
        self._inline_budget_seconds += seconds
        self._record_commit_time(seconds)

    def _reset_inline_budget(self) -> None:
        self._inline_budget_seconds = 0.0

    def _flush(self) -> None:
        self._scheduled = False
        if not self._pending or self._rounds:
            return
        self._solo_groups = self._solo_groups + 1 if self._waiters <= 1 else 0
        self._waiters = 0
        if len(self._pending) <= self._inline_group and self._commit_seconds <= INLINE_SECONDS:
            self._commit_on_loop()
        else:
            self._wake_writer()

    def _wake_writer(self) -> None:
        self._writing = True
        self._rounds += 1
        self._writer.wake()

    def _requeue_on_writer(self, group: list[tuple[Any, asyncio.Future[Any]]]) -> None:
        """Have the writer wait for a disk in trouble: the loop does not."""
        self._pending.extendleft(reversed(group))
        self._wake_writer()

    def _commit_on_loop(self) -> None:
        """Commit everything that is queued: it is little."""
        group = self._drain()
        try:
            answers = self._timed_commit(group)
        except self._retryable:
            self._requeue_on_writer(group)
            return
        except Exception as error:  # noqa: BLE001  # every waiter hears of it
            answers = [error] * len(group)
        self._answer(group, answers)

    def _answer(self, group: list[tuple[Any, asyncio.Future[Any]]], answers: list[Any]) -> None:
        """Answer in order. Until the last one's turn has come, nobody is committed at once.

        Those that are called directly come after those whose waiters the loop wakes, all of them in one turn.
        """
        direct: list[tuple[WriteCallback, Any]] = []
        for (_, future), answer in zip(group, answers, strict=True):
            if isinstance(future, WriteCallback):
                direct.append((future, answer))
            elif not future.done():  # else its waiter was cancelled; what it asked for happened all the same
                _resolve(future, answer)
        self._unresolved += 1
        self._loop.call_soon(self._on_result, direct)

    def _on_result(self, direct: list[tuple[WriteCallback, Any]]) -> None:
        self._unresolved -= 1
        for future, answer in direct:
            try:
                future.resolve(answer)
            except Exception:
                log.exception("what was to follow a commit failed")

    def _write(self) -> Iterator[float]:
        """Commit what is queued, beside the loop: the writer's work.

        What comes meanwhile is left to the loop unless it is many: it knows when its turn is over, and with that how
        many go together. The writer would take a few each time.
        """
        while True:
            group = self._drain()
            yield 0.0  # it is on its way: what comes from here on is the next one's
            answers = yield from self._commit_with_retry(group)
            self._writer.call_on_loop(self._answer, group, answers)
            if len(self._pending) < self._early_group:
                break
        self._writing = False
        self._writer.call_on_loop(self._writer_is_idle)

    def _writer_is_idle(self) -> None:
        self._rounds -= 1
        if self._rounds:
            return
        if self._pending and not self._scheduled:
            self._scheduled = True
            self._flush()

    def _commit_with_retry(self, group: list[tuple[Any, asyncio.Future[Any]]]) -> Generator[float, None, list[Any]]:
        retry = Retry(clock=self._clock, jitter=0)
        while group:
            began = self._clock()
            try:
                answers = self._timed_commit(group)
            except self._retryable as error:
                self.outage = str(error)
                self._outage_since = began if self._outage_since is None else self._outage_since
                if self._outage_log.should_log(self._clock()):
                    log.warning("cannot write: %s; nothing is acknowledged meanwhile, trying again until it is", error)
                if self._fail_callers(group, error):
                    return [error] * len(group)
                pause, left = retry.failed(), self._time_left()
                yield min(pause, left) if left > 0 else pause
            except Exception as error:  # noqa: BLE001  # every waiter hears of it
                return [error] * len(group)
            else:
                if self._outage_since is not None:
                    log.warning("writing again")
                    self._outage_log.reset()
                self.outage = self._outage_since = None
                return answers
        return []

    def _fail_callers(self, group: list[tuple[Any, asyncio.Future[Any]]], error: Exception) -> bool:
        """Withdraw what need not be carried out once the trouble lasts; return whether to give up altogether."""
        if self._time_left() > 0:
            return False
        waiting = [self._pending.popleft() for _ in range(len(self._pending))]
        withdrawn = [entry for entry in (*group, *waiting) if not self._must_complete(entry[0])]
        group[:] = [entry for entry in group if self._must_complete(entry[0])]
        self._pending.extendleft(entry for entry in reversed(waiting) if self._must_complete(entry[0]))
        self._writer.call_on_loop(self._answer, withdrawn, [error] * len(withdrawn))
        return self._closing_soon

    def _time_left(self) -> float:
        """Return for how many seconds what was asked from outside may wait for its last try."""
        since = self._outage_since
        return OUTAGE_TIMEOUT_SECONDS - FINAL_ATTEMPT_SECONDS - (0.0 if since is None else self._clock() - since)

    def _timed_commit(self, group: list[tuple[Any, asyncio.Future[Any]]]) -> list[Any]:
        began = self._clock()
        answers = self._commit([operation for operation, _ in group])
        if len(group) <= self._inline_group:
            self._record_commit_time(self._clock() - began)
        return answers

    def _record_commit_time(self, seconds: float) -> None:
        self._commit_seconds += 0.1 * (seconds - self._commit_seconds)

    def _drain(self) -> list[tuple[Any, asyncio.Future[Any]]]:
        return [self._pending.popleft() for _ in range(min(len(self._pending), self._max_group))]


def _resolve(future: Any, answer: Any) -> None:
    if type(future) is WriteCallback:
        future.resolve(answer)
    elif isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def _nothing(_: Any) -> None:
    """Do nothing, in turn: once it is answered, everything queued before it is on disk."""
