"""What a setting's value must look like beyond its type; each rule raises one sentence. Knows no file and no schema."""

from __future__ import annotations

import keyword
import re

from everstep.core.cron import check_cron
from everstep.core.durations import duration_ms, lease_ms
from everstep.core.limits import DAY_MS, LONGEST_RETENTION_MS
from everstep.core.redact import redact_url
from everstep.core.suggest import did_you_mean

_APP_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_SCHEMES = ("sqlite", "postgresql", "postgres")


def app_name(value: str) -> None:
    """Raise `ValueError` unless `value` can name an app."""
    if not _APP_NAME.fullmatch(value):
        raise ValueError(f"{value!r} is not allowed: use 1 to 255 characters of A-Z, a-z, 0-9, _, . and -")


def identifier(value: str) -> None:
    """Raise `ValueError` unless `value` can be written after `env.` or `class` in Python."""
    if not value.isidentifier() or keyword.iskeyword(value):
        raise ValueError(f"{value!r} is not a Python name: use letters, digits and _, not starting with a digit")


def not_empty(value: str) -> None:
    """Raise `ValueError` for an empty text."""
    if not value.strip():
        raise ValueError("must not be empty")


def retention(value: str) -> None:
    """Raise `ValueError` unless `value` is a duration such as `"30 days"`, for which instances can be kept."""
    if _duration_ms(value) > LONGEST_RETENTION_MS:
        raise ValueError(f"must be at most {LONGEST_RETENTION_MS // DAY_MS:,} days, got {value!r}")


def lease(value: str) -> None:
    """Raise `ValueError` unless `value` is a duration that a lease can have."""
    _duration_ms(value)
    lease_ms(value)


def crons(value: str | list[str]) -> None:
    """Raise `ValueError` unless every schedule has the five fields of cron, each with what it takes."""
    for cron in [value] if isinstance(value, str) else value:
        check_cron(cron)


def some_crons(value: str | list[str]) -> None:
    """Raise `ValueError` unless there is a schedule, and every one is as `crons` wants it."""
    if not value:
        raise ValueError('is empty; write a schedule such as "0 9 * * 1", or leave the key out')
    crons(value)


def database_url(value: str) -> None:
    """Raise `ValueError` unless `value` is the URL of a database that Everstep knows; passwords stay hidden."""
    scheme, colon, rest = value.partition(":")
    if not colon or not rest.startswith("//"):
        raise ValueError(f'{redact_url(value)!r} is not a database URL; write "sqlite:///state.db" or "postgresql://…"')
    if scheme not in _SCHEMES:
        hint = did_you_mean(scheme, _SCHEMES)
        raise ValueError(f"databases of kind {scheme!r} are not supported{hint or ';'} use sqlite:// or postgresql://")
    if scheme == "sqlite" and rest != "//" and not rest.startswith("///"):
        raise ValueError(f'{value!r} has two slashes; write "sqlite:///{value.removeprefix("sqlite://")}" with three')


def postgres_url(value: str) -> None:
    """Raise `ValueError` unless `value` is the URL of a PostgreSQL database."""
    database_url(value)
    if value.startswith("sqlite:"):
        raise ValueError(f'{value!r} is not the URL of a PostgreSQL database; write "postgresql://…"')


def _duration_ms(value: str) -> int:
    try:
        return duration_ms(value)
    except ValueError:
        raise ValueError(f'{value!r} is not a duration; write it like "10 seconds", "1.5 hours" or "30 days"') from None
