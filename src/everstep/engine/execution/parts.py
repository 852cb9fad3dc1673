"""The parts of an execution that most never need: each gets its own when it is to be changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from everstep.engine.execution.in_flight import NOTHING_IN_FLIGHT, InFlight
from everstep.engine.execution.inbox import Inbox
from everstep.engine.execution.open_waits import NO_WAITS, OpenWaits
from everstep.engine.execution.outside import NOTHING_OUTSIDE, OutsideAwaits
from everstep.engine.execution.pause_gate import NOT_PAUSED, PauseGate
from everstep.store.protocol import EventRecord

if TYPE_CHECKING:
    from everstep.engine.execution.execution import Execution


class ExecutionParts:
    """The parts of one execution.

    With a thousand instances at work it is the memory they touch that takes the time: what nobody has changed is one
    object for all of them.

    Attributes:
        waits: The moments and events that end what it waits for; whether it is parked.
        pause: Whether it is being paused.
        outside: What the code awaits that no step records.
        in_flight: The tasks under way for it.
        work: How much keeps it at work: steps on their way, children being looked up, rows being written.
    """

    __slots__ = ("in_flight", "outside", "pause", "waits", "work")

    def __init__(self, events: list[EventRecord]) -> None:
        self.waits = OpenWaits(self._whole, Inbox(events)) if events else NO_WAITS
        self.pause = NOT_PAUSED
        self.outside = NOTHING_OUTSIDE
        self.in_flight = NOTHING_IN_FLIGHT
        self.work = 0

    @property
    def _whole(self) -> Execution:
        return cast("Execution", self)

    def own_waits(self) -> OpenWaits:
        """Return the waits of this execution, to be changed."""
        if self.waits is NO_WAITS:
            self.waits = OpenWaits(self._whole, Inbox([]))
        return self.waits

    def own_pause(self) -> PauseGate:
        """Return the pause of this execution, to be changed."""
        if self.pause is NOT_PAUSED:
            self.pause = PauseGate(self._whole)
        return self.pause

    def own_outside(self) -> OutsideAwaits:
        """Return the outside awaits of this execution, to be changed."""
        if self.outside is NOTHING_OUTSIDE:
            self.outside = OutsideAwaits(self._whole)
        return self.outside

    def own_in_flight(self) -> InFlight:
        """Return the tasks of this execution, to be changed."""
        if self.in_flight is NOTHING_IN_FLIGHT:
            self.in_flight = InFlight()
        return self.in_flight

    def work_began(self) -> None:
        """Keep the execution at work until `work_ended`; whoever ends it sees that it is looked at afterwards."""
        self.work += 1

    def work_ended(self) -> None:
        """Let it come to rest."""
        self.work -= 1
