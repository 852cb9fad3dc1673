"""The order in which an instance's code hears of things, and whether the code follows it. Pure bookkeeping.

Every settlement (the end of a step, a sleep, a wait, a child, a timer) has a number. The code hears of one at a time,
the next when it is at rest. A call is recorded with the number of the last settlement heard when it was asked for, a
cancellation likewise; that is all that a replay needs to check the code against its history.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from everstep.core.journal import StepRecord, key_of
from everstep.engine.execution.calls import Call

NO_CALLS: list[Call] = []
"""What most histories hold at most times of calls: shared by all, and never added to."""
_NO_ROWS: dict[str, StepRecord] = {}
_NO_STEPS: list[StepRecord] = []
_NONE: deque[StepRecord] = deque(maxlen=0)
_UNCHECKED = frozenset({"rollback"})


class History:
    """The settlements that one execution has heard and is to hear, and the calls it made.

    Attributes:
        calls: How many times the code has asked for each kind and name.
        heard: The number of the last settlement that the code has heard.
        begun_after: The same for when the code was last at rest and everything it had asked for had a row.
        now_ms: The time as the code sees it: it stands still between settlements.
        pending: Settlements on disk that the code has yet to hear, the next one last.
        fresh: Calls asked for since the code was last at rest.
        cancels: Calls cancelled since then.
        unstarted: Calls to start once the history is exhausted.
        open: Calls that have a row and have not ended, by its number.
        replaying: Whether there is still something of an earlier activation to check the code against.
        lenient: Whether rows are matched by name only: what the code did beside its steps, or a row of a release that
            did not record the order, makes it uncertain.
    """

    __slots__ = (
        "_cancelled",
        "_digests",
        "_expected",
        "_horizon",
        "_rows",
        "_unmatched",
        "begun_after",
        "calls",
        "cancels",
        "fresh",
        "heard",
        "lenient",
        "now_ms",
        "open",
        "pending",
        "replaying",
        "unstarted",
    )

    def __init__(self, steps: list[StepRecord], began_at: int) -> None:
        # Keys are texts, which the garbage collector need not look at. No kind is the beginning of another, so kind and
        # name run together are still apart.
        self.calls: dict[str, int] = {}
        self.heard = 0
        self.begun_after = 0
        self.now_ms = began_at
        self.fresh = self.cancels = self.unstarted = NO_CALLS
        self.open: dict[int, Call] = {}
        self.lenient = False
        self.replaying = bool(steps)
        self._digests: dict[tuple[str, str, int | None], int] | None = None
        self._rows = _NO_STEPS
        self.pending: list[StepRecord] = []
        self._horizon = -1
        self._unmatched = _NO_ROWS
        self._expected = self._cancelled = _NONE
        if steps:
            self._load(steps)

    def _load(self, steps: list[StepRecord]) -> None:
        rows = [step for step in steps if step.parent is None and step.kind not in _UNCHECKED]
        self._rows = rows
        self._number(rows)
        self.lenient = any(step.asked_after is None for step in rows)
        settled = [step for step in rows if step.settlement]
        self.pending = sorted(settled, key=lambda step: step.settlement or 0, reverse=True)
        self._unmatched = {key_of(step.kind, step.name, step.count): step for step in rows}
        certain = [step for step in rows if step.asked_after is not None and _must_be_asked(step)]
        self._expected = deque(sorted(certain, key=lambda step: step.asked_after or 0))
        cancelled = [step for step in rows if step.cancelled_after is not None and _must_be_asked(step)]
        self._cancelled = deque(sorted(cancelled, key=lambda step: step.cancelled_after or 0))
        self._horizon = max((step.sent_after for step in rows if step.sent_after is not None), default=-1)

    @staticmethod
    def _number(rows: Iterable[StepRecord]) -> None:
        """Give numbers to settlements of releases that did not record the order: by their ends."""
        old = [step for step in rows if step.final and step.settlement is None and step.kind != "value"]
        for number, step in enumerate(sorted(old, key=lambda step: (step.ended_at or 0, step.seq)), 1):
            step.settlement = number

    def cancel(self, call: Call) -> None:
        """Note that the code cancelled a call."""
        call.cancelled_after = self.heard
        if self.cancels:
            self.cancels.append(call)
        else:
            self.cancels = [call]

    def settled(self, records: Sequence[StepRecord]) -> None:
        """Take settlements that are on disk, in their order."""
        self.pending[:0] = reversed(records)

    @property
    def awaited(self) -> bool:
        """Whether the code waits for something that it can only hear of at rest."""
        return bool(self.pending or self.open or self.unstarted or self.fresh)

    def clear(self) -> None:
        """Let go of everything: the execution leaves memory."""
        self.fresh = self.cancels = self.unstarted = NO_CALLS
        self.open = {}
        self.pending.clear()
        self._unmatched = _NO_ROWS
        self._rows, self._digests = _NO_STEPS, None

    def match(self, call: Call) -> StepRecord | None:
        """Return the row that a call of the code has from an earlier activation."""
        return self._unmatched.get(key_of(call.kind, call.name, call.count)) if self._unmatched else None

    def nondeterminism(self, *, returned: bool) -> str | None:
        """Say, at rest, what the code did that its history does not have, or the reverse; sort what it asked for."""
        if self.fresh and (said := self._take_fresh()) is not None:
            return said
        for call in self.cancels:
            record = call.record
            if record is None or record.cancelled_after in (None, call.cancelled_after) or self.lenient:
                continue
            return f"the code cancels {named(record)} at another place than its history"
        if self._cancelled and (said := self._not_cancelled()) is not None:
            return said
        if self._unmatched and (said := self._not_asked(returned=returned)) is not None:
            return said
        self.replaying = bool(self._unmatched or self._cancelled or self.heard <= self._horizon)
        if not self.replaying:
            self._rows, self._digests = _NO_STEPS, None
        return None

    def take_new(self) -> None:
        """Take what the code asked for, at rest, where nothing is left to check it against."""
        self.unstarted = [*self.unstarted, *self.fresh] if self.unstarted else self.fresh
        self.fresh = NO_CALLS

    def _take_fresh(self) -> str | None:
        fresh, self.fresh = self.fresh, NO_CALLS
        self.unstarted = list(self.unstarted)
        for call in fresh:
            key = key_of(call.kind, call.name, call.count) if self._unmatched else ""
            record = self._unmatched.pop(key, None) if key else None
            if record is None:
                late = call.asked_after <= self._horizon and call.cancelled_after != call.asked_after
                if late and call.kind != "timer" and not self.lenient:
                    return self._instead(call)
                self.unstarted.append(call)
                continue
            call.matched(record)
            if record.asked_after not in (None, call.asked_after) and not self.lenient:
                return self._instead(call)
            if (difference := call.difference(record)) is not None:
                return difference
            if record.kind == "value":
                continue
            self.open[record.seq] = call
            if record.settlement is None:
                self.unstarted.append(call)
        return None

    def mistaken_for(self, record: StepRecord, digest: int) -> str | None:
        """Say if a call has the arguments of another call of its kind and name in the history.

        Arguments that no call of that name had are allowed: what is recorded keeps its result.
        """
        if digest == record.digest or self.lenient:
            return None
        digests = self._digests
        if digests is None:  # the first one of a name where several had the same
            rows = (step for step in reversed(self._rows) if step.digest is not None)
            digests = self._digests = {(step.kind, step.name, step.digest): step.count for step in rows}
        count = digests.get((record.kind, record.name, digest))
        if count is None:
            return None
        return (
            f"the code calls {named(record)} with the arguments that its history has for the {count}. of that name, "
            "and not with those it had: the calls came in another order, or some were put in or left out"
        )

    def _not_cancelled(self) -> str | None:
        while self._cancelled and (self._cancelled[0].cancelled_after or 0) <= self.heard:
            record = self._cancelled.popleft()
            call = self.open.get(record.seq)
            if not self.lenient and (call is None or call.cancelled_after is None):
                return f"the code does not cancel {named(record)}, as its history does"
        return None

    def _not_asked(self, *, returned: bool) -> str | None:
        if returned:
            missing = next((step for step in self._unmatched.values() if _must_be_asked(step)), None)
            return None if missing is None else f"the code ends without asking for {named(missing)} of its history"
        while self._expected and (self._expected[0].asked_after or 0) <= self.heard:
            record = self._expected.popleft()
            if key_of(record.kind, record.name, record.count) in self._unmatched and not self.lenient:
                new = next((call for call in self.unstarted if call.record is None and call.kind != "timer"), None)
                if new is not None:
                    return f"the code asks for {named(new)}, where its history has {named(record)}"
                return f"the code does not ask for {named(record)}, as its history does"
        return None

    def _instead(self, call: Call) -> str:
        missing = [step for step in self._unmatched.values() if _must_be_asked(step)]
        expected = next((step for step in missing if step.asked_after == call.asked_after), next(iter(missing), None))
        if expected is not None:
            instead = f"has {named(expected)}"
        else:
            instead = "goes on without it" if call.record is None else "asks for it at another place"
        return f"the code asks for {named(call)}, where its history {instead}"

    def never_asked(self) -> StepRecord | None:
        """Return a row of the history that the code has not asked for, if there is one that it has to."""
        if not self._unmatched:
            return None
        return next((step for step in self._unmatched.values() if _must_be_asked(step)), None)

    def take_next(self) -> Call | None:
        """Take the next settlement that the code is to hear of; None if there is none that it has asked for."""
        pending, open_calls = self.pending, self.open
        while pending:
            record = pending[-1]
            call = open_calls.pop(record.seq, None)
            if call is not None:
                pending.pop()
            elif self.lenient:
                at = next((at for at in reversed(range(len(pending))) if pending[at].seq in open_calls), None)
                if at is None:
                    return None
                record = pending[at]
                call = open_calls.pop(record.seq)
                del pending[at]
            else:
                pending.pop()  # a timer, say, that the code had cancelled before it was recorded
                continue
            if call.cancelled_after is not None:
                call.discard()
                continue
            self.heard = record.settlement or self.heard
            if record.ended_at is not None and record.ended_at > self.now_ms:
                self.now_ms = record.ended_at
            return call
        return None


def _must_be_asked(step: StepRecord) -> bool:
    """Whether code that follows its history asks for a row: not for a timer that never fired.

    A step cancelled under a release that did not record the order may not be asked for either.
    """
    if step.kind == "timer":
        return step.settlement is not None
    return step.state != "cancelled" or step.asked_after is not None


_CALLS = {
    "do": "step.do",
    "sleep": "step.sleep",
    "wait": "step.wait_for_event",
    "child": "step.run_workflow",
    "value": "step.now, uuid or random",
    "timer": "a timer of asyncio",
    "rollback": "a rollback of",
}


def named(step: StepRecord | Call) -> str:
    """Name a call or a row for a message."""
    number = f" (the {step.count}. of that name)" if step.count > 1 else ""
    return f"{_CALLS[step.kind]}({step.name!r}){number}"
