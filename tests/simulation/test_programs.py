"""Random programs: the engine, crashed at every commit in turn, must agree with a plain interpreter."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from everstep.core.errors import InstanceStateError
from everstep.core.serialization.stored_error import error_info
from everstep.core.types import TERMINAL

from .postgres import PostgresDisk
from .programs import PROGRAMS, Catch, Child, Do, Expected, Parallel, Sleep, Wait, interpret, nodes_of
from .store import CutAt, Faults
from .world import NAME, Life, World

pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # the crashed engines'
_HOURS = 24
EXAMPLES = int(os.environ.get("EVERSTEP_TEST_PROGRAMS", "12"))
"""How many programs are drawn; each is run twice for every commit it makes."""


class CutAtOne(Faults):
    """The machine dies at one commit, counted over all its lives, or at every one that comes so many after the last."""

    def __init__(self, number: int, cut: CutAt, *, every: bool = False) -> None:
        super().__init__()
        self._number, self._cut, self._every = number, cut, every
        self.cuts = 0

    def cut(self) -> CutAt | None:
        reached = self.commits % self._number == 0 if self._every else self.commits == self._number
        if not reached or self.cuts >= _MOST_CUTS:
            return None
        self.cuts += 1
        return self._cut


_MOST_CUTS = 12
_SPARE = _MOST_CUTS + 2
"""Attempts that crashes may cost a step: more than there are, so that none of them decides how it ends."""


def programs() -> st.SearchStrategy[tuple[Any, ...]]:
    """Draw trees; names and event types are given afterwards, so that every node has its own."""
    do = st.builds(
        Do,
        st.just(""),
        failures=st.sampled_from((0, 0, 1, 2)),
        dies=st.sampled_from((False, False, False, True)),
        hangs=st.booleans(),
        spare=st.just(_SPARE),
        takes_ms=st.sampled_from((0, 3, 30)),
        undo=st.sampled_from(("none", "works", "works", "fails")),
    )
    sleep = st.builds(Sleep, st.just(""), st.sampled_from((1, 1_000, 600_000)))
    wait = st.builds(Wait, st.just(""), st.sampled_from((True, True, False)), st.just(""))

    def nested(node: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        block = st.lists(node, min_size=1, max_size=3).map(tuple)
        parallel = st.builds(Parallel, st.lists(block, min_size=2, max_size=3).map(tuple))
        return parallel | st.builds(Catch, block) | st.builds(Child, st.just(""), block)

    node = st.recursive(do | do | sleep | wait, nested, max_leaves=8)
    return st.lists(node, min_size=1, max_size=4).map(lambda nodes: _named(tuple(nodes), itertools.count()))


def _named(nodes: tuple[Any, ...], numbers: Any) -> tuple[Any, ...]:
    return tuple(_with_name(node, numbers) for node in nodes)


def _with_name(node: Any, numbers: Any) -> Any:
    name = f"n{next(numbers)}"
    match node:
        case Do():
            return Do(name, node.failures, node.dies, node.hangs, node.spare, node.takes_ms, node.undo)
        case Sleep():
            return Sleep(name, node.ms)
        case Wait():
            return Wait(name, node.sent, f"type.{name}")
        case Catch():
            return Catch(_named(node.body, numbers))
        case Parallel():
            return Parallel(tuple(_named(branch, numbers) for branch in node.branches))
    return Child(name, _named(node.body, numbers))


@settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(programs(), st.integers(0, 1_000_000))
@example((Parallel(((Sleep("n0", 1),), (Do("n1", 1, spare=_SPARE, undo="works"), Do("n2", dies=True)))),), 0)
def test_programs_end_as_the_interpreter_says_wherever_they_are_crashed(program: tuple[Any, ...], seed: int):
    commits = run(program, seed, Faults())
    for number in range(1, commits + 1):
        run(program, seed, CutAtOne(number, "before"))
        run(program, seed, CutAtOne(number, "after"))


@settings(deadline=None, max_examples=4 * EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(programs(), st.integers(0, 1_000_000), st.integers(2, 4), st.sampled_from(("before", "after")))
def test_programs_end_as_the_interpreter_says_however_often_they_are_crashed(
    program: tuple[Any, ...], seed: int, every: int, cut: CutAt
):
    run(program, seed, CutAtOne(every, cut, every=True))


def run(program: tuple[Any, ...], seed: int, faults: Faults, schema: PostgresDisk | None = None) -> int:
    """Run a program to its end, compare it with what the interpreter says, and return how many commits it took."""
    PROGRAMS.clear()
    PROGRAMS["p"] = program
    if schema is not None:
        schema.clear()
    world = World(str(seed), faults, disk=schema)
    sent: set[str] = set()
    while not world.live(lambda life: _carry_out(life, world, sent)):
        pass
    check(world, "one", program, crashes=world.lives - 1)
    return faults.commits


async def _carry_out(life: Life, world: World, sent: set[str]) -> None:
    """Create the instance unless it is there, send every event that is to come, and wait for the end."""
    there = {one.id for one in world.witness.instances()}
    if "one" not in there:
        await life.control.create(NAME, id="one", params="p")
    for _ in range(_HOURS * 60):
        open_ones = [one for one in world.witness.instances() if one.status not in TERMINAL]
        if not open_ones:
            return
        for one in open_ones:
            await _send_events(life, world, one.id, one.pk, sent)
        await asyncio.sleep(60)
    raise AssertionError(f"never ended: {open_ones}")


async def _send_events(life: Life, world: World, id: str, pk: int, sent: set[str]) -> None:
    waits = {node.name: node for node in nodes_of(_program_of(id)) if isinstance(node, Wait) and node.sent}
    for name, wait in waits.items():
        mark = f"{pk} {name}"
        if mark not in sent:  # an event whose answer was lost is sent again: two are on disk then, and one is taken
            with contextlib.suppress(InstanceStateError):  # it may have ended since it was listed
                await life.control.send_event(NAME, id, type=wait.type, payload=f"{mark}, life {world.lives}")
            sent.add(mark)


def _program_of(id: str) -> tuple[Any, ...]:
    """A child's id is its parent's, a dash and the node's name; so are the names of programs, with a slash."""
    return PROGRAMS["/".join(["p", *id.split("-")[1:]])]


# What must have come of it


def check(world: World, id: str, program: tuple[Any, ...], *, crashes: int) -> None:
    """Compare an instance, and its children, with what the interpreter says."""
    said = interpret(program)
    [found] = [one for one in world.witness.instances() if one.id == id]
    told = "\n".join(world.trace)
    assert found.status == said.status, told
    assert (found.error and error_info(found.error).name) == said.error, told
    if said.status == "complete":
        assert found.output is not None
        assert _plain(found.output) == said.output, told
    assert (found.rollback and _plain(found.rollback)["outcome"]) == said.rollback, told
    _check_attempts(world, found.pk, id, program, said, crashes)
    for node in nodes_of(program):
        if isinstance(node, Child) and any(one.id == f"{id}-{node.name}" for one in world.witness.instances()):
            check(world, f"{id}-{node.name}", node.body, crashes=crashes)


def _check_attempts(world: World, pk: int, id: str, program: tuple[Any, ...], said: Expected, crashes: int) -> None:
    steps = {(step.kind, step.name): step for step in world.witness.steps() if step.instance == pk}
    begun = world.witness.begun
    told = "\n".join(world.trace)
    for node in nodes_of(program):
        if not isinstance(node, Do):
            continue
        times, expected = begun[id, node.name], said.attempts.get(node.name, 0)
        row = steps.get(("do", node.name))
        if expected == 0:
            assert times == 0, f"{node.name} must not run\n{told}"
            continue
        # Attempts are numbered, and a crash uses up at most one number of each step: it may have begun, or not.
        assert row is not None
        assert expected <= row.attempt <= expected + crashes, f"{row}\n{told}"
        assert row.attempt - crashes <= times <= row.attempt + crashes, f"{times} times {row}\n{told}"
        if crashes == 0:
            assert times == expected == row.attempt, f"{times} times {row}\n{told}"
        undone = begun[id, f"undo {node.name}"]
        assert (undone > 0) <= (node.name in said.undone), f"undone {undone} times: {node.name}\n{told}"
        if said.undone.get(node.name):
            assert 1 <= undone <= 1 + crashes, f"undone {undone} times: {node.name}\n{told}"
    _check_order_of_undoing(world, id, steps)


def _check_order_of_undoing(world: World, id: str, steps: dict[tuple[str, str], Any]) -> None:
    """Handlers ran in the reverse order of their steps' start."""
    marks = [line.split(": undo ")[1].split(" ")[0] for line in world.trace if f" {id}: undo " in line]
    order = [name for name, _ in itertools.groupby(marks)]
    starts = [steps["do", name].seq for name in order]
    assert starts == sorted(starts, reverse=True), "\n".join(world.trace)


def _plain(text: str) -> Any:
    return msgspec.json.decode(text)
