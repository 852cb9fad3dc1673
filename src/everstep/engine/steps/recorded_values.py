"""The time of day, ids and chance, recorded so that a replay sees them again."""

from __future__ import annotations

import random
import uuid
from datetime import datetime
from typing import Any

from everstep.api.current import Place, place
from everstep.api.step import ValueKind
from everstep.core import codec
from everstep.core.journal import StepRecord
from everstep.core.timestamps import utc
from everstep.engine.execution.execution import Execution


def recorded(run: Execution, kind: ValueKind) -> Any:
    """Return a value of a kind: the recorded one where there is one, a new one otherwise.

    Nobody waits for it to be on disk. What is written next waits for everything before it, so nothing that depends on
    the value can be on disk without it.
    """
    run.check_alive()
    # Named by the step this branch asked for last: branches run in another order when they are replayed.
    last = last_asked()
    name = kind if last is None else f"{kind} after {last.kind} {last.name} {last.count}"
    record = run.journal.find("value", name)
    if record is None:
        run.enter()
        now = run.host.clock.now()
        record = run.journal.begin("value", name, now)
        record.state, record.ended_at = "complete", now
        record.result, _ = codec.encode(_new(run, kind), where=f"step.{kind}()")
        run.write_soon(record)
    return codec.decode(record.result or "null", where=f"step.{kind}()")


def asked(record: StepRecord) -> None:
    """Note the row that this branch asks for. A step that is attempted is noted by its attempt."""
    place.set(Place(record, over=True))


def last_asked() -> StepRecord | None:
    """Return the row that this branch asked for last, if it has asked for one."""
    here = place.get()
    return None if here is None else here.record


def _new(run: Execution, kind: ValueKind) -> datetime | uuid.UUID | float:
    match kind:
        case "now":
            return utc(run.host.clock.now())
        case "uuid":
            return uuid.uuid4()
        case "random":
            return random.random()  # noqa: S311  # chance for programs, not for secrets
