"""One instance in memory: its coroutine, what its branches wait for, and how it is parked, woken and put away.

Decides nothing about steps (`step_runner.py`) and finds no instances (`dispatcher.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from everstep.core.errors import InstanceLostError, LeaseLostError, RollbackInProgressError, Suspended
from everstep.core.journal import AttemptRecord, Journal, StepRecord
from everstep.engine.execution.branches import NEVER, Compensation, Inbox, Wait, hush, position_of
from everstep.engine.execution.stream_summary import stored_bytes
from everstep.engine.execution.unrecorded_crashes import NO_CUTS, UnseenCuts
from everstep.engine.runtime.clock import Alarm
from everstep.engine.runtime.loop_ticks import QUIET_TURNS
from everstep.store.protocol import Change, EventRecord, InstanceChange, InstanceRecord
from everstep.telemetry import events

if TYPE_CHECKING:
    from everstep.engine.execution.host import Host

_LATE_SECONDS = 0.05
"""How often a replayed instance is looked at whose branches have not all come back to where they were."""
_UNWIND_SECONDS = 1.0
"""How long code that was put away may take to leave its own `finally` blocks."""


class Execution:
    """One instance in memory.

    `returned` is whether its `run` has come to an end. `active` counts attempts and commits under way. While it is 0
    and branches wait, nothing can happen before the earliest wait is due or an event comes: the run is parked, which is
    what its row says then.
    """

    __slots__ = (
        "_active_turn",
        "_alarm",
        "_gated",
        "_patient_until",
        "_settling",
        "active",
        "attempts",
        "compensations",
        "evicted",
        "gathering",
        "host",
        "inbox",
        "instance",
        "journal",
        "on_paused",
        "parked",
        "paused_since",
        "pk",
        "relaxed",
        "returned",
        "sealed",
        "step_limit",
        "steps_asked",
        "stored_bytes",
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
        self.pk = instance.pk
        self.journal = Journal(steps)
        self.inbox = Inbox(events)
        hit_again = instance.recoveries and instance.recovered_position == position_of(steps)
        self.unseen_cuts = UnseenCuts(instance.recoveries, host.turns) if hit_again else NO_CUTS
        self.waits: dict[int, Wait] = {}
        self.attempts: dict[int, asyncio.Task[Any]] = {}
        self.stored_open = {step.seq: step for step in steps if not step.final}
        self.active = 0
        self.parked = False
        self.paused_since: int | None = None
        self.evicted = False
        self.returned = False
        self.sealed = False
        self.gathering = False
        self.compensations: dict[int, Compensation] = {}
        definition = host.definition(instance.workflow)
        self.step_limit, self.relaxed = definition.step_limit, definition.durability == "relaxed"
        self.steps_asked = sum(step.kind in ("do", "wait", "child") for step in steps)
        self.stored_bytes = sum(stored_bytes(step) for step in steps)
        self.task: asyncio.Task[None] | None = None
        self.on_paused: Callable[[], None] | None = None
        self._gated: list[asyncio.Future[None]] = []
        self._settling = False
        self._active_turn = 0
        self._patient_until = host.loop.time() + _LATE_SECONDS * 10
        self._alarm: Alarm | None = None  # made for the first wait: most instances are over before they need one

    def check_alive(self) -> None:
        """Raise `Suspended` in code that was put away: nothing durable happens there any more."""
        if self.evicted:
            hush(asyncio.current_task())
            raise Suspended

    def enter(self) -> None:
        """Let user code ask for a step, or not: nothing new begins while the instance is rolled back."""
        if not (self.evicted or self.gathering or self.sealed):
            return
        self.check_alive()
        if self.gathering:
            # A replay only to gather rollback handlers: the branch has come as far as it had come before.
            hush(asyncio.current_task())
            raise Suspended
        self.leave_if_sealed()
        raise RollbackInProgressError("no step can be run while the instance is rolled back")

    def leave_if_sealed(self) -> None:
        """Raise `Suspended` in a branch that is still under way while the instance is rolled back."""
        if self.sealed and asyncio.current_task() is not self.task:
            hush(asyncio.current_task())
            raise Suspended

    def tell(self, kind: type[events.StepProgress], record: StepRecord, **facts: Any) -> None:
        """Tell telemetry what happened to a step."""
        workflow, id, at = self.instance.workflow, self.instance.id, self.host.clock.now()
        happening = kind(workflow=workflow, instance_id=id, at=at, step=record.name, count=record.count, **facts)
        self.host.telemetry.emit(happening)

    # Writing

    async def write(
        self, step: StepRecord, *, attempt: AttemptRecord | None = None, consumed: Sequence[int] = ()
    ) -> None:
        """Record a step and wait until it is on disk."""
        self.check_alive()
        self.active += 1
        try:
            # In the first turns of a life after a crash not at once: the other branches come back to their steps first.
            cuts = self.unseen_cuts
            await self.host.store.write(self._change(step, attempt, consumed), awaited=not cuts.count)
            if cuts.count and step.final:
                cuts.ended(step)
            self.host.watchers.notify_changed(self.pk)
        except (InstanceLostError, LeaseLostError):
            self.host.evict(self.pk)  # somebody else has it: nothing more happens here
            raise Suspended from None
        finally:
            self.active -= 1
            self.settle()

    def write_soon(self, step: StepRecord, *, attempt: AttemptRecord | None = None) -> None:
        """Record a step with whatever is written next; nobody waits for it."""
        self.check_alive()
        self.host.store.write(self._change(step, attempt, ())).add_done_callback(self.host.check_write)

    def _change(self, step: StepRecord, attempt: AttemptRecord | None, consumed: Sequence[int]) -> Change:
        self._unpark()
        if step.final:
            self.stored_open.pop(step.seq, None)
            self.stored_bytes += stored_bytes(step)
        else:
            self.stored_open[step.seq] = step
        return Change(self.pk, (step,), (attempt,) if attempt is not None else (), consumed, relaxed=self.relaxed)

    # Waiting

    async def wait(self, record: StepRecord, due: int, event_type: str | None = None) -> EventRecord | None:
        """Wait until `due`, or for an event; returns the event, or None when the time came first."""
        self.check_alive()
        self.leave_if_sealed()
        wait = self.waits[record.seq] = Wait(record, self.host.loop.create_future(), due, event_type)
        self._unpark()  # a replayed branch that came late, by something that is no step, may be due first
        self._settle_soon()
        try:
            return await wait.future
        except Suspended:
            hush(asyncio.current_task())
            raise
        finally:
            del self.waits[record.seq], wait  # it holds the error, whose traceback holds this frame: no cycle of them
            if self.waits:
                self._settle_soon()

    def deliver(self, event: EventRecord) -> None:
        """Receive an event that is on disk; one seen before is ignored."""
        if self.inbox.add(event) and not self._settling:
            # While it settles, branches may still be on their way to waits that are first in line.
            self._hand_out_events()

    def wake(self, events: list[EventRecord]) -> None:
        """Go on after the row was claimed: whatever is due is due now."""
        self.parked = False
        self.host.unparked(self)
        for event in events:
            self.deliver(event)
        self.child_ended()
        self._ring()

    def child_ended(self) -> None:
        """Let branches that wait for a child look whether it was theirs."""
        for wait in self.waits.values():
            if wait.record.kind == "child" and not wait.future.done():
                wait.future.set_result(None)

    def _hand_out_events(self) -> None:
        """Give waits their events, in the order in which they first began: a replay may reach them in another."""
        if self.paused_since is not None or not self.inbox:
            return
        for seq in sorted(self.waits):
            wait = self.waits[seq]
            if wait.event_type is not None and not wait.future.done() and (event := self.inbox.take(wait.event_type)):
                wait.future.set_result(event)
                self._unpark()  # not to be put away before the event is recorded: nothing would bring it back

    def _ring(self) -> None:
        """End the waits that are due."""
        if self.evicted or self.parked or self.paused_since is not None:
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
        turns = self.host.turns
        self._active_turn = turns.count  # counted from the latest activity: what it set off may take as long again
        if not self._settling:
            self._settling = True
            turns.after(QUIET_TURNS, self._settle)

    def _settle(self) -> None:
        turns = self.host.turns
        if (quiet := turns.count - self._active_turn) <= QUIET_TURNS:
            turns.after(QUIET_TURNS - quiet, self._settle)
            return
        self._settling = False
        if not self.evicted:
            self._hand_out_events()
        waiting = [wait for wait in self.waits.values() if not wait.future.done()]
        if self.evicted or self.parked or self.paused_since is not None or not waiting:
            return
        earliest = min(waiting, key=lambda wait: wait.due)
        if self.active or self._gated or len(waiting) < len(self.waits):
            if earliest.due < NEVER:
                self._alarm = self._alarm or Alarm(self.host.clock, self._ring)
                self._alarm.set(earliest.due)
        elif earliest.due <= self.host.clock.now():  # parked, it could be put away and brought back for ever
            self._ring()
        elif self._branch_is_late():
            self.host.loop.call_later(_LATE_SECONDS, self._settle_soon)
        else:
            self._park(earliest)

    def _branch_is_late(self) -> bool:
        """Whether a replayed branch is still on its way to a step that may be due: for a while, it is waited for."""
        now = self.host.clock.now()
        late = any((step.wake_at or 0) <= now for step in self._on_the_way())
        return late and self.host.loop.time() < self._patient_until

    def _on_the_way(self) -> list[StepRecord]:
        """Return the open steps on disk that the code has not asked for yet in this life."""
        return [step for step in self.stored_open.values() if step.kind != "child" and not self.journal.asked(step)]

    def _park(self, earliest: Wait) -> None:
        self.parked = True
        self._clear_alarm()
        now = self.host.clock.now()
        due = min([earliest.due, *(step.wake_at or 0 for step in self._on_the_way() if (step.wake_at or 0) > now)])
        due_at = None if due >= NEVER else due
        self._move(InstanceChange("waiting", due_at=due_at, at=now))
        self.host.parked(self, due)

    def _unpark(self) -> None:
        """Say that the instance is at work again, when its own code goes on without having been woken."""
        if self.parked:
            self.parked = False
            self._move(InstanceChange("running", at=self.host.clock.now()))
            self.host.unparked(self)

    def _move(self, instance: InstanceChange) -> None:
        written = self.host.store.write(Change(self.pk, instance=instance, relaxed=self.relaxed))
        written.add_done_callback(self.host.check_write)

    def _clear_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.clear()
            self._alarm = None  # it holds the instance as well: both would be left to the garbage collector

    # Pausing

    @property
    def halted(self) -> bool:
        """Whether there is something at the gate: a pause, a rollback, or that the instance was put away."""
        claimable = self.parked and self.host.lease is not None
        return self.paused_since is not None or self.sealed or self.evicted or claimable

    async def gate(self) -> None:
        """Stand still while the instance is being paused."""
        while self.paused_since is not None and not self.evicted:
            opened = self.host.loop.create_future()
            self._gated.append(opened)
            await opened
        if self.parked and self.host.lease is not None:
            await self.host.lease.reclaim(self)
        self.check_alive()
        self.leave_if_sealed()

    def pause(self, since: int, on_paused: Callable[[], None]) -> None:
        """Stop at the next step boundary: at once if no attempt is in flight."""
        self.paused_since = since
        self.on_paused = on_paused
        self._clear_alarm()
        if not self.active:
            self._finish_pause()

    def unpause(self, now: int) -> None:
        """Take a pause back before it came about; timers move by the time it was asked for."""
        if self.paused_since is None:
            return
        since, self.paused_since, self.on_paused = self.paused_since, None, None
        moved = now - since
        for wait in self.waits.values():
            if not wait.record.absolute and since < wait.due < NEVER:
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

    def evict(self) -> None:
        """Put the instance away: every branch of its code leaves with `Suspended`, attempts in flight are cancelled."""
        if self.evicted:
            return
        self.evicted = True
        self._clear_alarm()
        for wait in self.waits.values():
            if not wait.future.done():
                wait.future.set_exception(Suspended())
        for opened in self._gated:
            if not opened.done():
                opened.set_result(None)
        for attempt in list(self.attempts.values()):
            attempt.cancel()
        if not self.returned:
            self.host.turns.after(QUIET_TURNS, self._unwind)

    def _unwind(self) -> None:
        """See that the coroutine leaves, even from an `await` that is no step."""
        if self.task is not None and not self.task.done():
            self.host.loop.call_later(_UNWIND_SECONDS, self.task.cancel)

    def forgive(self, seq: int) -> None:
        """Take an attempt back that a clean stop cuts off: it starts again at once and is not counted."""
        step = self.stored_open.get(seq)
        if step is not None:
            # Not "running": that would be an attempt to be counted as cut off, the one before if there was one.
            step.attempt, step.state, step.wake_at = step.attempt - 1, "retrying", self.host.clock.now()
            self.write_soon(step)
        self.attempts.pop(seq).cancel()

    async def seal(self) -> None:
        """End every branch but the coroutine itself, and wait a moment for their attempts: nothing new begins."""
        self.sealed = True
        self._clear_alarm()
        for wait in self.waits.values():
            if not wait.future.done():
                wait.future.set_exception(Suspended())
        attempts = [attempt for attempt in self.attempts.values() if attempt is not asyncio.current_task()]
        for attempt in attempts:
            attempt.cancel()
        if attempts:
            await asyncio.wait(attempts, timeout=_UNWIND_SECONDS)
