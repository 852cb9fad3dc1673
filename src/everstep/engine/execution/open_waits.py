"""The waits of an execution for something outside its own code: moments and events."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import TYPE_CHECKING

from everstep.core.journal import StepRecord
from everstep.engine.execution.inbox import Inbox
from everstep.engine.execution.shared_part import SharedPart
from everstep.engine.runtime.clock import Alarm
from everstep.store.protocol import EventRecord

if TYPE_CHECKING:
    from everstep.engine.execution.execution import Execution

NEVER = 1 << 62
"""When a wait is due that only something else can end: a child workflow's end."""


class Wait:
    """Something that ends at a moment, or with an event.

    Attributes:
        due: The moment, in milliseconds since 1970.
        on_due: Called when it has come.
        record: The row that says so on disk, if there is one; a timer of asyncio has none until it is needed.
        event_type: The type of event that ends it earlier, given to `on_event`.
        write_row: Makes that row, where there is none.
        child: The child workflow whose end ends it, as `workflow/id`.
        open: Whether it has not ended.
    """

    __slots__ = ("child", "due", "event_type", "on_due", "on_event", "open", "order", "record", "write_row")

    def __init__(
        self,
        due: int,
        on_due: Callable[[], None],
        record: StepRecord | None,
        *,
        event_type: str | None = None,
        on_event: Callable[[EventRecord], None] | None = None,
        write_row: Callable[[], StepRecord] | None = None,
        child: str | None = None,
    ) -> None:
        self.due = due
        self.on_due = on_due
        self.record = record
        self.event_type = event_type
        self.on_event = on_event
        self.write_row = write_row
        self.child = child
        self.open = True
        self.order = 0


class OpenWaits:
    """Every open wait of an execution, the inbox of its events, and whether it is parked."""

    __slots__ = (
        "_alarm",
        "_by_type",
        "_children",
        "_execution",
        "_heap",
        "_held",
        "_number",
        "_rowless",
        "count",
        "inbox",
        "parked",
    )

    def __init__(self, execution: Execution | None, inbox: Inbox) -> None:
        if execution is not None:
            self._execution = execution
        self.inbox = inbox
        self.parked = False
        self.count = 0
        self._number = 0
        self._heap: list[tuple[int, int, Wait]] = []
        self._held = 0
        self._alarm: Alarm | None = None  # made for the first wait: most instances are over before they need one

    def add(self, wait: Wait) -> None:
        """Open a wait; events of its type go to those that were opened first."""
        if not self._number:  # most instances are over before they wait for anything
            self._by_type: dict[str, dict[int, Wait]] = {}
            self._children: dict[int, Wait] = {}
            self._rowless: dict[int, Wait] = {}
        self._number += 1
        wait.order = self._number
        self.count += 1
        heapq.heappush(self._heap, (wait.due, wait.order, wait))
        if wait.event_type is not None:
            self._by_type.setdefault(wait.event_type, {})[wait.order] = wait
        if wait.child is not None:
            self._children[wait.order] = wait
        if wait.record is None:
            self._rowless[wait.order] = wait

    def close(self, wait: Wait) -> None:
        """End a wait, whatever ended it."""
        if not wait.open:
            return
        wait.open = False
        self.count -= 1
        if wait.event_type is not None:
            waits = self._by_type.get(wait.event_type, {})
            waits.pop(wait.order, None)
            if not waits and wait.event_type in self._by_type:
                del self._by_type[wait.event_type]
        self._children.pop(wait.order, None)
        self._rowless.pop(wait.order, None)
        wait.on_due, wait.on_event, wait.write_row = _nothing, None, None  # they hold what holds the wait

    def write_rows(self) -> None:
        """Give a row to every wait that has none."""
        for wait in list(self._rowless.values()) if self.count else ():
            if wait.write_row is not None:
                wait.record = wait.write_row()
        if self.count:
            self._rowless.clear()

    def hold(self) -> None:
        """End nothing for a while: it is being looked up whether something else came first."""
        self._held += 1

    def unhold(self) -> None:
        """Take one `hold` back."""
        self._held -= 1

    async def until(self, due: int, record: StepRecord, child: str | None = None) -> None:
        """Wait for a moment, or until a child ends, on the application's loop."""
        await self._ended(due, record, child=child)

    async def event(self, due: int, record: StepRecord) -> EventRecord | None:
        """Wait for an event of the type that a row names, or for a moment: then there is none."""
        return await self._ended(due, record, event_type=record.event_type)

    async def _ended(
        self, due: int, record: StepRecord, *, event_type: str | None = None, child: str | None = None
    ) -> EventRecord | None:
        execution, taken = self._execution, None
        future: asyncio.Future[None] = execution.host.loop.create_future()

        def end(event: EventRecord | None = None) -> None:
            nonlocal taken
            taken = event
            if not future.done():
                future.set_result(None)
            execution.work_began()  # until the task that waits goes on, which takes a turn of the loop

        wait = Wait(due, end, record, event_type=event_type, on_event=end, child=child)
        self.add(wait)
        execution.pump_soon()  # it may be at rest now, and an event may be there
        try:
            await future
        except asyncio.CancelledError:
            if taken is not None:
                self.inbox.put_back(taken)
            raise
        finally:
            if not wait.open:
                execution.work_ended()
            self.close(wait)
        return taken

    @property
    def earliest(self) -> int:
        """When the next wait is due; NEVER if none is open or all end with something else."""
        heap = self._heap
        while heap and not heap[0][2].open:
            heapq.heappop(heap)
        return heap[0][0] if heap else NEVER

    def all_open(self) -> list[Wait]:
        """Every open wait, in the order in which they were opened."""
        return sorted((wait for _, _, wait in self._heap if wait.open), key=lambda wait: wait.order)

    def reschedule(self) -> None:
        """Take over moments that were changed."""
        self._heap = [(wait.due, wait.order, wait) for _, _, wait in self._heap if wait.open]
        heapq.heapify(self._heap)

    # What ends them

    def fire(self) -> None:
        """End the waits that are due, in the order of their moments; events that came before go first."""
        if self._held:
            return
        now = self._execution.host.clock.now()
        while self.earliest <= now:
            _, _, wait = self._heap[0]
            self.match_events(until=wait.due)
            if wait.open:
                on_due = wait.on_due
                self.close(wait)
                on_due()
        self.match_events()

    def match_events(self, until: int | None = None) -> None:
        """Give events to the waits for them, each to the one that was opened first."""
        if not (self.count and self.inbox and self._by_type) or self._held:
            return
        for event in self.inbox.waiting():
            if until is not None and event.created_at > until:
                continue
            waits = self._by_type.get(event.type)
            if waits:
                wait = next(iter(waits.values()))
                on_event = wait.on_event
                assert on_event is not None  # it has a type
                self.inbox.remove(event)
                self.close(wait)
                on_event(event)

    def child_ended(self, child: str | None) -> None:
        """End the waits for a child; for any, where it is not known whose end it was."""
        for wait in list(self._children.values()) if self.count else ():
            if child is None or wait.child == child:
                on_due = wait.on_due
                self.close(wait)
                on_due()

    def set_alarm(self) -> None:
        """See that waits end in time while the execution is at work."""
        earliest = self.earliest
        if earliest < NEVER and not self._held:
            self._alarm = self._alarm or Alarm(self._execution.host.clock, self._execution.waits_due)
            self._alarm.set(earliest)

    def clear_alarm(self) -> None:
        """Call nobody."""
        if self._alarm is not None:
            self._alarm.clear()
            self._alarm = None  # it holds the execution as well: both would be left to the garbage collector

    def let_go(self) -> None:
        """Forget the execution, which has left memory, and what waits for it."""
        for _, _, wait in self._heap:
            self.close(wait)
        self._heap = []
        del self._execution


class _NoInbox(SharedPart, Inbox):
    __slots__ = ()


class _NoWaits(SharedPart, OpenWaits):
    __slots__ = ()


def _no_waits() -> OpenWaits:
    waits = OpenWaits(None, Inbox([]))
    waits.inbox.__class__ = _NoInbox
    waits.__class__ = _NoWaits
    return waits


NO_WAITS = _no_waits()
"""The waits of executions that have waited for nothing yet, and got no event."""


def _nothing() -> None:
    """Do nothing: the callback of a wait that has ended."""
