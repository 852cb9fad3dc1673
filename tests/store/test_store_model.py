"""Random histories: after each group of operations SqliteStore and the model answer the same and hold the same."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec import structs

from everstep.core.journal import AttemptRecord, StepRecord
from everstep.store.protocol import Change, InstanceChange, NewInstance, Store
from everstep.store.sqlite import SqliteStore

from .model import ModelStore

WORKFLOWS = ("a", "b")
IDS = ("one", "two")
TYPES = ("x", "y")
MOMENTS = st.integers(0, 400)
SOME_MOMENTS = st.none() | MOMENTS


@st.composite
def steps(draw: st.DrawFn) -> StepRecord:
    seq = draw(st.integers(1, 4))
    # What identifies a step never changes, so it follows from its number.
    kind, absolute, event_type = [
        ("do", False, None), ("sleep", False, None), ("wait", False, "x"), ("sleep", True, None)
    ][seq - 1]  # fmt: skip
    state = draw(st.sampled_from(["running", "retrying", "waiting", "complete", "errored", "cancelled"]))
    return StepRecord(
        seq,
        kind,
        f"step-{seq}",
        1,
        state,
        attempt=draw(st.integers(0, 3)),
        started_at=seq,
        attempt_at=draw(SOME_MOMENTS),
        ended_at=draw(SOME_MOMENTS) if state in ("complete", "errored", "cancelled") else None,
        wake_at=draw(SOME_MOMENTS),
        absolute=absolute,
        event_type=event_type,
        result=draw(st.none() | st.just("1")),
    )


attempts = st.builds(
    AttemptRecord, st.integers(1, 4), st.integers(1, 3), MOMENTS, MOMENTS, st.just("{}"), retry_at=SOME_MOMENTS
)
goings_on = st.one_of(
    st.builds(InstanceChange, st.sampled_from(["running", "paused"])),
    st.builds(InstanceChange, st.just("waiting"), due_at=SOME_MOMENTS),
)
ends = st.one_of(
    st.builds(InstanceChange, st.just("complete"), output=st.just("1"), ended_at=MOMENTS),
    st.builds(InstanceChange, st.just("errored"), error=st.just("{}"), ended_at=MOMENTS),
)
moves = st.one_of(goings_on, goings_on, goings_on, ends)  # an instance that ended has little more to show
some_steps = st.lists(steps(), max_size=3)
which = st.integers(0, 3)
taken = st.lists(st.integers(1, 6), max_size=2)
changes = st.one_of(
    st.tuples(which, some_steps, st.lists(attempts, max_size=2), taken, st.none() | moves),
    st.tuples(which, st.just([]), st.just([]), st.just([]), moves),
)
instances = {"workflow": st.sampled_from(WORKFLOWS), "id": st.sampled_from(IDS)}
operations = st.one_of(
    st.tuples(st.just("create"), st.fixed_dictionaries({**instances, "owned": st.booleans()})),
    st.tuples(st.sampled_from(["pause", "resume"]), st.fixed_dictionaries(instances)),
    st.tuples(st.sampled_from(["pause", "resume", "terminate"]), st.fixed_dictionaries(instances)),
    st.tuples(st.just("restart"), st.fixed_dictionaries({**instances, "version": st.none() | st.just("v2")})),
    st.tuples(st.just("send_event"), st.fixed_dictionaries({**instances, "type": st.sampled_from(TYPES)})),
    st.tuples(
        st.just("claim"),
        st.fixed_dictionaries({"workflows": st.sets(st.sampled_from(WORKFLOWS)), "limit": st.integers(1, 3)}),
    ),
    st.tuples(st.sampled_from(["recover", "release"]), st.just({})),
    changes.map(lambda change: ("write", {"change": change})),
    changes.map(lambda change: ("write", {"change": change})),
)


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.model = ModelStore()
        self.sqlite = SqliteStore(Path(self.folder.name) / "state.db")
        self.now = 0
        self.runner.run(self._open())

    @initialize(owned=st.tuples(st.booleans(), st.booleans()))
    def begin(self, owned: tuple[bool, bool]) -> None:
        """Have instances from the start, or most of a history is about ids that do not exist."""
        created = [("create", {"workflow": w, "id": "one", "owned": o}) for w, o in zip(WORKFLOWS, owned, strict=True)]
        self.runner.run(self._compare(created))

    @rule(group=st.lists(operations, min_size=1, max_size=5), later=st.integers(0, 40))
    def operate(self, group: list[tuple[str, dict[str, Any]]], later: int) -> None:
        """Ask for several things at once: they share a group, and take effect in order."""
        self.now += later
        self.runner.run(self._compare(group))

    @rule(later=st.integers(0, 40), crashed=st.booleans())
    def reopen(self, later: int, crashed: bool) -> None:
        """Close the file and open it again, as the next process would."""
        self.now += later
        self.runner.run(self._reopen(crashed))

    @invariant()
    def hold_the_same(self) -> None:
        self.runner.run(self._compare_rows())

    def teardown(self) -> None:
        self.runner.run(self.sqlite.close())
        self.runner.close()
        self.folder.cleanup()

    async def _open(self) -> None:
        await self.model.open()
        await self.sqlite.open()
        self.sqlite._writer.execute("pragma synchronous = off")  # answers are compared here, not durability

    async def _compare(self, group: list[tuple[str, dict[str, Any]]]) -> None:
        existing = len(self.model.instances)  # changes are only of instances that were there before
        expected = await self._answers(self.model, group, existing)
        assert await self._answers(self.sqlite, group, existing) == expected

    async def _answers(self, store: Store, group: list[tuple[str, dict[str, Any]]], existing: int) -> list[Any]:
        asked = [_ask(store, verb, arguments, self.now, existing) for verb, arguments in group]
        return [_comparable(answer) for answer in await asyncio.gather(*asked, return_exceptions=True)]

    async def _reopen(self, crashed: bool) -> None:
        if not crashed:
            await self.model.release(now=self.now)
            await self.sqlite.release(now=self.now)
        await self.sqlite.close()
        await self._open()
        assert await self.sqlite.recover(now=self.now) == await self.model.recover(now=self.now)

    async def _compare_rows(self) -> None:
        assert await self._view(self.sqlite) == await self._view(self.model)
        events = self.sqlite._reader.execute("select instance, id, type, payload, created_at from event order by id")
        assert events == [(pk, *structs.astuple(event)) for pk, event in self.model.events.values()]

    async def _view(self, store: Store) -> list[Any]:
        view: list[Any] = [await store.counts(), await store.unclaimable(["a"])]
        for workflow in WORKFLOWS:
            view.append(await store.page(workflow, status=None, limit=10, cursor=None))
            view.append(await store.page(workflow, status="running", limit=1, cursor=3))
            view += [await store.find(workflow, name) for name in IDS]
        for pk in self.model.instances:
            view += [await store.steps(pk), await store.attempts(pk)]
        return view


async def _ask(store: Store, verb: str, arguments: dict[str, Any], now: int, existing: int) -> Any:
    """Ask a store for one thing, the way its own verb wants it."""
    match verb:
        case "create":
            return await store.create(NewInstance(**arguments, created_at=now, params=None))
        case "write":
            which, *parts = arguments["change"]
            return await store.write(Change(which % existing + 1, *parts)) if existing else None
        case "claim":
            return await store.claim(sorted(arguments["workflows"]), now=now, limit=arguments["limit"])
        case "send_event":
            return await store.send_event(**arguments, payload=None, now=now)
        case _:
            return await getattr(store, verb)(**arguments, now=now)


def _comparable(answer: Any) -> Any:
    """Two refusals are the same if they are of one class and one code; their words may differ."""
    return (type(answer), answer.code) if isinstance(answer, Exception) else answer


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=80, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
