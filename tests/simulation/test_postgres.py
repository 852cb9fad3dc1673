"""The engine on the PostgreSQL store in a simulated world: the same seeds, clients and programs; see `postgres.py`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from postgres_server import PostgresServer

from .clients import simulate
from .postgres import PostgresDisk
from .programs import Child, Do, Parallel, Sleep, Wait
from .store import CutAt, Faults
from .test_programs import EXAMPLES, CutAtOne, programs, run

pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited"),  # the crashed engines'
    pytest.mark.usefixtures("quiet"),
]
EXAMPLES_ON_POSTGRESQL = max(2, EXAMPLES // 6)
"""Besides one that has a bit of everything: the first that is drawn is always next to nothing."""
SAMPLED = 8
"""At so many of its commits a drawn program is crashed; the one below at every one."""
_EVERYTHING = (
    Do("n0", 1, spare=14, undo="works"),
    Child("n1", (Sleep("n2", 1_000), Do("n3", takes_ms=30))),
    Parallel(((Wait("n4", True, "type.n4"),), (Do("n5", 1, spare=14, undo="works"), Do("n6", dies=True, undo="none")))),
)


@pytest.fixture(scope="module")
def schema(postgres_server: PostgresServer) -> Iterator[PostgresDisk]:
    disk = PostgresDisk(postgres_server.empty_schema())
    yield disk
    disk.close()


@pytest.fixture
def disk(schema: PostgresDisk) -> PostgresDisk:
    schema.clear()
    return schema


def test_nothing_that_must_not_be_happens_on_postgresql(postgres_seed: int, disk: PostgresDisk):
    simulate(postgres_seed, disk)


def test_seeds_that_failed_once_still_pass_on_postgresql(kept_postgres_seed: int, found: str, disk: PostgresDisk):
    simulate(kept_postgres_seed, disk)


@pytest.mark.parametrize("number", [0, 20])
def test_the_same_seed_gives_the_same_trace_on_postgresql(number: int, disk: PostgresDisk):
    first = simulate(number, disk)
    disk.clear()

    assert simulate(number, disk) == first


def test_seeds_meet_every_kind_of_trouble_on_postgresql(disk: PostgresDisk):
    told = []
    for number in range(40, 80):
        disk.clear()
        told += simulate(number, disk)

    said = "\n".join(told)
    signs = ("the machine dies", "store.unavailable", "begins, attempt 2", "undo s", "complete due", "life 3")
    for sign in (
        *signs,
        "on disk: fence_workers",
        "on disk: what comes late",
        "on disk: skip_txn",
        "leaves at its start",
    ):
        assert sign in said
    for verb in ("create", "send_event", "pause", "resume", "terminate", "begin_rollback", "restart"):
        assert f"on disk: {verb} i" in said


_SETTINGS: dict[str, Any] = {
    "deadline": None,
    "phases": [Phase.explicit, Phase.reuse, Phase.generate],  # looking for a shorter one would take minutes
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}


@settings(max_examples=EXAMPLES_ON_POSTGRESQL, **_SETTINGS)
@given(programs(), st.integers(0, 1_000_000))
@example(_EVERYTHING, 0)
def test_programs_end_as_the_interpreter_says_wherever_they_are_crashed_on_postgresql(
    schema: PostgresDisk, program: tuple[Any, ...], seed: int
):
    commits = run(program, seed, Faults(), schema)
    every = range(1, commits + 1)
    for number in every if program == _EVERYTHING else random.Random(seed).sample(every, min(commits, SAMPLED)):
        run(program, seed, CutAtOne(number, "before"), schema)
        run(program, seed, CutAtOne(number, "after"), schema)


@settings(max_examples=4 * EXAMPLES_ON_POSTGRESQL, **_SETTINGS)
@given(programs(), st.integers(0, 1_000_000), st.integers(5, 9), st.sampled_from(("before", "after")))
@example(_EVERYTHING, 0, 7, "after")
def test_programs_end_as_the_interpreter_says_however_often_they_are_crashed_on_postgresql(
    schema: PostgresDisk, program: tuple[Any, ...], seed: int, every: int, cut: CutAt
):
    run(program, seed, CutAtOne(every, cut, every=True), schema)
