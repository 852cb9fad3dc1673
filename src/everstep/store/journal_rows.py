"""Rows of steps and failed attempts of a batch, each with its position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from msgspec import structs

from everstep.core.journal import FINAL, AttemptRecord, StepRecord

Row: TypeAlias = tuple[Any, ...]

_STATE = 1 + StepRecord.__struct_fields__.index("state")
STEP_COLUMNS = 1 + len(StepRecord.__struct_fields__) + 2
"""Of a step's row: its instance, what the journal keeps, and its two positions."""


def rows_under(pk: int, records: Sequence[StepRecord] | Sequence[AttemptRecord]) -> Sequence[Row]:
    """Write records as rows of an instance, as they are now: they go on changing."""
    return [(pk, *structs.astuple(record)) for record in records] if records else ()


class JournalRows:
    """What a group writes of steps: the latest state of each. Both stores gather alike and write in their own way.

    Args:
        positions: Where the next positions come from; they rise.
    """

    def __init__(self, positions: Iterator[int]) -> None:
        self._positions = positions
        self.steps: dict[Row, Row] = {}  # by instance and seq
        self.attempts: dict[Row, Row] = {}  # by instance, seq and attempt

    def add(self, steps: Sequence[Row], attempts: Sequence[Row]) -> None:
        """Take the rows of one change."""
        if len(steps) == 1 and not attempts:
            self._keep(steps[0], next(self._positions))
            return
        began = [next(self._positions) for _ in steps]
        for attempt in attempts:  # a step's last attempt fails after the step began and before it ends
            self.attempts[attempt[:3]] = (*attempt, next(self._positions))
        for step, position in zip(steps, began, strict=True):
            self._keep(step, position)

    def _keep(self, step: Row, position: int) -> None:
        # A later state of the same step replaces the earlier one, but not the position where it began.
        key = step[:2]
        known = self.steps.get(key)
        self.steps[key] = self.with_positions(step, position if known is None else known[-2])

    def with_positions(self, step: Row, began: int) -> Row:
        """Return a step's row with its positions: where it began, and where it ended if it has."""
        return (*step, began, next(self._positions) if step[_STATE] in FINAL else None)
