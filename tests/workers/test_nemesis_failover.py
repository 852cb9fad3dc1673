"""Random programs on three workers and a replicated database, all of them harmed at random; then peace.

One round takes some twenty seconds; `EVERSTEP_NEMESIS_ROUNDS` says how many, `EVERSTEP_NEMESIS_SEED` where they begin.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from everstep import Everstep
from everstep.core.errors import EverstepError, InstanceNotFoundError, InstanceStateError
from everstep.engine.runtime.options import EngineOptions
from proxies import Proxy
from simulation.programs import PROGRAMS, Child, Do, interpret, nodes_of, workflow

from .pair import Pair
from .told import NAME, Notes, fill_programs, waits_of

pytestmark = pytest.mark.crash

ROUNDS = int(os.environ.get("EVERSTEP_NEMESIS_ROUNDS", "1"))
SEED = int(os.environ.get("EVERSTEP_NEMESIS_SEED", "7"))
LEASE = 2.0
INSTANCES = 60
STRIKES = 10
_WORKER = Path(__file__).with_name("told.py")


@dataclass
class Post:
    """A worker's place: a process, its successors, and the wires between them and the database."""

    wires: tuple[Proxy, Proxy]
    process: asyncio.subprocess.Process
    handover: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class Harm:
    """What was done to whom, from when until when; to everybody if to nobody by name."""

    what: str
    pid: int | None
    began: float
    ended: float = field(default=float("inf"))


class Nemesis:
    """Three posts and the harm done to them, all of it drawn from one seed."""

    def __init__(self, pair: Pair, notes: Path, seed: int) -> None:
        self._pair, self._notes, self._seed = pair, notes, seed
        self._chance = random.Random(seed)
        self.posts: list[Post] = []
        self.harms: list[Harm] = []
        self._database = asyncio.Lock()
        self._everybody: list[asyncio.subprocess.Process] = []

    async def man(self) -> None:
        """Put a worker on each post."""
        for _ in range(3):
            wires = Proxy(self._pair.primary.port), Proxy(self._pair.standby.port)
            self.posts.append(Post(wires, await self._hired(wires)))

    async def strike(self, number: int) -> None:
        """Do one harm and undo it, at times another beside it; halfway the primary is lost for good."""
        if number == STRIKES // 2:
            await self._harm("failover", None, self._to_database(self._pair.fail_over))
        elif self._chance.random() < 0.3:
            await asyncio.gather(self._one(), self._one())
        else:
            await self._one()

    async def _one(self) -> None:
        post = self._chance.choice(self.posts)
        seconds = self._chance.choice((0.3, LEASE * 1.6))
        what = self._chance.choice(("kill", "kill", "stop", "hold", "cut", "database"))
        works: dict[str, Any] = {
            "kill": lambda: self._kill(post),
            "stop": lambda: self._stop(post, seconds),
            "hold": lambda: self._hold(post, seconds),
            "cut": lambda: self._cut(post, seconds),
            "database": lambda: self._to_database(self._pair.crash_and_recover),
        }
        await self._harm(what, None if what == "database" else post.process.pid, works[what]())

    async def end(self) -> None:
        """Dismiss everybody."""
        for process in self._everybody:
            if process.returncode is None:
                process.kill()
            await process.wait()
        for post in self.posts:
            for wire in post.wires:
                await asyncio.to_thread(wire.close)

    async def _harm(self, what: str, pid: int | None, work: Any) -> None:
        harm = Harm(what, pid, time.time())
        self.harms.append(harm)
        await work
        harm.ended = time.time()

    async def _to_database(self, work: Callable[[], None]) -> None:
        async with self._database:
            await asyncio.to_thread(work)

    async def _kill(self, post: Post) -> None:
        async with post.handover:  # two may be after the same worker
            post.process.kill()
            await post.process.wait()
            post.process = await self._hired(post.wires)

    async def _stop(self, post: Post, seconds: float) -> None:
        pid = post.process.pid
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):  # killed meanwhile
            os.kill(pid, signal.SIGCONT)

    async def _hold(self, post: Post, seconds: float) -> None:
        for wire in post.wires:
            wire.hold()
        await asyncio.sleep(seconds)
        for wire in post.wires:
            wire.heal()

    async def _cut(self, post: Post, seconds: float) -> None:
        for wire in post.wires:
            await asyncio.to_thread(wire.cut)
        await asyncio.sleep(seconds)
        for wire in post.wires:
            wire.heal()

    async def _hired(self, wires: tuple[Proxy, Proxy]) -> asyncio.subprocess.Process:
        command = [sys.executable, str(_WORKER), self._pair.url(wires[0].port, wires[1].port), str(self._notes)]
        with self._notes.with_suffix(".log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command, str(self._seed), "--lease", f"{LEASE} seconds", stdout=asyncio.subprocess.PIPE, stderr=log
            )
        self._everybody.append(process)
        assert process.stdout is not None
        async with asyncio.timeout(30):
            ready = await process.stdout.readline() == b"ready\n"
        # It leaves when it finds no database at its start; whoever hired it tries again.
        return process if ready else await self._hired(wires)


@pytest.mark.parametrize("seed", range(SEED, SEED + ROUNDS))
async def test_programs_end_as_they_must_whatever_happens_to_workers_wires_and_databases(
    pair: Pair, tmp_path: Path, seed: int
):
    fill_programs(seed)
    notes = tmp_path / "notes"
    nemesis = Nemesis(pair, notes, seed)
    nobody = EngineOptions(max_running=0)
    told = workflow(Notes(str(notes)))
    try:
        await nemesis.man()
        async with Everstep([told], database=pair.url(), lease=f"{LEASE} seconds", options=nobody) as client:
            clients = [asyncio.ensure_future(_carried_out(client, f"p{number}")) for number in range(INSTANCES)]
            for number in range(STRIKES):
                await asyncio.sleep(0.3)
                await nemesis.strike(number)
            healed = time.time()
            await asyncio.wait(clients, timeout=60)
            late = [f"p{number}" for number, one in enumerate(clients) if not one.done()]
            assert not late, [await (await client.workflow(NAME).get(id)).status(steps=True) for id in late]
            instances = [one.result() for one in clients]
            what = _Attempts(notes, nemesis.harms)
            for name, instance in zip((f"p{number}" for number in range(INSTANCES)), instances, strict=True):
                await _check(client, name, instance, what)
            await _all_are_well(nemesis, what, healed)
        what.sum_up(seed)
    except BaseException:
        print(notes.with_suffix(".log").read_text()[-6000:])
        print(*nemesis.harms, sep="\n")
        raise
    finally:
        await nemesis.end()


async def _carried_out(client: Everstep, name: str) -> Any:
    """Create an instance, send it every event it may wait for, and wait for its end, whatever the answers are."""
    await asyncio.sleep(int(name[1:]) * 0.2)
    instance: Any = None
    while instance is None:
        try:
            instance = await client.workflow(NAME).get_or_create(id=name, params=name)
        except EverstepError:
            await asyncio.sleep(0.1)
    to_send = list(waits_of(name))
    while to_send:
        try:
            await instance.send_event(type=to_send[-1], payload=name)
            to_send.pop()
        except InstanceStateError:
            break
        except EverstepError:
            await asyncio.sleep(0.1)
    while True:
        try:
            status = await instance.status()
            if status.ended_at is not None:
                return instance
        except EverstepError:
            pass
        await asyncio.sleep(0.2)


class _Attempts:
    """What the workers' notes say about attempts, and what the harm done explains."""

    def __init__(self, notes: Path, harms: list[Harm]) -> None:
        self._notes = notes
        self.harms = harms
        self.again = 0
        self.read()

    def read(self) -> None:
        self.begun: dict[tuple[str, str], list[tuple[float, int, int]]] = defaultdict(list)
        self.probes: dict[int, list[tuple[float, str]]] = defaultdict(list)
        for line in self._notes.read_text().splitlines():
            pid, at, what = line.split(" ", 2)
            kind, instance, step, attempt = what.split("/")
            if kind == "began":
                self.begun[instance, step].append((float(at), int(pid), int(attempt)))
            elif kind in ("good", "bad"):
                self.probes[int(pid)].append((float(at), kind if kind == "good" else f"bad: {instance}"))

    def check(self, instance: str, step: str, expected: int, ended_at: float | None, upto: int | None) -> None:
        """Every attempt too many, or too few, has a harm that cut one off, and none began after the step had ended.

        An attempt that was cut off has used up its number when its start was written, and runs again when it was not.
        """
        begun = self.begun[instance, step]
        told = f"{instance} {step}: {begun}, ended {ended_at}, {self.harms}"
        if expected == 0:
            assert not begun, told
            return
        begins = sorted(begun)
        assert max(attempt for _, _, attempt in begins) >= expected, told
        extra = len(begins) - expected
        self.again += max(0, extra)
        assert abs(extra) <= len([harm for harm in self.harms if begins[0][0] - 2 * LEASE <= harm.ended]), told
        if upto is not None:
            assert {attempt for _, _, attempt in begun} <= set(range(1, upto + 1)), told
        for at, pid, _ in begins:
            # Whoever stood still for its lease asks whose the instance is before it begins anything.
            assert ended_at is None or at <= ended_at + 0.1, f"{pid} at {at}: {told}"

    def sum_up(self, seed: int) -> None:
        harms = Counter(harm.what for harm in self.harms)
        total = sum(map(len, self.begun.values()))
        print(f"seed {seed}: {dict(harms)}; {total} attempts, {self.again} because of them")


async def _check(client: Everstep, name: str, instance: Any, what: _Attempts) -> None:
    said = interpret(PROGRAMS[name])
    status = await instance.status(steps=True)
    assert (status.status, status.error and status.error.name) == (said.status, said.error), (name, status)
    if said.status == "complete":
        assert status.output == said.output, name
    assert (status.rollback and status.rollback.outcome) == said.rollback, (name, status)
    rows = {(one.type, one.name): one for one in status.steps}
    for node in nodes_of(PROGRAMS[name]):
        if isinstance(node, Do):
            row = rows.get(("do", node.name))
            ended_at = row.ended_at.timestamp() if row is not None and row.ended_at is not None else None
            upto = row.attempts[-1].attempt if row is not None and row.attempts else None
            what.check(instance.id, node.name, said.attempts.get(node.name, 0), ended_at, upto)
            numbers = [one.attempt for one in row.attempts] if row is not None else []
            assert numbers == sorted(set(numbers)), (name, node.name, numbers)
            if said.undone.get(node.name):
                assert what.begun[instance.id, f"undo {node.name}"], (name, node.name)
            elif node.name not in said.undone:
                assert not what.begun[instance.id, f"undo {node.name}"], (name, node.name)
        elif isinstance(node, Child):
            try:
                child = await client.workflow(NAME).get(f"{instance.id}-{node.name}")
            except InstanceNotFoundError:
                continue
            await _check(client, f"{name}/{node.name}", child, what)


async def _all_are_well(nemesis: Nemesis, what: _Attempts, healed: float) -> None:
    """The last answers of every worker are good ones."""
    async with asyncio.timeout(30):
        for post in nemesis.posts:
            while True:
                what.read()
                last = what.probes[post.process.pid][-2:]
                if len(last) == 2 and all(at > healed and said == "good" for at, said in last):
                    break
                await asyncio.sleep(0.1)
