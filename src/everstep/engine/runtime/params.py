"""New instances: their params checked and encoded, and their rows as the store has them a moment later."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from everstep.core.durations import Duration, bounded_ms
from everstep.core.errors import EverstepError, InvalidOptionError
from everstep.core.limits import LONGEST_RETENTION_MS, TAGS
from everstep.core.list_argument import list_argument
from everstep.core.names import check_tag
from everstep.core.serialization import codec
from everstep.core.suggest import did_you_mean
from everstep.engine.runtime.registry import WorkflowDefinition
from everstep.sdk.control import Retention
from everstep.store.protocol import InstanceRecord, NewInstance
from everstep.store.python_version import PYTHON


def encoded_params(params: Any, declared: Any, where: str) -> str | None:
    """Check params against their declared type and encode them as they were given."""
    if params is None:
        codec.coerce({}, declared, where=where)  # what `event.payload` will be
        return None
    text, value = codec.encode(params, where=where, declared=declared, verb="pass")
    codec.coerce(value, declared, where=where)
    return text


def created(pk: int, new: NewInstance) -> InstanceRecord:
    """Return the row of an instance that was just created and belongs to this engine."""
    return InstanceRecord(
        pk=pk,
        workflow=new.workflow,
        id=new.id,
        status="running",
        due_at=None,
        created_at=new.created_at,
        started_at=new.created_at,
        ended_at=None,
        paused_at=None,
        recoveries=0,
        progress_at_recovery=-1,
        restarts=0,
        trigger=new.trigger,
        version=new.version,
        parent=new.parent,
        tags=orjson.dumps(list(new.tags)).decode() if new.tags else None,
        success_retention_ms=new.success_retention_ms,
        error_retention_ms=new.error_retention_ms,
        rollback=None,
        params=new.params,
        output=None,
        error=None,
        python=PYTHON,
    )


@contextlib.contextmanager
def options_of_an_instance() -> Iterator[None]:
    """Give a code to Python's own errors in checks of what a caller asked for: HTTP knows by it whose mistake it is."""
    try:
        yield
    except EverstepError:
        raise
    except (TypeError, ValueError) as error:
        raise InvalidOptionError(str(error)) from None


_RETENTION = ("success_retention", "error_retention")


def retention_ms(retention: Retention | None, definition: WorkflowDefinition) -> tuple[int | None, int | None]:
    """Return how long an instance is kept after success and after an error, in milliseconds.

    Raises:
        InvalidOptionError: for what is no duration, and for unknown keys.
    """
    usual = definition.success_retention_ms, definition.error_retention_ms
    return usual if retention is None else _retention_ms(retention, usual)


@options_of_an_instance()
def _retention_ms(retention: Retention, usual: tuple[int | None, int | None]) -> tuple[int | None, int | None]:
    if not isinstance(retention, Mapping):
        ms = bounded_ms(retention, LONGEST_RETENTION_MS, what="retention")
        return ms, ms
    for key in retention:
        if key not in _RETENTION:
            raise ValueError(f"retention knows no {key!r}{did_you_mean(str(key), _RETENTION)}; known: {_RETENTION}")
    return (
        _kept_ms(retention, "success_retention", usual[0]),
        _kept_ms(retention, "error_retention", usual[1]),
    )


def _kept_ms(retention: Mapping[str, Duration], key: str, usual: int | None) -> int | None:
    value = retention.get(key)
    return usual if value is None else bounded_ms(value, LONGEST_RETENTION_MS, what=f"retention.{key}")


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags without repetition. Raises InvalidOptionError and InvalidNameError for what is no tag."""
    return () if tags == () else _checked_tags(tags)


@options_of_an_instance()
def _checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    first = list_argument(tags, "tags is a list of words", most=TAGS + 1)
    if len(first) > TAGS:
        raise ValueError(f"an instance has at most {TAGS} tags; keep what is more in its params")
    return tuple(dict.fromkeys(check_tag(tag) for tag in first))
