"""One seed: clients that ask for anything at any time, an engine that dies now and then, and peace in the end."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from everstep.core.errors import EverstepError
from everstep.core.types import TERMINAL
from everstep.engine.runtime.options import EngineOptions

from .postgres import PostgresDisk
from .programs import PROGRAMS, Catch, Child, Do, Parallel, Sleep, Wait
from .store import Disk, SeededFaults
from .witness import ViolationError
from .world import NAME, Life, World

TYPES = ("order.approval", "payment")
_MOST_LIVES = 12
_LONGEST_PEACE = 400


def simulate(seed: int, disk: Disk | PostgresDisk | None = None) -> list[str]:
    """Run one seed to its end and return what happened. Raises ViolationError for what must never be."""
    rng = random.Random(seed)
    disk = disk or Disk()
    faults = disk.seeded_faults(rng)
    options = EngineOptions(
        max_cached=rng.choice((0, 1, 1_000)),
        max_running=rng.choice((1, 2, 10_000, 10_000)),
        drain_ms=rng.choice((0, 2_000)),
    )
    world = World(str(seed), faults, options=options, concurrency=rng.choice((None, None, 1, 2)), disk=disk)
    Clients(seed, rng, world, faults).run()
    return world.trace


class Clients:
    """What is asked of the engine, over all its lives."""

    def __init__(self, seed: int, rng: random.Random, world: World, faults: SeededFaults) -> None:
        self._rng = rng
        self._world = world
        self._faults = faults
        self._left = rng.randint(4, 24)
        self._events = 0
        self._created: set[str] = set()
        self._ids = [f"i{number}" for number in range(rng.randint(1, 4))]
        self._programs = {id: f"{seed}.{id}" for id in self._ids}
        names = (f"s{number}" for number in range(1_000))
        for program in self._programs.values():
            PROGRAMS[program] = draw_program(rng, names, depth=3)

    def run(self) -> None:
        try:
            while not self._world.live(self._trouble) or self._left > 0:
                self._faults.peace = self._world.lives >= _MOST_LIVES
            self._faults.peace = True
            self._world.live(self._peace)
        finally:
            for name in [name for name in PROGRAMS if name.split(".")[0] == self._world._seed]:
                del PROGRAMS[name]

    async def _trouble(self, life: Life) -> None:
        """Ask for anything, from several sides, until there is nothing left to ask, or for a clean stop."""
        stops = self._rng.random() < 0.3
        sides = [asyncio.ensure_future(self._side(life, stops=stops)) for _ in range(self._rng.randint(1, 4))]
        await asyncio.gather(*sides)
        if stops or self._rng.random() < 0.3:
            await life.stop()

    async def _side(self, life: Life, *, stops: bool) -> None:
        while self._left > 0:
            self._left -= 1
            await asyncio.sleep(self._rng.choice((0, 0, 0.002, 0.05, 1, 5, 100)))
            if stops and self._rng.random() < 0.2:
                return
            await self._ask(life)

    async def _ask(self, life: Life) -> None:
        rng, control, id = self._rng, life.control, self._rng.choice(self._ids)
        asks: list[tuple[str, Any]] = [
            ("create", lambda: control.create(NAME, id=id, params=self._programs[id], tags=("t",))),
            ("create", lambda: control.create(NAME, id=id, params=self._programs[id])),
            ("create", lambda: control.create(NAME, id=id, params=self._programs[id])),
            ("send_event", lambda: self._send(life, id)),
            ("send_event", lambda: self._send(life, id)),
            ("pause", lambda: control.pause(NAME, id)),
            ("pause", lambda: control.pause(NAME, id)),
            ("resume", lambda: control.resume(NAME, id)),
            ("resume", lambda: control.resume(NAME, id)),
            ("terminate", lambda: control.terminate(NAME, id, rollback=rng.random() < 0.5)),
            ("restart", lambda: control.restart(NAME, id, from_step=rng.choice((None, "s0", "s2", "s5")))),
            ("status", lambda: control.status(NAME, id, steps=True)),
        ]
        what, ask = rng.choice(asks)
        await self._tried(life, what, id, ask)

    async def _tried(self, life: Life, what: str, id: str, ask: Any) -> None:
        life.note(f"{what} {id}?")
        try:
            await ask()
        except EverstepError as error:
            life.note(f"{what} {id}: {error.code}")
        else:
            life.note(f"{what} {id}: done")
            if what == "create":
                self._created.add(id)

    async def _send(self, life: Life, id: str) -> None:
        self._events += 1
        await life.control.send_event(NAME, id, type=self._rng.choice(TYPES), payload=f"event {self._events}")

    async def _peace(self, life: Life) -> None:
        """Resume whatever is paused, and see that everything ends."""
        for _ in range(_LONGEST_PEACE):
            open_ones = [one for one in self._world.witness.instances() if one.status not in TERMINAL]
            if not open_ones:
                break
            for one in open_ones:
                if one.status in {"paused", "waitingForPause"}:
                    await self._tried(life, "resume", one.id, lambda id=one.id: life.control.resume(NAME, id))
            await asyncio.sleep(120)
        else:
            raise ViolationError(f"these never end: {open_ones}")
        there = {one.id for one in self._world.witness.instances()}
        if lost := self._created - there:
            raise ViolationError(f"created, and gone: {lost}")
        await life.stop()


def draw_program(rng: random.Random, names: Any, *, depth: int) -> tuple[Any, ...]:
    """Draw a program."""
    return tuple(_node(rng, names, depth) for _ in range(rng.randint(1, 4)))


def _node(rng: random.Random, names: Any, depth: int) -> Any:
    kinds = ("do", "do", "do", "sleep", "wait", *(("parallel", "catch", "child") if depth else ()))
    match rng.choice(kinds):
        case "sleep":
            return Sleep(next(names), rng.choice((1, 1_000, 60_000, 600_000)))
        case "wait":
            return Wait(next(names), sent=True, type=rng.choice(TYPES))
        case "parallel":
            branches = range(rng.randint(2, 3))
            return Parallel(tuple(draw_program(rng, names, depth=depth - 1) for _ in branches))
        case "catch":
            return Catch(draw_program(rng, names, depth=depth - 1))
        case "child":
            return Child(next(names), draw_program(rng, names, depth=depth - 1))
    return Do(
        next(names),
        failures=rng.choice((0, 0, 0, 1, 3)),
        dies=rng.random() < 0.1,
        hangs=rng.random() < 0.2,
        spare=rng.choice((0, 1, 3)),
        takes_ms=rng.choice((0, 0, 3, 30, 4_000)),
        undo=rng.choice(("none", "none", "works", "fails")),
    )
