"""Makes the records the tests of this rung write, with everything that does not matter filled in."""

from __future__ import annotations

from typing import Any

from everstep.core.errors import NonDeterminismError
from everstep.core.journal import AttemptRecord, StepRecord
from everstep.core.serialization.stored_error import encode_error
from everstep.store.protocol import Change, InstanceChange, InstanceRecord, NewInstance, Store

WORKFLOW = "orders"
BOOM = encode_error(ValueError("boom"))
CONTRADICTION = encode_error(NonDeterminismError("the code asks for another step than the one recorded"))


def new_instance(
    id: str = "one", *, workflow: str = WORKFLOW, at: int = 0, owned: bool = False, **more: Any
) -> NewInstance:
    return NewInstance(workflow, id, at, more.pop("params", None), owned, **more)


def do(seq: int = 1, state: Any = "complete", **more: Any) -> StepRecord:
    return StepRecord(seq, "do", f"step-{seq}", 1, state, **{"attempt": 1, "started_at": 10, **more})


def sleep(seq: int = 1, *, until: int, absolute: bool = False, state: Any = "waiting") -> StepRecord:
    return StepRecord(seq, "sleep", f"sleep-{seq}", 1, state, started_at=10, wake_at=until, is_absolute=absolute)


def wait(seq: int = 1, *, type: str = "approval", until: int | None = 1_000_000, state: Any = "waiting") -> StepRecord:
    return StepRecord(seq, "wait", f"wait-{seq}", 1, state, started_at=10, wake_at=until, event_type=type)


def child(
    seq: int = 1, *, of: str = WORKFLOW, id: str = "child", state: Any = "waiting", attempt: int = 0
) -> StepRecord:
    return StepRecord(seq, "child", f"child-{seq}", 1, state, attempt=attempt, started_at=10, child=f"{of}/{id}")


def compensation(seq: int, name: str, state: Any = "complete") -> StepRecord:
    return StepRecord(seq, "rollback", name, 1, state, attempt=1, started_at=10)


def failed_attempt(seq: int = 1, attempt: int = 1, **more: Any) -> AttemptRecord:
    return AttemptRecord(seq, attempt, **{"started_at": 10, "ended_at": 20, "error": BOOM, **more})


def ended(status: Any = "complete", *, at: int = 50, **more: Any) -> InstanceChange:
    return InstanceChange(status, ended_at=at, **more)


def waiting(until: int | None) -> InstanceChange:
    return InstanceChange("waiting", due_at=until)


async def instance(store: Store, id: str = "one", *, workflow: str = WORKFLOW) -> InstanceRecord:
    found = await store.find(workflow, id)
    assert found is not None
    return found


async def claimed_ids(store: Store, *, now: int, limit: int = 100, workflow: str = WORKFLOW) -> list[str]:
    claim = await store.claim([workflow], now=now, limit=limit)
    return [one.instance.id for one in claim.claimed]


async def owned_instance(store: Store, id: str = "one", *, at: int = 0, workflow: str = WORKFLOW) -> int:
    return await store.create(new_instance(id, workflow=workflow, at=at, owned=True))


async def said(store: Store, pk: int, *, after: int = 0) -> list[str]:
    """What happened to an instance, in a word each."""
    words = []
    for one in await store.history(pk, after=after):
        number = one.step.seq if one.step is not None else one.attempt.seq if one.attempt is not None else ""
        words.append(f"{one.event} {number}".strip())
    return words


async def instance_in(store: Store, status: str, id: str = "one") -> int:
    """Create an instance and bring it to a status by the verbs that lead there. Uses times up to 100."""
    if status == "queued":
        return await store.create(new_instance(id, at=10))
    pk = await owned_instance(store, id, at=10)
    await bring_to(store, status, pk, id)
    return pk


async def bring_to(store: Store, status: str, pk: int, id: str = "one") -> None:
    """Bring an instance at work to a status. Uses times up to 100."""
    match status:
        case "queued":
            await store.restart(WORKFLOW, id, now=100, version=None)
        case "running":
            pass
        case "waiting":
            await store.write(Change(pk, instance=waiting(1_000_000)))
        case "waitingForPause":
            await store.pause(WORKFLOW, id, now=100)
        case "paused":
            await store.write(Change(pk, instance=waiting(1_000_000)))
            await store.pause(WORKFLOW, id, now=100)
        case "released":
            await store.release(now=100)
        case "complete":
            await store.write(Change(pk, instance=ended("complete", at=100, output="1")))
        case "errored":
            await store.write(Change(pk, instance=ended("errored", at=100, error=BOOM)))
        case "terminated":
            await store.terminate(WORKFLOW, id, now=100)
        case _:
            raise ValueError(status)
