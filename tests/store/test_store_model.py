"""Random histories: after each group of operations SqliteStore and the model answer the same and hold the same."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

from hypothesis import given, note, settings
from hypothesis import strategies as st
from msgspec import structs

from everstep.core.journal import AttemptRecord, StepRecord
from everstep.store.protocol import Change, InstanceChange, NewInstance, Store
from everstep.store.sqlite import SqliteStore

from .factories import BOOM, CONTRADICTION
from .model import ModelStore

Operation: TypeAlias = tuple[str, dict[str, Any]]

WORKFLOWS = ("a", "b")
IDS = ("one", "two")
STATES = ("running", "retrying", "waiting", "waiting", "complete", "errored", "cancelled")
VERBS = {
    # Most often what keeps an instance going; its end is a rare thing in its life.
    "write": 12,
    "claim": 6,
    "pause": 3,
    "resume": 3,
    "send_event": 3,
    "recover": 2,
    "release": 1,
    "create": 1,
    "restart": 1,
    "terminate": 0.5,
}
IDENTITIES = {
    # What identifies a step never changes, so it follows from its number: kind, type of event, absolute.
    1: ("do", None, False),
    2: ("sleep", None, False),
    3: ("wait", "x", False),
    4: ("sleep", None, True),
}
MOVES = {"running": 3, "waiting": 8, "paused": 3, "complete": 0.5, "errored": 0.5}


# The seed is drawn, not every operation: what Hypothesis draws by itself repeats itself too much to be a history.
@given(seed=st.integers(0, 2**32), groups=st.integers(1, 80))
@settings(max_examples=80, deadline=None)
def test_random_histories_leave_the_store_and_the_model_the_same(seed: int, groups: int):
    asyncio.run(live(Random(seed), groups))


async def live(random: Random, groups: int) -> None:
    """Ask both stores for the same things, several at once: they share a group, and take effect in order."""
    now = 0
    with tempfile.TemporaryDirectory() as folder:
        model, sqlite = ModelStore(), SqliteStore(Path(folder) / "state.db")
        await open_both(model, sqlite)
        try:
            for _ in range(groups):
                now += random.choice((0, 1, 10, 50))
                if random.random() < 0.03:
                    note(f"{now}: reopen")
                    await sqlite.close()
                    await open_both(model, sqlite)
                group = [operation(random, now, model) for _ in range(random.randint(1, 6))]
                note(f"{now}: {group}")
                expected = await answers(model, group)
                assert await answers(sqlite, group) == expected
                assert await view(sqlite, model) == await view(model, model)
                assert events_of(sqlite) == [(pk, *structs.astuple(event)) for pk, event in model.events.values()]
        finally:
            await sqlite.close()


async def open_both(model: ModelStore, sqlite: SqliteStore) -> None:
    await model.open()
    await sqlite.open()
    sqlite._writer.execute("pragma synchronous = off")  # answers are compared here, not durability


async def answers(store: Store, group: list[Operation]) -> list[Any]:
    given = await asyncio.gather(*(ask(store, *operation) for operation in group), return_exceptions=True)
    # Two refusals are the same if they are of one class and one code; their words may differ.
    return [(type(one), one.code) if isinstance(one, Exception) else one for one in given]


async def ask(store: Store, verb: str, arguments: dict[str, Any]) -> Any:
    return await getattr(store, verb)(**arguments)


async def view(store: Store, model: ModelStore) -> list[Any]:
    """Everything the reading verbs show."""
    seen: list[Any] = [await store.counts(), await store.unclaimable(["a"])]
    for workflow in WORKFLOWS:
        seen.append(await store.page(workflow, status=None, limit=10, cursor=None))
        seen.append(await store.page(workflow, status="running", limit=1, cursor=3))
        seen += [await store.find(workflow, name) for name in IDS]
    for pk in model.instances:
        seen += [await store.steps(pk), await store.attempts(pk)]
    return seen


def events_of(sqlite: SqliteStore) -> list[tuple[Any, ...]]:
    return sqlite._reader.execute("select instance, id, type, payload, created_at from event order by id")


def operation(random: Random, now: int, model: ModelStore) -> Operation:
    [verb] = random.choices(list(VERBS), list(VERBS.values()))
    which = {"workflow": random.choice(WORKFLOWS), "id": random.choice(IDS)}
    match verb:
        case "create":
            return verb, {"new": NewInstance(**which, created_at=now, params=None, owned=random.random() < 0.5)}
        case "write" if model.instances:
            return verb, {"change": change(random, now, random.choice(list(model.instances)))}
        case "write" | "claim":
            workflows = random.choice((WORKFLOWS, WORKFLOWS, WORKFLOWS, ("b",), ()))
            return "claim", {"workflows": workflows, "now": now, "limit": random.randint(1, 3)}
        case "recover" | "release":
            return verb, {"now": now}
        case "send_event":
            return verb, {**which, "type": random.choice("xy"), "payload": None, "now": now}
        case "restart":
            return verb, {**which, "now": now, "version": random.choice((None, "v2"))}
        case _:
            return verb, {**which, "now": now}


def change(random: Random, now: int, pk: int) -> Change:
    if random.random() < 0.5:
        return Change(pk, instance=move(random, now))
    return Change(
        pk,
        [step(random, now) for _ in range(random.randint(0, 3))],
        [
            AttemptRecord(random.randint(1, 4), random.randint(1, 3), now, now, "{}", moment(random, now))
            for _ in range(random.randint(0, 2))
        ],
        [random.randint(1, 20) for _ in range(random.randint(0, 2))],
        move(random, now) if random.random() < 0.5 else None,
    )


def step(random: Random, now: int) -> StepRecord:
    seq = random.randint(1, 4)
    kind, event_type, absolute = IDENTITIES[seq]
    state = random.choice(STATES)
    return StepRecord(
        seq,
        kind,
        f"step-{seq}",
        1,
        state,
        attempt=random.randint(0, 3),
        started_at=seq,
        attempt_at=moment(random, now),
        ended_at=now if state in ("complete", "errored", "cancelled") else None,
        wake_at=moment(random, now),
        absolute=absolute,
        event_type=event_type,
        result=random.choice((None, "1")),
    )


def move(random: Random, now: int) -> InstanceChange:
    [status] = random.choices(list(MOVES), list(MOVES.values()))
    match status:
        case "waiting":
            return InstanceChange(status, due_at=moment(random, now))
        case "complete":
            return InstanceChange(status, output="1", ended_at=now)
        case "errored":
            return InstanceChange(status, error=random.choice((BOOM, CONTRADICTION)), ended_at=now)
        case _:
            return InstanceChange(status)


def moment(random: Random, now: int) -> int | None:
    """A time before, at or after now, or none."""
    return random.choice((None, max(0, now - 20), now, now + 1, now + 30, now + 200))
