"""What a schedule may look like: the five fields of cron and what each takes. Does not say when one is due."""

from __future__ import annotations

import re

from msgspec import Struct

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_PART = re.compile(r"(?:\*|(\w{1,3})(?:-(\w{1,3}))?)(?:/(\d{1,2}))?", re.ASCII)
"""A value, a range or everything, with or without a step."""


class _Field(Struct, frozen=True):
    """One field. `special` is what it takes besides `_PART`; the groups of both are values of the field."""

    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()
    special: re.Pattern[str] | None = None

    @property
    def values(self) -> str:
        """What its values are, in words."""
        numbers = f"{self.least} to {self.most}"
        return f"{numbers} or {self.names[0]} to {self.names[-1]}" if self.names else numbers

    def takes(self, part: str) -> bool:
        """Tell whether `part` may stand between the field's commas."""
        part = part.upper()
        if self.special is not None and (special := self.special.fullmatch(part)):
            return all(self._has(value) for value in special.groups() if value is not None)
        if not (plain := _PART.fullmatch(part)):
            return False
        first, last, step = plain.groups()
        in_range = all(self._has(value) for value in (first, last) if value is not None)
        return in_range and (step is None or 1 <= int(step) <= self.most)

    def _has(self, value: str) -> bool:
        return value in self.names or (value.isdecimal() and self.least <= int(value) <= self.most)


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    # The last day, three days before it, the working day nearest to either, or to the 15th: L, L-3, LW, L-3W, 15W.
    _Field("day", 1, 31, special=re.compile(r"L(?:-(\d{1,2}))?W?|(\d{1,2})W", re.ASCII)),
    _Field("month", 1, 12, _MONTHS),
    # The last of the week, the last Friday of the month, its second Tuesday: L, FRIL, TUE#2. Some count Sunday as 0.
    _Field("weekday", 0, 7, _DAYS, re.compile(r"L|(\w{1,3})(?:L|#[1-5])")),
)


def check_cron(cron: str) -> None:
    """Raise `ValueError` unless `cron` has five fields and each holds what it takes.

    Example:
        >>> check_cron("0 9 * * MON-FRI")
    """
    written = cron.split()
    if len(written) != len(_FIELDS):
        raise ValueError(
            f"{cron!r} is not a schedule: write five fields (minute, hour, day, month, weekday; UTC) "
            'such as "0 9 * * 1"'
        )
    for field, text in zip(_FIELDS, written, strict=True):
        for part in text.split(","):
            if not field.takes(part):
                raise ValueError(
                    f"{cron!r} is not a schedule: {part!r} is no {field.name}; write {field.values}, "
                    "or ranges (1-5), steps (*/2) and lists (1,3) of these"
                )
