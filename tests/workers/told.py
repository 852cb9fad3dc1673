"""A worker process for the nemesis: carries out programs drawn at random, notes every attempt, and probes itself.

Usage: told.py DATABASE NOTES SEED [--lease "2 seconds"]
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import itertools
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from everstep import Everstep
from everstep.core.errors import EverstepError
from simulation.clients import draw_program
from simulation.programs import PROGRAMS, Catch, Child, Do, Parallel, Sleep, Wait, child_of, nodes_of, workflow

NAME = "told"
MOST_PROGRAMS = 60
_TAKES_MS = {4_000: 400, 30: 100}
_SPARE = 100
"""Attempts that a step has beyond those it fails: a nemesis takes away more of them than a crash here and there."""


class Notes:
    """Tells of every effect in a file that many processes share."""

    def __init__(self, path: str) -> None:
        self._path = path

    def began(self, instance: str, step: str, attempt: int) -> None:
        self.note(f"began/{instance}/{step}/{attempt}")

    def ended(self, instance: str, step: str) -> None:
        self.note(f"ended/{instance}/{step}/0")

    def note(self, what: str) -> None:
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{os.getpid()} {time.time():.4f} {what}\n".encode())
        os.close(handle)


def fill_programs(seed: int) -> None:
    """Draw the same programs in every process, those of children too: anybody may claim a child."""
    PROGRAMS.clear()
    rng = random.Random(seed)
    names = (f"s{number}" for number in itertools.count())
    for number in range(MOST_PROGRAMS):
        drawn = draw_program(rng, names, depth=2)
        name = f"p{number}"
        PROGRAMS[name] = tuple(_in_real_time(node, waits=True) for node in drawn)
        _register_children(name)


def _register_children(name: str) -> None:
    for node in nodes_of(PROGRAMS[name]):
        if isinstance(node, Child):
            _register_children(child_of(name, node))


def _in_real_time(node: Any, *, waits: bool) -> Any:
    """The same program for a clock that nobody moves; events are sent to those whose id is known beforehand."""

    def inner(body: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(_in_real_time(one, waits=waits) for one in body)

    match node:
        case Do():
            takes_ms = _TAKES_MS.get(node.takes_ms, node.takes_ms)
            return dataclasses.replace(node, hangs=False, spare=_SPARE, takes_ms=takes_ms)
        case Sleep():
            return Sleep(node.name, min(node.ms, 400))
        case Wait():
            return Wait(node.name, sent=True, type=node.name) if waits else Sleep(node.name, 1)
        case Catch():
            return Catch(inner(node.body))
        case Parallel():
            return Parallel(tuple(inner(branch) for branch in node.branches))
        case Child():
            return Child(node.name, tuple(_in_real_time(one, waits=False) for one in node.body))


def waits_of(name: str) -> Iterator[str]:
    """The types of the events a program may wait for."""
    return (node.type for node in nodes_of(PROGRAMS[name]) if isinstance(node, Wait))


async def _probe(es: Everstep, notes: Notes) -> None:
    """Ask for the smallest thing, over and over, and note how it was answered."""
    for number in itertools.count():
        began = time.monotonic()
        try:
            probe = await es.workflow(NAME).create(id=f"probe-{os.getpid()}-{number}", params="probe")
            await probe.result("10 seconds")
            notes.note(f"good/{time.monotonic() - began:.3f}//0")
        except EverstepError as error:
            notes.note(f"bad/{type(error).__name__}//0")
        await asyncio.sleep(0.3)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("database")
    parser.add_argument("notes")
    parser.add_argument("seed", type=int)
    parser.add_argument("--lease", default="2 seconds")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(process)d %(relativeCreated)d %(message)s")
    fill_programs(arguments.seed)
    PROGRAMS["probe"] = ()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    notes = Notes(arguments.notes)
    told = workflow(notes, retry_delay="0.05 seconds")
    async with Everstep([told], database=arguments.database, lease=arguments.lease) as es:
        print("ready", flush=True)
        probing = asyncio.ensure_future(_probe(es, notes))
        await stop.wait()
        probing.cancel()


if __name__ == "__main__":
    asyncio.run(main())
