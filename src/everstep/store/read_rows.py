"""The columns that reads select, and how both stores combine the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from everstep.core.journal import AttemptRecord, StepRecord
from everstep.store.protocol import HistoryEntry, InstanceRecord

T = TypeVar("T")

OUTLINE = StepRecord.__struct_fields__[: StepRecord.__struct_fields__.index("result")]
"""The columns of a step that are read without its values.

They stand before these in the table, too: SQLite keeps a long row in a chain of pages, and reads all of it to reach
what stands at its end.
"""
LINE = InstanceRecord.__struct_fields__[: InstanceRecord.__struct_fields__.index("rollback")]
"""The same for an instance."""


def line_of(row: Sequence[Any]) -> InstanceRecord:
    """Return an instance whose values were not read."""
    columns: list[Any] = [*row, None, None, None, None]
    return InstanceRecord(*columns)


def quoted(columns: Iterable[str]) -> str:
    """Write columns whose names may be words of SQL."""
    return ", ".join(f'"{name}"' for name in columns)


def cut_step(chars: str) -> str:
    """Write the columns of a step, its result cut to one character more than the parameter `chars` says."""
    cut = f"case when {chars} is null then result else substr(result, 1, {chars} + 1) end"
    return ", ".join(cut if name == "result" else name for name in StepRecord.__struct_fields__)


def grouped(rows: Iterable[Any], make: Callable[[Any], T]) -> dict[int, list[T]]:
    """Put what is made of each row under the instance in its first column."""
    found: dict[int, list[T]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(make(row))
    return found


def merge_history(
    after: int,
    *,
    status_events: Iterable[Sequence[Any]],
    steps: Iterable[tuple[int | None, int | None, StepRecord]],
    attempts: Iterable[tuple[int, AttemptRecord]],
    ended: Iterable[Sequence[Any]],
) -> list[HistoryEntry]:
    """Return what was written about an instance after a position, in the order it was written.

    Steps come with the positions where they began and ended, attempts with theirs.
    """
    found = [HistoryEntry(place, at, what, number=number or 0) for place, at, what, number in status_events]
    for position, ended_position, step in steps:
        if position is not None and position > after:
            found.append(HistoryEntry(position, step.started_at, "step", step))
        if ended_position is not None and ended_position > after:
            found.append(HistoryEntry(ended_position, step.ended_at or step.started_at, "step_ended", step))
    found += [HistoryEntry(position, attempt.ended_at, "attempt", attempt=attempt) for position, attempt in attempts]
    for (position,) in ended:
        if position is not None and position > after:
            found.append(HistoryEntry(position, 0, "ended"))
    return sorted(found, key=lambda happening: (happening.position, happening.event == "step_ended"))
