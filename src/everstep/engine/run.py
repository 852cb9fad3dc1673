"""One instance in memory: its coroutine, what its branches wait for, and how it is parked, woken and put away.

Decides nothing about steps (`steps.py`) and finds no instances (`dispatcher.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from everstep.core.errors import Suspended
from everstep.core.journal import AttemptRecord, Journal, StepRecord
from everstep.core.types import WaitingFor
from everstep.engine.clock import Alarm
from everstep.store.protocol import Change, EventRecord, InstanceChange, InstanceRecord

if TYPE_CHECKING:
    from everstep.engine.host import Host

_QUIET_TURNS = 4
"""Turns of the loop without activity after which a waiting instance counts as parked: `gather` needs three."""
_REPLAY_TURNS = 20
_REPLAY_SECONDS = 0.5
_UNWIND_SECONDS = 1.0
"""How long code that was put away may take to leave its own `finally` blocks."""


class Wait(Struct, eq=False):
    """One branch that waits: for `due`, and for an event if `event_type` is set. The future gives the event or None."""

    record: StepRecord
    future: asyncio.Future[EventRecord | None]
    due: int
    event_type: str | None = None


class Run:
    """One instance in memory.

    `active` counts attempts and commits under way. While it is 0 and branches wait, nothing can happen before the
    earliest wait is due or an event comes: the run is parked, which is what its row says then.
    """

    __slots__ = (
        "_alarm",
        "_gated",
        "_settling",
        "active",
        "attempts",
        "dropped",
        "host",
        "inbox",
        "instance",
        "journal",
        "last_event",
        "on_paused",
        "parked",
        "paused_since",
        "stored_open",
        "task",
        "unseen_cuts",
        "waits",
    )

    def __init__(
        self, host: Host, instance: InstanceRecord, steps: list[StepRecord], events: list[EventRecord]
    ) -> None:
        self.host = host
        self.instance = instance
        self.journal = Journal(steps)
        self.inbox = list(events)
        self.last_event = events[-1].id if events else 0
        self.unseen_cuts = instance.recoveries if instance.recovered_position == _position(steps) else 0
        self.waits: dict[int, Wait] = {}
        self.attempts: dict[int, asyncio.Task[Any]] = {}
        self.stored_open = {step.seq: step for step in steps if not step.final}
        self.active = 0
        self.parked = False
        self.paused_since: int | None = None
        self.dropped = False
        self.task: asyncio.Task[None] | None = None
        self.on_paused: Callable[[], None] | None = None
        self._gated: list[asyncio.Future[None]] = []
        self._settling = False
        self._alarm = Alarm(host.clock, self._ring)

    @property
    def pk(self) -> int:
        """The instance's key in the store."""
        return self.instance.pk

    def check_alive(self) -> None:
        """Raise `Suspended` in code that was put away: nothing durable happens there any more."""
        if self.dropped:
            _hush(asyncio.current_task())
            raise Suspended

    # Writing

    async def write(
        self, step: StepRecord, *, attempt: AttemptRecord | None = None, consumed: Sequence[int] = ()
    ) -> None:
        """Record a step and wait until it is on disk."""
        self.check_alive()
        self.active += 1
        try:
            await self.host.store.write(self._change(step, attempt, consumed))
        finally:
            self.active -= 1
            self.settle()

    def write_soon(self, step: StepRecord) -> None:
        """Record a step with whatever is written next; nobody waits for it."""
        self.check_alive()
        self.host.store.write(self._change(step, None, ())).add_done_callback(self.host.check_write)

    def _change(self, step: StepRecord, attempt: AttemptRecord | None, consumed: Sequence[int]) -> Change:
        self.unseen_cuts = 0  # the journal grows: whatever crashes now is counted from here
        self._unpark()
        if step.final:
            self.stored_open.pop(step.seq, None)
        else:
            self.stored_open[step.seq] = step
        return Change(self.pk, (step,), (attempt,) if attempt is not None else (), consumed)

    async def replayed(self) -> StepRecord | None:
        """Wait while other branches may still ask for what is recorded; return what nobody asks for, if anything.

        Branches arrive in an order of their own, so a new step in one of them says nothing until the others had their
        turn. The coroutine itself, when it is the one that asks, has no other branch to wait for but those that are
        ready to run; one of several gets a moment more, as another may await something that is no step.
        """
        patience = 0.0 if asyncio.current_task() is self.task else _REPLAY_SECONDS
        deadline = self.host.loop.time() + patience
        turns = 0
        while (unasked := self.journal.unasked()) is not None:
            if turns >= _REPLAY_TURNS and self.host.loop.time() >= deadline:
                return unasked
            turns += 1
            await asyncio.sleep(0 if turns < _REPLAY_TURNS else _REPLAY_SECONDS / 20)
            self.check_alive()
        return None

    # Waiting

    async def wait(self, record: StepRecord, due: int, event_type: str | None = None) -> EventRecord | None:
        """Wait until `due`, or for an event; returns the event, or None when the time came first."""
        self.check_alive()
        wait = self.waits[record.seq] = Wait(record, self.host.loop.create_future(), due, event_type)
        self._unpark()  # a replayed branch that came late, by something that is no step, may be due first
        self._settle_soon()
        try:
            return await wait.future
        except Suspended:
            _hush(asyncio.current_task())
            raise
        finally:
            del self.waits[record.seq]
            if self.waits:
                self._settle_soon()

    def take(self, event_type: str) -> EventRecord | None:
        """Take the oldest event of a type out of the inbox."""
        for event in self.inbox:
            if event.type == event_type:
                self.inbox.remove(event)
                return event
        return None

    def deliver(self, event: EventRecord) -> None:
        """Receive an event that is on disk; one seen before is ignored."""
        if event.id > self.last_event:
            self.last_event = event.id
            self.inbox.append(event)
            if not self._settling:  # else branches may still be on their way to waits that are first in line
                self._hand_out_events()

    def wake(self, events: list[EventRecord]) -> None:
        """Go on after the row was claimed: whatever is due is due now."""
        self.parked = False
        self.host.unparked(self)
        for event in events:
            self.deliver(event)
        self._ring()

    def _hand_out_events(self) -> None:
        """Give waits their events, in the order in which they first began: a replay may reach them in another."""
        if self.paused_since is not None or not self.inbox:
            return
        for seq in sorted(self.waits):
            wait = self.waits[seq]
            if wait.event_type is not None and not wait.future.done() and (event := self.take(wait.event_type)):
                wait.future.set_result(event)
                self._unpark()  # not to be put away before the event is recorded: nothing would bring it back

    def _ring(self) -> None:
        """End the waits that are due."""
        if self.dropped or self.parked or self.paused_since is not None:
            return
        self._hand_out_events()
        now = self.host.clock.now()
        for wait in self.waits.values():
            if wait.due <= now and not wait.future.done():
                wait.future.set_result(None)
        self._settle_soon()

    # Parking

    def settle(self) -> None:
        """Look whether the instance can be paused or parked, after an attempt that left nothing to record."""
        if self.active:
            return
        if self.paused_since is not None:
            self._finish_pause()
        elif self.waits:
            self._settle_soon()

    def _settle_soon(self) -> None:
        if not self._settling:
            self._settling = True
            self.host.loop.call_soon(self._settle, _QUIET_TURNS)

    def _settle(self, turns: int) -> None:
        if turns:
            self.host.loop.call_soon(self._settle, turns - 1)
            return
        self._settling = False
        if not self.dropped:
            self._hand_out_events()
        waiting = [wait for wait in self.waits.values() if not wait.future.done()]
        if self.dropped or self.parked or self.paused_since is not None or not waiting:
            return
        earliest = min(waiting, key=lambda wait: wait.due)
        if self.active or self._gated or len(waiting) < len(self.waits):
            self._alarm.set(earliest.due)
        elif earliest.due <= self.host.clock.now():  # parked, it could be put away and brought back for ever
            self._ring()
        else:
            self._park(earliest)

    def _park(self, earliest: Wait) -> None:
        self.parked = True
        self._alarm.clear()
        written = self.host.store.write(Change(self.pk, instance=InstanceChange("waiting", due_at=earliest.due)))
        written.add_done_callback(self.host.check_write)
        self.host.parked(self, earliest.due)

    def _unpark(self) -> None:
        """Say that the instance is at work again, when its own code goes on without having been woken."""
        if self.parked:
            self.parked = False
            written = self.host.store.write(Change(self.pk, instance=InstanceChange("running")))
            written.add_done_callback(self.host.check_write)
            self.host.unparked(self)

    # Pausing

    async def gate(self) -> None:
        """Stand still while the instance is being paused."""
        while self.paused_since is not None and not self.dropped:
            opened = self.host.loop.create_future()
            self._gated.append(opened)
            await opened
        self.check_alive()

    def pause(self, since: int, on_paused: Callable[[], None]) -> None:
        """Stop at the next step boundary: at once if no attempt is in flight."""
        self.paused_since = since
        self.on_paused = on_paused
        self._alarm.clear()
        if not self.active:
            self._finish_pause()

    def unpause(self, now: int) -> None:
        """Take a pause back before it came about; timers move by the time it was asked for."""
        if self.paused_since is None:
            return
        since, self.paused_since, self.on_paused = self.paused_since, None, None
        moved = now - since
        for wait in self.waits.values():
            if not wait.record.absolute and wait.due > since:
                wait.due += moved
                wait.record.wake_at = wait.due
        gated, self._gated = self._gated, []
        for opened in gated:
            opened.set_result(None)
        self._ring()

    def _finish_pause(self) -> None:
        callback, self.on_paused = self.on_paused, None
        if callback is not None:
            callback()

    # Leaving memory

    def drop(self) -> None:
        """Put the instance away: every branch of its code leaves with `Suspended`, attempts in flight are cancelled."""
        if self.dropped:
            return
        self.dropped = True
        self._alarm.clear()
        for wait in self.waits.values():
            if not wait.future.done():
                wait.future.set_exception(Suspended())
        for opened in self._gated:
            if not opened.done():
                opened.set_result(None)
        for attempt in list(self.attempts.values()):
            attempt.cancel()
        self.host.loop.call_soon(self._unwind, _QUIET_TURNS)

    def _unwind(self, turns: int) -> None:
        """See that the coroutine leaves, even from an `await` that is no step."""
        if self.task is None or self.task.done():
            return
        if turns:
            self.host.loop.call_soon(self._unwind, turns - 1)
        else:
            self.host.loop.call_later(_UNWIND_SECONDS, self.task.cancel)

    def forgive(self, seq: int) -> None:
        """Take an attempt back that a clean stop cuts off: it starts again at once and is not counted."""
        step = self.stored_open.get(seq)
        if step is not None:
            # Not "running": that would be an attempt to be counted as cut off, the one before if there was one.
            step.attempt, step.state, step.wake_at = step.attempt - 1, "retrying", self.host.clock.now()
            self.write_soon(step)
        self.attempts.pop(seq).cancel()

    def leftovers(self, now: int) -> list[StepRecord]:
        """Return the stored steps that will never end, marked as cancelled."""
        for step in self.stored_open.values():
            step.state, step.ended_at = "cancelled", now
        return list(self.stored_open.values())

    # For views

    def waiting_for(self) -> tuple[WaitingFor, int] | None:
        """What the instance waits for, and until when, if every branch waits."""
        if not self.waits or self.active:
            return None
        wait = min(self.waits.values(), key=lambda wait: wait.due)
        return waiting_for(wait.record), wait.due


def waiting_for(record: StepRecord) -> WaitingFor:
    """Describe what an open step waits for."""
    kind = {"do": "retry", "sleep": "sleep", "wait": "event"}[record.kind]
    return WaitingFor(kind, record.name, record.event_type)  # type: ignore[arg-type]  # the three literals above


def _hush(task: asyncio.Task[Any] | None) -> None:
    """Keep a branch that nobody awaits any more from reporting that it was put away."""
    if task is not None:
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())


def _position(steps: list[StepRecord]) -> int:
    """How far a journal has come, as `recover_running` in the store counts it."""
    return sum(2 * step.attempt + 1 + (step.state == "retrying") + 2 * (step.ended_at is not None) for step in steps)
