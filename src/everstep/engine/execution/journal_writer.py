"""The rows that one execution adds to its journal: they gather here and are written together, in order.

Every write of an instance goes this way, so that its order on disk is the order in which things happened. A settlement
takes everything with it that the code had asked for before: with a later settlement on disk, an earlier call is there.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from everstep.core.errors import InstanceLostError, LeaseLostError, Suspended
from everstep.core.journal import AttemptRecord, Journal, Kind, StepRecord
from everstep.core.policy import transitions
from everstep.core.serialization.stored_error import encode_error
from everstep.engine.execution.stream_summary import stored_bytes
from everstep.store.protocol import Change, EventRecord, InstanceChange
from everstep.store.write_callback import WriteCallback

if TYPE_CHECKING:
    from everstep.engine.execution.execution import Execution

_MAY_PUMP_IN_A_TASK = sys.version_info < (3, 14)
"""From Python 3.14 on a thread has one current task: code cannot be pumped inside a task of the application's loop."""


_NO_ROWS: list[StepRecord] = []
"""What most instances have gathered at most times: shared by all, and never added to."""


class JournalWriter(Journal):
    """The journal of one execution, and the way of its rows to disk.

    Attributes:
        open_rows: Rows on disk that have not ended, by number.
        stored_bytes: How much the instance has stored.
        steps_started: How many steps count towards its limit.
        holds_values: Whether the code was told a value that is not known to be on disk.
        in_flight: Settlements on their way to disk.
    """

    __slots__ = (
        "_attempts",
        "_consumed",
        "_dirty",
        "_execution",
        "_last_settlement",
        "_relaxed",
        "_restored",
        "_scheduled",
        "_settled",
        "_values_unwritten",
        "_values_written",
        "holds_values",
        "in_flight",
        "open_rows",
        "steps_started",
        "stored_bytes",
    )

    def __init__(self, execution: Execution, steps: list[StepRecord]) -> None:
        self._execution: Execution | None = execution
        super().__init__(steps)
        self.open_rows: dict[int, StepRecord] = {}
        self.stored_bytes = self.steps_started = 0
        self.in_flight = 0
        self._relaxed = execution.relaxed
        self._last_settlement = 0
        self._dirty: dict[int, StepRecord] = {}
        self._attempts: tuple[AttemptRecord, ...] = ()
        self._consumed: tuple[int, ...] = ()
        self._restored: tuple[EventRecord, ...] = ()
        self._settled = _NO_ROWS
        self._scheduled = False
        self._values_unwritten = self.holds_values = False
        self._values_written: asyncio.Future[None] | None = None
        if steps:
            self._load(steps)

    def _load(self, steps: list[StepRecord]) -> None:
        self.open_rows = {step.seq: step for step in steps if not step.final and step.state != "cancelled"}
        self.stored_bytes = sum(stored_bytes(step) for step in steps)
        self.steps_started = sum(step.kind in ("do", "wait", "child") for step in steps)
        self._last_settlement = max((step.settlement or 0 for step in steps), default=0)

    # What is to be written

    def begin(self, kind: Kind, name: str, count: int, asked_after: int, now: int) -> StepRecord:
        """Begin the row of a call of the code; it is written with whatever is written next."""
        record = Journal.begin(self, kind, name, count, asked_after, now)
        self._dirty[record.seq] = record
        return record

    def touch(self, record: StepRecord, attempt: AttemptRecord | None = None) -> None:
        """Write a row with whatever is written next."""
        self._dirty[record.seq] = record
        if attempt is not None:
            self._attempts += (attempt,)

    def touch_value(self, record: StepRecord) -> None:
        """Write a value that the code was told, before anything begins that may have been told it."""
        self._dirty[record.seq] = record
        self._values_unwritten = self.holds_values = True

    def values_written(self) -> asyncio.Future[None] | None:
        """Return what to wait for until everything the code was told is on disk; None if it is."""
        if self._values_unwritten:
            self.flush(awaited=True).add_done_callback(self._open().host.check_write)
        if self._values_written is not None and self._values_written.done():
            self._values_written, self.holds_values = None, False
        return self._values_written

    def record_soon(self, record: StepRecord, attempt: AttemptRecord | None = None) -> None:
        """Write a row at the end of the loop's turn; nobody waits for it."""
        self._dirty[record.seq] = record
        if attempt is not None:
            self._attempts += (attempt,)
        self.flush_soon()

    def settle(
        self,
        record: StepRecord,
        *,
        attempt: AttemptRecord | None = None,
        consumed: Sequence[int] = (),
        alone: bool = True,
    ) -> None:
        """Record how a call ended; its code hears of it once that is on disk.

        `alone` is whether nothing else of the instance is about to end: others that end in the same turn of the loop
        are written in the same transaction.
        """
        dirty = self._dirty
        dirty[record.seq] = record
        if alone and len(dirty) == 1 and attempt is None and not (consumed or self._has_more):
            self._flush_lone(record)
            return
        if self._settled is _NO_ROWS:
            self._settled = []
        self._settled.append(record)
        if attempt is not None:
            self._attempts += (attempt,)
        if consumed:
            self._consumed += tuple(consumed)
        if alone:
            self.flush()
        else:
            self.flush_soon()

    async def write(
        self, record: StepRecord, *, attempt: AttemptRecord | None = None, consumed: Sequence[int] = ()
    ) -> None:
        """Record a row and wait until it is on disk.

        Raises Suspended where the instance is over or somebody else's by then: a commit lets other code of it go on.
        """
        execution = self._open()
        self._dirty[record.seq] = record
        if attempt is not None:
            self._attempts += (attempt,)
        self._consumed += tuple(consumed)
        with execution.busy():
            try:
                await self.flush(awaited=True)
            except (InstanceLostError, LeaseLostError):
                execution.host.evict(execution.pk)
                raise Suspended from None
        execution.check_open()
        execution.host.watchers.notify_changed(execution.pk)

    def submit(self, record: StepRecord, attempt: AttemptRecord | None) -> asyncio.Future[None]:
        """Record how a step ended that the code does not await; the future is done once that is on disk."""
        self._dirty[record.seq] = record
        if attempt is not None:
            self._attempts += (attempt,)
        return self.flush(awaited=True)

    def restore(self, event: EventRecord) -> None:
        """Give an event back that was consumed by a wait which the code had cancelled before it heard of it."""
        self._restored += (event,)

    def close_out(self, now: int, *, cancel: bool) -> tuple[list[StepRecord], list[AttemptRecord]]:
        """Take everything that is not on disk, for the last write of all; steps that have not ended are cancelled.

        Without `cancel` nothing is written of them: the journal stays as it is.
        """
        if not (self._dirty or self.open_rows or self._attempts or self._settled):
            return [], []
        attempts, rows = list(self._attempts), self._dirty | self.open_rows
        self._dirty, self._attempts, self._settled = {}, (), _NO_ROWS
        if not cancel:
            return [], []
        for step in rows.values():
            if not step.final and step.state != "cancelled":
                transitions.cancel(step, now)
        return [rows[seq] for seq in sorted(rows)], attempts

    @property
    def is_compensable(self) -> bool:
        """Whether a step is to be rolled back, by its row: code that fails early has not registered its handler."""
        return any(step.compensable and step.kind == "do" for step in self.steps())

    @property
    def idle(self) -> bool:
        """Whether no settlement is gathered or on its way to disk."""
        return not (self.in_flight or self._settled)

    # Writing

    def flush_rows(self) -> None:
        """Write what is to be written now, if anything is."""
        if self._dirty or self._settled or self._consumed or self._attempts or self._restored:
            self.flush()

    def flush_soon(self) -> None:
        """Write at the end of the loop's turn."""
        if not self._scheduled:
            host = self._open().host
            self._scheduled = True
            host.loop.call_soon(self._flush_scheduled)

    def _flush_scheduled(self) -> None:
        self._scheduled = False
        if self._execution is not None and not self._execution.phase.over:
            self.flush_rows()

    def flush(self, *, instance: InstanceChange | None = None, awaited: bool = False) -> asyncio.Future[None]:
        """Hand everything that is to be written to the store, in one transaction.

        Raises:
            Suspended: where the execution has left memory; what is on disk is the truth then.
        """
        execution, settled = self._open(), self._settled
        if settled:
            self._settled = _NO_ROWS
            begun_after = execution.history.begun_after
            for record in settled:
                self._last_settlement = record.settlement = self._last_settlement + 1
                record.sent_after = begun_after
        dirty = self._dirty
        if len(dirty) == 1:
            steps: Sequence[StepRecord] = (dirty.popitem()[1],)
        else:
            steps = tuple(dirty.values())
            dirty.clear()
        self._count(steps)
        change = Change(execution.pk, steps, instance=instance, relaxed=self._relaxed)
        if self._attempts or self._consumed or self._restored:
            change.attempts, change.consumed, change.restored = self._attempts, self._consumed, self._restored
            self._attempts, self._consumed, self._restored = (), (), ()
        if not settled:
            written = execution.host.store.write(change, awaited=awaited)
            if not awaited:
                written.add_done_callback(execution.host.check_write)
        else:
            self.in_flight += 1
            # All settlements are answered in this one way, or a later one could be heard before an earlier one.
            answer = WriteCallback(self._answered, (settled, change))
            if awaited or self._values_unwritten:
                answer.future = execution.host.loop.create_future()
            written = answer.write(execution.host.store, change)
        if self._values_unwritten:
            self._values_unwritten, self._values_written = False, written
        return written

    @property
    def _has_more(self) -> bool:
        return bool(self._settled or self._attempts or self._consumed or self._restored or self._values_unwritten)

    def _flush_lone(self, record: StepRecord) -> None:
        """Write the end of one step, which is all there is to write: the way of nearly every step."""
        execution = self._execution
        if execution is None or execution.phase.over:
            raise Suspended
        self._dirty.clear()
        self._last_settlement = record.settlement = self._last_settlement + 1
        record.sent_after = execution.history.begun_after
        if self.open_rows:
            self.open_rows.pop(record.seq, None)
        self.stored_bytes += stored_bytes(record)
        self.in_flight += 1
        change = Change(execution.instance.pk, (record,), relaxed=self._relaxed)
        WriteCallback(self._lone_answered, record).write(execution.host.store, change)

    def _count(self, steps: Sequence[StepRecord]) -> None:
        for step in steps:
            if step.final or step.state == "cancelled":
                self.open_rows.pop(step.seq, None)
                self.stored_bytes += stored_bytes(step)
            else:
                self.open_rows[step.seq] = step

    def _lone_answered(self, record: StepRecord, error: BaseException | None) -> None:
        execution = self._execution
        if error is None and execution is not None:
            self.in_flight -= 1
            execution.history.pending.insert(0, record)
            self._hear(execution)
        else:
            self._answered(([record], Change(0, (record,))), error)

    def _answered(self, what: tuple[list[StepRecord], Change], error: BaseException | None) -> None:
        """Go on with settlements that are on disk: the store answers an instance's writes in their order."""
        self.in_flight -= 1
        execution, (settled, change) = self._execution, what
        if execution is None:
            return  # it has left memory, and finds what is on disk when it is replayed
        if error is None:
            execution.history.settled(settled)
            self._hear(execution)
        elif isinstance(error, (InstanceLostError, LeaseLostError)):
            execution.host.evict(execution.pk)
        else:
            self._refused(settled, change, error)

    @staticmethod
    def _hear(execution: Execution) -> None:
        host = execution.host
        if not _MAY_PUMP_IN_A_TASK and asyncio.current_task(host.loop) is not None:
            host.loop.call_soon(host.wait_written, execution)
        else:
            host.wait_written(execution)

    def _refused(self, settled: list[StepRecord], change: Change, error: BaseException) -> None:
        """See that a row which the database refuses fails alone, with its step."""
        if self._execution is None or self._execution.phase.over:
            return
        if len(change.steps) == 1 and settled:
            transitions.fail(settled[0], settled[0].ended_at or 0, encode_error(error))
        ending = {step.seq for step in settled}
        attempts, consumed = list(change.attempts), list(change.consumed)
        for step in change.steps:
            self._dirty[step.seq] = step
            if step.seq in ending:
                self._settled = [*self._settled, step]
                self._attempts += tuple(one for one in attempts if one.seq == step.seq)
            self._consumed, consumed = (*self._consumed, *consumed), []
            self.flush()

    def let_go(self) -> None:
        """Forget the execution, which has left memory; writes that are under way are still answered."""
        self._execution = None

    def _open(self) -> Execution:
        """Return the execution. Raises Suspended where it has left memory: nothing durable happens any more."""
        if self._execution is None:
            raise Suspended
        self._execution.check_open()
        return self._execution
