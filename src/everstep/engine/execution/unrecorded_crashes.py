"""Crashes that left no trace of what they interrupted: which steps of a later life they are counted for."""

from __future__ import annotations

from everstep.core.journal import StepRecord
from everstep.engine.runtime.loop_ticks import QUIET_TURNS, Turns


class UnseenCuts:
    """So many crashes in a row hit an instance where its journal ends; each counts as an attempt of what follows.

    What follows are the steps a branch asks for before any other has ended in it in this life. A sleep ends without
    being waited for on disk, so what comes after it may have begun before the crash as well. The crashes are forgotten
    when a step has ended: they are on disk with the steps they were counted for.

    Args:
        count: How many crashes.
        turns: The loop's turns; None where there are no crashes to count.
    """

    __slots__ = ("_back", "_ended", "count")

    def __init__(self, count: int, turns: Turns | None) -> None:
        self.count = count
        self._ended: set[int] = set()
        self._back = False
        if turns is not None:
            turns.after(QUIET_TURNS, self._branches_are_back)

    def of(self, last: StepRecord | None) -> int:
        """Return how many are counted for the step that a branch asks for after `last`."""
        return 0 if last is not None and last.seq in self._ended else self.count

    def ended(self, step: StepRecord) -> None:
        """Note that a step has ended in this life, on disk."""
        if self.count:
            self._ended.add(step.seq)
            if self._back:
                self.count = 0

    def slept(self, sleep: StepRecord, last: StepRecord | None) -> None:
        """Note that a branch comes to a sleep after `last`: it has come as far as that."""
        if self.count and last is not None and last.seq in self._ended:
            self._ended.add(sleep.seq)

    def _branches_are_back(self) -> None:
        self._back = True
        if self._ended:
            self.count = 0


NO_CUTS = UnseenCuts(0, None)
"""For the many instances that no crash hit; there is nothing in it that changes."""
