"""Random histories: after each group of operations SqliteStore and the model answer the same and hold the same."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

from hypothesis import given, note, settings
from hypothesis import strategies as st
from msgspec import structs

from everstep.core.journal import AttemptRecord, StepRecord
from everstep.store.protocol import Change, HistoryEntry, InstanceChange, NewInstance, StepKey, Store
from everstep.store.sqlite.store import SqliteStore

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
    "restart": 2,
    "begin_rollback": 0.5,
    "write_chunk": 1,
    "terminate": 0.5,
    "delete": 0.3,
    "expire": 0.5,
}
IDENTITIES = {
    # What identifies a step never changes, so it follows from its number: kind, type of event, absolute.
    1: {"kind": "do", "compensable": True},
    2: {"kind": "sleep"},
    3: {"kind": "wait", "event_type": "x"},
    4: {"kind": "sleep", "is_absolute": True},
    5: {"kind": "child", "child": "b/two"},
    6: {"kind": "rollback"},
}
MOVES = {"running": 3, "waiting": 8, "paused": 3, "complete": 0.5, "errored": 0.5, "terminated": 0.2}


# The seed is drawn, not every operation: what Hypothesis draws by itself repeats itself too much to be a history.
@given(seed=st.integers(0, 2**32), groups=st.integers(1, 80))
@settings(max_examples=80, deadline=None)
def test_random_histories_leave_the_store_and_the_model_the_same(seed: int, groups: int):
    asyncio.run(live(Random(seed), groups))


async def live(random: Random, groups: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        await compare(QuickSqliteStore(Path(folder) / "state.db"), ModelStore(), random, groups)


class QuickSqliteStore(SqliteStore):
    async def open(self) -> None:
        await super().open()
        self._writer.execute("pragma synchronous = off")  # answers are compared here, not durability

    async def all_events(self) -> list[tuple[Any, ...]]:
        return self._reader.execute("select instance, id, type, payload, created_at from event order by id")


async def compare(
    store: Any, model: ModelStore, random: Random, groups: int, *, say: Callable[[str], object] = note
) -> None:
    """Ask both stores for the same things, several at once: they share a group, and take effect in order."""
    now = 0
    await model.open()
    await store.open()
    try:
        for _ in range(groups):
            now += random.choice((0, 1, 10, 50))
            if random.random() < 0.03:
                say(f"{now}: reopen")
                await store.close()
                await model.open()
                await store.open()
                assert await store.recover(now=now) == await model.recover(now=now)
            group = [operation(random, now, model) for _ in range(random.randint(1, 6))]
            say(f"{now}: {group}")
            expected = await answers(model, group)
            assert await answers(store, group) == expected
            assert await view(store, model) == await view(model, model)
            assert await store.all_events() == [(pk, *structs.astuple(event)) for pk, event in model.events.values()]
    finally:
        await store.close()


async def answers(store: Store, group: list[Operation]) -> list[Any]:
    given = await asyncio.gather(*(ask(store, *operation) for operation in group), return_exceptions=True)
    # Two refusals are the same if they are of one class and one code; their words may differ.
    return [(type(one), one.code) if isinstance(one, Exception) else one for one in given]


async def ask(store: Store, verb: str, arguments: dict[str, Any]) -> Any:
    return await getattr(store, verb)(**arguments)


async def view(store: Store, model: ModelStore) -> list[Any]:
    """Everything the reading verbs show."""
    seen: list[Any] = [await store.counts(), await store.unclaimable(["a"]), await store.due(["a"], now=1_500)]
    seen.append(await store.list_owned())
    for workflow in WORKFLOWS:
        seen.append(await store.page(workflow, status=None, limit=10, cursor=None))
        seen.append(await store.page(workflow, status="running", limit=1, cursor=3))
        seen += [await store.find(workflow, name) for name in IDS]
        seen.append(await store.page(workflow, status=None, limit=2, cursor=None, tag="red"))
    for pk in model.instances:
        seen += [await store.by_pk(pk), await store.descendants(pk), await store.steps(pk), await store.attempts(pk)]
        seen += [await store.lines([pk]), await store.outline(pk), await store.steps(pk, first=2, last=3, chars=1)]
        seen += [told(await store.history(pk, after=0))]
        seen += [await store.chunks(pk, 1, attempt, after=0, limit=5) for attempt in (1, 2)]
    return seen


def told(happenings: list[HistoryEntry]) -> list[HistoryEntry]:
    """What happenings say in order: their positions are every store's own affair, as long as they rise."""
    positions = [one.position for one in happenings]
    assert positions == sorted(set(positions))
    return [structs.replace(one, position=0) for one in happenings]


def operation(random: Random, now: int, model: ModelStore) -> Operation:
    [verb] = random.choices(list(VERBS), list(VERBS.values()))
    if not model.instances and verb.startswith("write"):
        verb = "claim"
    which = {"workflow": random.choice(WORKFLOWS), "id": random.choice(IDS)}
    arguments: dict[str, Any] = {**which, "now": now}
    match verb:
        case "create":
            arguments = {"new": new(random, now, which, model)}
        case "write":
            arguments = {"change": change(random, now, random.choice(list(model.instances)), model)}
        case "write_chunk":
            arguments = {"pk": random.choice(list(model.instances)), "seq": 1, "attempt": random.randint(1, 2)}
            arguments |= {"number": random.randint(0, 2), "data": str(now).encode()}
        case "claim":
            workflows = random.choice((WORKFLOWS, WORKFLOWS, WORKFLOWS, ("b",), ()))
            arguments = {"workflows": workflows, "now": now, "limit": random.randint(1, 3)}
            arguments["woken_first"] = random.random() < 0.5
        case "recover" | "release":
            arguments = {"now": now}
        case "send_event":
            arguments |= {"type": random.choice("xy"), "payload": None}
        case "restart":
            arguments["version"] = random.choice((None, "v2"))
            if random.random() < 0.5:
                seq = random.choice(list(IDENTITIES))
                arguments["from_step"] = StepKey(IDENTITIES[seq]["kind"], f"step-{seq}", 1)
        case "begin_rollback":
            arguments["error"] = random.choice((BOOM, CONTRADICTION))
        case "expire":
            arguments = {"now": now, "limit": random.randint(1, 2)}
    return verb, arguments


def new(random: Random, now: int, which: dict[str, str], model: ModelStore) -> NewInstance:
    return NewInstance(
        **which,
        created_at=now,
        params=None,
        owned=random.random() < 0.5,
        parent=random.choice([None, *model.instances]),
        tags=random.choice(((), ("red",), ("red", "blue"), ("red", "red"))),
        success_retention_ms=random.choice((None, 0, 100)),
    )


def change(random: Random, now: int, pk: int, model: ModelStore) -> Change:
    parent = model.instances[pk]["parent"]
    if random.random() < 0.5:
        return Change(pk, instance=move(random, now, parent))
    return Change(
        pk,
        [step(random, now) for _ in range(random.randint(0, 3))],
        [
            AttemptRecord(random.randint(1, 4), random.randint(1, 3), now, now, "{}", moment(random, now))
            for _ in range(random.randint(0, 2))
        ],
        [id for id, (owner, _) in model.events.items() if owner == pk and random.random() < 0.3],
        move(random, now, parent) if random.random() < 0.5 else None,
    )


def step(random: Random, now: int) -> StepRecord:
    seq = random.choice(list(IDENTITIES))
    state = random.choice(STATES)
    return StepRecord(
        seq=seq,
        name=f"step-{seq}",
        count=1,
        state=state,
        attempt=random.randint(0, 3),
        started_at=seq,
        attempt_at=moment(random, now),
        ended_at=now if state in ("complete", "errored", "cancelled") else None,
        wake_at=moment(random, now),
        result=random.choice((None, "1")),
        **IDENTITIES[seq],
    )


def move(random: Random, now: int, parent: int | None) -> InstanceChange:
    [status] = random.choices(list(MOVES), list(MOVES.values()))
    match status:
        case "waiting":
            return InstanceChange(status, due_at=moment(random, now), at=now)
        case "running" | "paused":
            return InstanceChange(status, at=now)
    end = InstanceChange(status, ended_at=now, expires_at=moment(random, now), parent=parent, at=now)
    if status == "complete":
        return structs.replace(end, output="1")
    rollback = random.choice((None, '{"outcome":"complete"}'))
    return structs.replace(end, error=random.choice((BOOM, CONTRADICTION)), rollback=rollback)


def moment(random: Random, now: int) -> int | None:
    """A time before, at or after now, or none."""
    return random.choice((None, max(0, now - 20), now, now + 1, now + 30, now + 200))
