"""A thousand workers and ten million sleeping instances in virtual time: the rules by which they claim and adopt.

`python3 -m benchmarks.scale` writes `docs/design/scale.md`. The rules are those of `engine/scheduling/dispatcher.py`,
`engine/scheduling/lease.py` and `store/postgres/postgres.sql`, with their constants; what a statement costs is assumed.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from benchmarks.processes import ROOT
from everstep.engine.scheduling.dispatcher import CLAIM_LIMIT, MAX_JITTER_MS
from everstep.engine.scheduling.lease import EVERY_SECONDS
from everstep.store.admin.open import DEFAULT_LEASE_MS
from everstep.store.postgres.operations import TAKEOVER_BATCH
from everstep.store.postgres.statements import LOCAL_WAKE_GRACE_MS
from everstep.store.postgres.store import FENCE_BATCH, TAKEOVER_LEASE_MS

PAGE = ROOT / "docs" / "design" / "scale.md"
CORES = 16
COST_MS = {"heartbeat": 0.3, "peek": 0.1, "claim": 1.0, "expel": 1.0, "adopt": 1.0, "forget": 0.5}
"""What a statement or transaction takes of one of the server's cores."""
ROW_MS = {"claim": 0.05, "adopt": 0.016}
"""And for every row it moves; adoption as measured."""
TRIP_MS = 0.5


@dataclass(frozen=True)
class Case:
    """What is simulated. Without `spread` and `turns` the rules are those from before this simulation."""

    workers: int = 1_000
    sleepers: int = 10_000_000
    over_hours: float = 3.0
    seconds: float = 60.0
    dead: int = 0
    at_work: int = 10_000
    spread: bool = True
    turns: bool = True
    notified: bool = True


@dataclass
class Outcome:
    """What came of it."""

    statements: Counter[str] = field(default_factory=Counter)
    empty_claims: int = 0
    waited_ms: list[float] = field(default_factory=list)
    busiest: int = 0
    busy_ms: float = 0.0
    adopters: Counter[int] = field(default_factory=Counter)
    adopted_after_ms: float = 0.0

    def late(self, share: float) -> float:
        """How late claims were, at a quantile, in milliseconds."""
        return sorted(self.waited_ms)[int(share * (len(self.waited_ms) - 1))] if self.waited_ms else 0.0


class World:
    """The workers, the database's cores and what is due, on one clock in milliseconds."""

    def __init__(self, case: Case, seed: int = 1) -> None:
        self.case, self.chance, self.outcome = case, random.Random(seed), Outcome()
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._cores = [0.0] * CORES
        self._per_second: Counter[int] = Counter()
        living = case.workers - case.dead
        count = int(case.sleepers * case.seconds / 3600 / case.over_hours)
        due = sorted(self.chance.uniform(0, case.seconds * 1000) for _ in range(count))
        self.due = deque((at, self.chance.randrange(case.workers)) for at in due)
        # Whoever died at 0 is noticed when the lease is over.
        self.left = {living + number: case.at_work for number in range(case.dead)}
        self.turn_until = dict.fromkeys(self.left, float(DEFAULT_LEASE_MS))
        self.workers = [Worker(self, number) for number in range(living)]

    def run(self) -> Outcome:
        while self._events and self._events[0][0] <= self.case.seconds * 1000:
            self.now, _, callback = heapq.heappop(self._events)
            callback()
        self.outcome.busiest = max(self._per_second.values(), default=0)
        return self.outcome

    def at(self, when: float, callback: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (max(when, self.now), self._count, callback))

    def ask(self, what: str, then: Callable[[], None], rows: int = 0) -> None:
        """Send a statement; it waits for a core, takes its time and comes back."""
        cost = COST_MS[what] + ROW_MS.get(what, 0.0) * rows
        begin = max(self.now + TRIP_MS / 2, heapq.heappop(self._cores))
        heapq.heappush(self._cores, begin + cost)
        self.outcome.statements[what] += 1
        self.outcome.busy_ms += cost
        self._per_second[int(self.now // 1000)] += 1
        self.at(begin + cost + TRIP_MS / 2, then)

    def next_due(self) -> float | None:
        return self.due[0][0] if self.due else None

    def claim(self, worker: int) -> int:
        """Give a worker what it may take: its own, and what others left for longer than a moment."""
        taken, left = 0, []
        while self.due and self.due[0][0] <= self.now and taken < CLAIM_LIMIT:
            due, owner = self.due.popleft()
            if owner == worker or owner >= len(self.workers) or due <= self.now - LOCAL_WAKE_GRACE_MS:
                self.outcome.waited_ms.append(self.now - due)
                taken += 1
            else:
                left.append((due, owner))
        self.due.extendleft(reversed(left))
        return taken

    def lapsed(self) -> list[int]:
        return [dead for dead, until in self.turn_until.items() if until <= self.now]

    def notify(self) -> None:
        if self.case.notified:
            for worker in self.workers:
                self.at(self.now + TRIP_MS, worker.hear)


class Worker:
    """One worker: its heartbeat, its alarm, one claim at a time, one adoption at a time."""

    def __init__(self, world: World, number: int) -> None:
        self._world, self._number = world, number
        self._alarm: float | None = None
        self._claiming = self._beating = self._heard = False
        self._beats = 0
        world.at(world.chance.uniform(0, EVERY_SECONDS * 1000), self.hear)

    def hear(self) -> None:
        if self._beating:
            self._heard = True
            return
        self._beating, self._heard = True, False
        self._beats += 1
        self._world.ask("heartbeat", self._beaten)

    def _beaten(self) -> None:
        world = self._world
        if lapsed := world.lapsed():
            self._expel(lapsed)
            return
        if (due := world.next_due()) is not None:
            self._arm(due)
        self._rest()

    def _rest(self) -> None:
        self._beating = False
        number = self._beats
        if self._heard:
            self.hear()
        else:
            self._world.at(
                self._world.now + EVERY_SECONDS * 1000, lambda: self.hear() if self._beats == number else None
            )

    def _expel(self, lapsed: list[int]) -> None:
        world = self._world

        def expelled() -> None:
            free = [dead for dead in lapsed if dead in world.left and world.turn_until[dead] <= world.now]
            mine = free[:FENCE_BATCH] if world.case.turns else [dead for dead in lapsed if dead in world.left]
            if not mine:
                self._kick()
                self._rest()
                return
            if world.case.turns:
                world.turn_until |= dict.fromkeys(mine, world.now + TAKEOVER_LEASE_MS)
            self._adopt(mine, lapsed)

        world.ask("expel", expelled)

    def _adopt(self, dead: list[int], lapsed: list[int]) -> None:
        world, room = self._world, TAKEOVER_BATCH
        for one in dead:
            piece = min(room, world.left.get(one, 0))
            if piece:
                world.left[one] -= piece
                room -= piece
        taken = TAKEOVER_BATCH - room

        def adopted() -> None:
            if taken:
                world.outcome.adopters[self._number] += taken
                world.outcome.adopted_after_ms = world.now - DEFAULT_LEASE_MS
                world.notify()
            if not room:
                self._adopt(dead, lapsed)
                return
            for one in dead:
                if not world.left.pop(one, 0):
                    world.turn_until.pop(one, None)
                world.ask("forget", lambda: None)
            self._expel([one for one in lapsed if one not in dead])

        world.ask("adopt", adopted, taken)

    def _arm(self, due: float) -> None:
        world = self._world
        if world.case.spread:
            due += world.chance.random() * min(len(world.workers) - 1, MAX_JITTER_MS)
        due = max(due, world.now)
        if self._alarm is None or due < self._alarm:
            self._alarm = due
            world.at(due, lambda: self._ring(due))

    def _ring(self, due: float) -> None:
        if self._alarm == due:
            self._alarm = None
            self._kick()

    def _kick(self) -> None:
        if not self._claiming:
            self._claiming = True
            self._world.ask("peek", self._peeked)

    def _peeked(self) -> None:
        world = self._world
        due = world.next_due()
        if due is None or due > world.now:
            self._claiming = False
            if due is not None:
                self._arm(due)
            return
        taken = world.claim(self._number)
        world.outcome.empty_claims += not taken

        def claimed() -> None:
            self._claiming = False
            if taken == CLAIM_LIMIT:
                self._kick()
            elif (following := world.next_due()) is not None:
                self._arm(following if following > world.now else world.now + LOCAL_WAKE_GRACE_MS)

        world.ask("claim", claimed, taken)


CASES = {
    "10,000,000 sleepers": Case(),
    "… as it was before": Case(spread=False, turns=False),
    "nearly nothing due": Case(sleepers=20_000),
    "… as it was before ": Case(sleepers=20_000, spread=False, turns=False),
    "one worker died": Case(dead=1),
    "… as it was before  ": Case(dead=1, spread=False, turns=False),
    "half of them died": Case(workers=2_000, dead=1_000),
    "… notifications lost": Case(workers=2_000, dead=1_000, notified=False),
    "all but ten died": Case(workers=1_010, dead=1_000),
}


def rows(cases: dict[str, Case]) -> Iterator[tuple[str, ...]]:
    """Simulate every case."""
    for name, case in cases.items():
        got = World(case).run()
        per_second = sum(got.statements.values()) / case.seconds
        most = max(got.adopters.values(), default=0) / max(1, sum(got.adopters.values()))
        yield (
            name.strip(),
            f"{per_second:,.0f}",
            f"{got.busiest:,}",
            f"{got.busy_ms / case.seconds / 1000:.1f}",
            f"{got.empty_claims / case.seconds:,.0f}",
            f"{got.late(0.5):,.0f} / {got.late(0.99):,.0f} ms",
            f"{got.adopted_after_ms / 1000:.1f} s" if case.dead else "",
            f"{len(got.adopters)}, {most:.0%}" if case.dead else "",
        )


def as_markdown(cases: dict[str, Case]) -> str:
    """The whole page."""
    head = ("case", "statements/s", "in the busiest second", "cores", "claims/s that found nothing",
            "late, median / p99", "adopted after the lease", "adopters, the busiest's share")  # fmt: skip
    lines = ["| " + " | ".join(row) + " |" for row in (head, ("---", *["---:"] * 7), *rows(cases))]
    return INTRODUCTION.format(
        workers=Case.workers, sleepers=Case.sleepers, hours=Case.over_hours, at_work=Case.at_work, cores=CORES
    ) + "\n".join([*lines, "", CONCLUSIONS])


INTRODUCTION = """# A thousand workers

Written by `python3 -m benchmarks.scale`: a simulation in virtual time, of the rules by which workers claim and take
over, with the constants of the code and no database. Its costs are assumptions (a heartbeat 0.3 ms of a core, a read
0.1 ms, a claim 1 ms and 0.05 ms a row, a takeover 0.016 ms a row, half a millisecond on the way); what it shows is who
does what how often.

{workers:,} workers, {sleepers:,} instances that sleep for up to {hours:g} hours (nearly a thousand are due a second),
one minute, a database with {cores} cores. Every dead worker had {at_work:,} instances at work.

"""

CONCLUSIONS = """## What it changed

Everybody is told the same moment at which the next instance is due. When all came at that moment, most claims found
nothing, and each was a transaction on disk. Now a worker comes at a moment of its own, within as many milliseconds as
there are workers (`Dispatcher.arm_with_jitter`); with a thousand of them an instance wakes later than before, by up to
the moment it is left to its owner. A dead worker is taken over by one other worker, which the rest leave alone for a
second (`TAKEOVER_LEASE_MS`), and which takes over eight dead workers at a time. Ten million instances of a thousand
dead workers take as long as the database needs for their rows.

## What is left

A sleeping instance that its owner put away keeps the owner's name, so others leave it to the owner for a moment. That
is how late it wakes, and most claims that find nothing meet such an instance.
"""


if __name__ == "__main__":
    PAGE.write_text(as_markdown(CASES), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))
