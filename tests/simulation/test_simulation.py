"""The engine in a simulated world, seed by seed; `clients.py` is what happens, `witness.py` what must not."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import pytest

from everstep.store.sqlite.group_commit import GroupCommit

from .clients import simulate
from .loop import NothingLeftError, SimulatedLoop
from .store import Disk
from .witness import ViolationError, Witness

pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # the crashed engines'


def test_nothing_that_must_not_be_happens(seed: int):
    simulate(seed)


def test_seeds_that_failed_once_still_pass(kept_seed: int, found: str):
    simulate(kept_seed)


@pytest.mark.parametrize("number", [3, 77, 705])
def test_the_same_seed_gives_the_same_trace(number: int):
    assert simulate(number) == simulate(number)


def test_different_seeds_give_different_traces():
    traces = {tuple(simulate(number)) for number in range(10)}

    assert len(traces) == 10


def test_seeds_meet_every_kind_of_trouble():
    told = "\n".join(line for number in range(60) for line in simulate(number))

    for sign in ("the machine dies", "store.unavailable", "begins, attempt 2", "undo s", "complete due", "life 3"):
        assert sign in told
    for verb in ("create", "send_event", "pause", "resume", "terminate", "begin_rollback", "restart"):
        assert f"on disk: {verb} i" in told


def test_seeds_take_every_way_to_the_disk(monkeypatch: pytest.MonkeyPatch):
    taken: Counter[str] = Counter()

    def counted(name: str) -> None:
        way = getattr(GroupCommit, name)

        def take(*arguments: Any) -> Any:
            taken[name] += 1
            return way(*arguments)

        monkeypatch.setattr(GroupCommit, name, take)

    ways = ("_commit_inline", "_commit_on_loop", "_commit_with_retry", "_requeue_on_writer", "_fail_callers")
    for name in ways:
        counted(name)
    for number in range(60):
        simulate(number)

    assert all(taken[name] for name in ways), taken


# The simulation itself


def in_loop(seed: int, work: Callable[[], Awaitable[Any]]) -> Any:
    with closing(SimulatedLoop(random.Random(seed), before_time_passes=lambda: None)) as loop:
        return loop.run_until_complete(work())


async def order_of_three() -> list[int]:
    ran: list[int] = []

    async def branch(number: int) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
            ran.append(number)

    await asyncio.gather(*map(branch, range(3)))
    return ran


def test_the_seed_decides_which_task_goes_first_and_each_goes_once_a_turn():
    orders = [in_loop(seed, order_of_three) for seed in range(20)]

    assert len({tuple(order) for order in orders}) > 10
    assert all(sorted(order[turn : turn + 3]) == [0, 1, 2] for order in orders for turn in (0, 3, 6))


def test_time_passes_only_when_nothing_is_ready():
    async def sleeps() -> float:
        await asyncio.gather(asyncio.sleep(3_600), asyncio.sleep(10))
        return asyncio.get_running_loop().time()

    assert in_loop(1, sleeps) == 3_600


def test_what_one_callback_asked_for_runs_in_one_go_and_in_order():
    async def asks() -> list[str]:
        ran: list[str] = []
        loop = asyncio.get_running_loop()

        def ask(asker: str) -> None:
            for number in range(3):
                loop.call_soon(ran.append, f"{asker}{number}")

        for asker in "ab":
            loop.call_soon(ask, asker)
        await asyncio.sleep(1)
        return ran

    first, second = ["a0", "a1", "a2"], ["b0", "b1", "b2"]
    assert {tuple(in_loop(seed, asks)) for seed in range(20)} == {(*first, *second), (*second, *first)}


def test_what_goes_to_a_thread_is_done_at_once():
    assert in_loop(1, lambda: asyncio.to_thread(lambda: "done")) == "done"


def test_waiting_for_nothing_is_noticed():
    async def waits() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(NothingLeftError):
        in_loop(1, waits)


# The witness itself: each complaint, from rows that nobody wrote


def broken(*statements: str) -> Witness:
    disk = Disk()
    disk.rows("""insert into instance (pk, workflow, id, status, due_at, created_at, "trigger")
                 values (1, 'told', 'one', 'waiting', 50, 0, 'binding')""")
    disk.rows("""insert into step (instance, seq, kind, name, count, state, attempt, started_at, wake_at, is_absolute,
                                   compensable, sensitive)
                 values (1, 1, 'sleep', 's0', 1, 'waiting', 0, 0, 50, 0, 0, 0),
                        (1, 2, 'do', 's1', 1, 'complete', 1, 0, null, 0, 0, 0)""")
    witness = Witness(disk)
    witness.look([], 0)
    for statement in statements:
        disk.rows(statement)
    return witness


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("update step set result = '2' where seq = 2", "a step that had ended changed"),
        ("delete from step where seq = 2", "a step that had ended changed"),
        ("update instance set due_at = null", "nobody will find it"),
        ("update instance set due_at = 60", "due too late"),
        ("update instance set status = 'queued', due_at = null", "nobody will find it"),
        ("update instance set status = 'complete'", "half ended"),
    ],
)
def test_the_witness_complains(statement: str, complaint: str):
    with pytest.raises(ViolationError, match=complaint):
        broken(statement).look([], 0)


def test_the_witness_complains_of_an_instance_that_moves_after_its_end():
    witness = broken("update instance set status = 'complete', ended_at = 1")
    witness.look([], 0)
    witness._disk.rows("update instance set status = 'terminated'")

    with pytest.raises(ViolationError, match="an instance that had ended moved"):
        witness.look([], 0)


def test_the_witness_complains_of_a_step_that_runs_again_or_beside_itself():
    witness = broken()

    with pytest.raises(ViolationError, match="runs again"):
        witness.began("one", "s1", 1)
    witness.began("one", "s9", 1)
    with pytest.raises(ViolationError, match="beside itself"):
        witness.began("one", "s9", 2)
