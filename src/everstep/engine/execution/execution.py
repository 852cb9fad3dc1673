"""One instance in memory: its code on an event loop of its own, what it has asked for, and how it goes on.

The code hears of one settlement at a time, in the recorded order, and of the next when it is at rest: in its first
activation and in every replay by the same few lines (`_run_to_rest`). See docs/design/exact-replay.md.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import _set_running_loop
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any

from everstep.core.errors import NonDeterminismError, Suspended
from everstep.core.journal import StepRecord
from everstep.engine.execution.branches import Compensation, position_of
from everstep.engine.execution.calls import Call
from everstep.engine.execution.history import History
from everstep.engine.execution.journal_writer import JournalWriter
from everstep.engine.execution.parts import ExecutionParts
from everstep.engine.execution.phase import NEXT, Phase
from everstep.engine.execution.resting import rest
from everstep.engine.execution.starting import start_asked
from everstep.engine.execution.timers import TimerCall
from everstep.engine.execution.workflow_loop import WorkflowLoop
from everstep.engine.execution.workflow_tasks import WorkflowTimer
from everstep.store.protocol import EventRecord, InstanceChange, InstanceRecord
from everstep.store.python_version import PYTHON
from everstep.telemetry import events

if TYPE_CHECKING:
    from everstep.engine.execution.host import Host

_IDLE, _SCHEDULED, _DRIVING = "idle", "scheduled", "driving"
# Read at every step: of a class of members that takes long.
_RUNNING, _COLLECTING, _ROLLING_BACK = Phase.RUNNING, Phase.COLLECTING, Phase.ROLLING_BACK


class Execution(ExecutionParts):
    """One instance in memory.

    Attributes:
        loop: The event loop its code runs on.
        history: What the code has heard and has asked for, and in which order.
        journal: Its rows, and their way to disk.
        compensations: The rollback handlers that today's code registered, by the number of their step.
        crashes: How many crashes in a row left no trace of what they interrupted.
        main: The task of `run`, while there is one.
    """

    __slots__ = (
        "_drive_state",
        "compensations",
        "crashes",
        "definition",
        "history",
        "host",
        "instance",
        "journal",
        "loop",
        "main",
        "phase",
    )

    def __init__(
        self, host: Host, instance: InstanceRecord, steps: list[StepRecord], events: list[EventRecord]
    ) -> None:
        super().__init__(events)
        self.host = host
        self.instance = instance
        self.definition = host.definition(instance.workflow)
        self.phase = Phase.RUNNING
        self.history = History(steps, instance.started_at or instance.created_at)
        self.journal = JournalWriter(self, steps)
        self.loop = WorkflowLoop(host.loop, self, instance.pk)  # type: ignore[abstract]  # some methods are set below it
        hit_again = instance.recoveries and instance.progress_at_recovery == position_of(steps)
        self.crashes = instance.recoveries if hit_again else 0
        self.compensations: dict[int, Compensation] = {}
        self.main: asyncio.Task[Any] | None = None
        self._drive_state = _IDLE

    @property
    def pk(self) -> int:
        """The instance's key."""
        return self.instance.pk

    @property
    def relaxed(self) -> bool:
        """Whether what it records may be lost with the machine's power."""
        return self.definition.durability == "relaxed"

    @property
    def now_ms(self) -> int:
        """The time as its code sees it."""
        return self.history.now_ms

    @property
    def driving(self) -> bool:
        """Whether its code is being run, and what it asks for started, further up the stack."""
        return self._drive_state is _DRIVING

    # What keeps it at work

    @property
    def active(self) -> bool:
        """Whether anything is under way: then it can neither park nor be paused."""
        return self.work > 0 or not self.journal.idle or bool(self.loop.engine_results)

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Keep the execution at work meanwhile."""
        self.work_began()
        try:
            yield
        finally:
            self.work_ended()
            if not self.work:
                self.pump_soon()

    def enter(self, phase: Phase) -> None:
        """Go over to another phase. Raises ValueError for one that cannot follow."""
        if phase not in NEXT[self.phase]:
            raise ValueError(f"an execution that is {self.phase.value} cannot become {phase.value}")
        self.phase = phase

    def check_open(self) -> None:
        """Raise Suspended in code that left memory: nothing durable happens there any more."""
        if self.phase.over:
            raise Suspended

    def emit(self, kind: type[events.StepProgress], record: StepRecord, **facts: Any) -> None:
        """Tell telemetry what happened to a step."""
        workflow, id, at = self.instance.workflow, self.instance.id, self.host.clock.now()
        event = kind(workflow=workflow, instance_id=id, at=at, step=record.name, count=record.count, **facts)
        self.host.telemetry.emit(event)

    # What the code asks for

    def ask(self, call: Call) -> None:
        """Take a call of the code; it begins when the code is at rest and its history exhausted."""
        if self.phase is not _RUNNING and self.phase is not Phase.COLLECTING:
            raise Suspended
        history = self.history
        calls, key = history.calls, call.kind + call.name
        call.count = calls[key] = calls.get(key, 0) + 1
        call.asked_after = history.heard
        if history.fresh:
            history.fresh.append(call)
        else:
            history.fresh = [call]

    async def answer(self, call: Call) -> Any:
        """Ask, and return what the call ends with; a caller that is cancelled cancels the call."""
        self.ask(call)
        call.check()
        future = call.future = self.loop.create_future()
        try:
            return await future
        except asyncio.CancelledError:
            self.cancel(call)
            raise

    def cancel(self, call: Call) -> None:
        """Note that the code cancelled a call. It counts at once: what comes for it later is passed over."""
        if call.cancelled_after is None and not call.heard and not self.phase.over:
            self.history.cancel(call)

    def timer_started(self, timer: WorkflowTimer, delay_ms: int) -> None:
        timer.call = TimerCall(self, timer, delay_ms)
        with contextlib.suppress(Suspended):  # in code that is over
            self.ask(timer.call)

    def timer_cancelled(self, timer: WorkflowTimer) -> None:
        self.cancel(timer.call)
        timer.call = None

    def outside_awaited(self) -> None:
        self.history.lenient = True
        self.own_outside().note()

    # Going on

    def begin(self, code: Callable[[], Coroutine[Any, Any, Any]], context: Context) -> None:
        """Run the code from the top, in the next turn of the application's loop."""
        self.host.loop.call_soon(self._begin, code, context)

    def collect(self) -> None:
        """Have the code replayed only to collect its rollback handlers: an earlier activation began the rollback."""
        self.enter(Phase.COLLECTING)
        self.history.lenient = True

    def _begin(self, code: Callable[[], Coroutine[Any, Any, Any]], context: Context) -> None:
        if self.phase.over:
            return
        self.loop.pumping = True  # what is ready is pumped right afterwards
        try:
            self.main = self.loop.create_task(code(), context=context)
        finally:
            self.loop.pumping = False
        self.drive()

    def pump_soon(self) -> None:
        """Go on in the next turn of the application's loop: something may have become ready, or have come to rest."""
        if self._drive_state is _IDLE and not self.phase.over:
            self._drive_state = _SCHEDULED
            self.host.loop.call_soon(self._scheduled_drive)

    def _scheduled_drive(self) -> None:
        if self._drive_state is _SCHEDULED:
            self._drive_state = _IDLE
        self.drive()

    def drive(self) -> None:
        """Bring the code to rest, let it hear one settlement on disk after another, then start what it asked for.

        Code that is being pumped never gets here: it goes on in the pump that is under way.
        """
        if self._drive_state is _DRIVING or self.phase.over:
            return
        if self.main is None or self.phase is _ROLLING_BACK:  # in the second case its tasks are about to be ended
            if self.main is None and self.phase is _ROLLING_BACK:
                rest(self)
            return
        if self.waits.parked:
            if not (self.loop.ready or self.history.pending):
                return
            self.unpark()
        self._drive_state = _DRIVING
        try:
            then = self._run_until_nothing_follows()
        finally:
            self._drive_state = _IDLE
        if then is not None:
            if not self.phase.over:
                then()
        elif self.waits.count or not self.journal.in_flight:  # else an answer is to come, and it is looked at again
            rest(self)

    def _run_until_nothing_follows(self) -> Callable[[], None] | None:
        """Run the code and start what it asks for until nothing follows; return what is to be done but to rest."""
        history, loop = self.history, self.loop
        while True:
            _set_running_loop(loop)
            loop.pumping = True
            try:
                then = self._run_to_rest()
            except BaseException:  # KeyboardInterrupt: the application's loop stops, and this leaves memory
                self.host.loop.call_soon(self.host.evict, self.pk)
                raise
            finally:
                loop.pumping = False
                _set_running_loop(loop.outer)
            if then is not None or history.pending:
                return then  # what is to be heard is not asked for yet, or waits for the end of a pause
            if history.unstarted or history.cancels:
                start_asked(self)
            elif self.phase is not _COLLECTING:
                history.begun_after = history.heard
            if not history.pending or self.phase.over or self.pause.since is not None:
                return None

    def _run_to_rest(self) -> Callable[[], None] | None:
        """Run the code until it is at rest and has heard everything; return what is to be done if that is not it."""
        loop, history, main = self.loop, self.history, self.main
        assert main is not None
        while True:
            if loop.ready and not loop.pump():
                return self.own_outside().spins
            if self.phase.over or self.phase is _ROLLING_BACK or loop.engine_results:
                return _nothing
            if history.replaying and (said := history.nondeterminism(returned=main.done())) is not None:
                if self.phase is Phase.RUNNING:
                    return partial(self.fail_nondeterministic, said)
            elif history.fresh:
                history.take_new()
            if main.done():
                return self._returned
            if not history.pending or self.pause.since is not None or (call := history.take_next()) is None:
                return None
            call.deliver()
            if self.outside.began:
                self.outside.progressed()

    def _returned(self) -> None:
        assert self.main is not None
        change, error = self.main.result()
        self.host.returned(self, change, error)

    def fail_nondeterministic(self, said: str) -> None:
        """Stop the instance, its journal as it is, because its code contradicts it."""
        began, upgraded = self.instance.python, ""
        if began not in (None, PYTHON):
            upgraded = (
                f". The history was begun by Python {began}, and this is Python {PYTHON}, whose asyncio may go on in "
                "another order though the code is the same"
            )
        error = NonDeterminismError(
            f"{said} (instance {self.instance.id!r}); nothing was run{upgraded}. Bring the code back in line with its "
            "history and resume the instance, or restart it"
        )
        self.host.fail_nondeterministic(self, error)

    # Starting what the code asked for

    def waits_due(self) -> None:
        """End the waits that are due."""
        if not (self.phase.over or self.waits.parked or self.pause.since is not None):
            self.waits.fire()
            self.pump_soon()

    def unpark(self) -> None:
        """Say that the instance is at work again, though nobody woke it."""
        if self.waits.parked:
            self.waits.parked = False
            self.journal.flush(instance=InstanceChange("running", at=self.host.clock.now()))
            self.host.unparked(self)

    def wake(self, arrived: list[EventRecord]) -> None:
        """Go on after the row was claimed: whatever is due is due now."""
        waits = self.own_waits()
        waits.parked = False
        self.host.unparked(self)
        for event in arrived:
            waits.inbox.add(event)
        self.child_ended(None)
        waits.fire()
        self.pump_soon()

    def deliver(self, event: EventRecord) -> None:
        """Receive an event that is on disk; one seen before is ignored."""
        if self.own_waits().inbox.add(event) and self.pause.since is None and not self.phase.over:
            self.waits.match_events()
            if not self.journal.idle:
                self.unpark()

    def child_ended(self, child: str | None) -> None:
        """Let what waits for a child look at it; at any, where it is not known whose end it was."""
        if self.pause.since is None and not self.phase.over:
            self.waits.child_ended(child)

    # Leaving memory

    def evict(self) -> None:
        """Leave memory: the code leaves with Suspended, attempts in flight are cancelled."""
        if self.phase is not Phase.EVICTED:
            self.close(Phase.EVICTED)

    def close(self, phase: Phase) -> None:
        """End the code where it stands; nothing it does counts any more."""
        was_over = self.phase.over
        self.enter(phase)
        if was_over:
            return
        self._stop()
        self.in_flight.cancel_rollback()
        if self._drive_state is _DRIVING:  # its own code brought this about
            self.host.loop.call_soon(self._leave)
        else:
            self._leave()

    def end_code(self) -> None:
        """End the code and everything it waits for: its rollback handlers are to run."""
        if self.phase is not _ROLLING_BACK:
            self.enter(_ROLLING_BACK)
        self._stop()
        self._end_tasks()

    def _stop(self) -> None:
        self.waits.clear_alarm()
        self.outside.close()
        history = self.history
        if history.open or history.unstarted or history.fresh:
            for call in (*history.open.values(), *history.unstarted, *history.fresh):
                call.stop()
        if self.in_flight.attempts:
            self.in_flight.cancel_attempts()

    def _end_tasks(self) -> None:
        self.loop.throw_into_tasks(Suspended)
        self.history.clear()
        self.main = None

    def _leave(self) -> None:
        """End every task, and undo the circles among what is left: the garbage collector need not find them."""
        self._end_tasks()
        self.compensations = {}
        for part in (self.journal, self.waits, self.pause, self.outside):
            part.let_go()


def _nothing() -> None:
    """Do nothing more now: what is under way goes on by itself."""
