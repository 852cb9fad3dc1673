"""Which names are legal, and how a class's name becomes a workflow's and a binding's."""

from __future__ import annotations

import re

from everstep.core.errors import InvalidNameError
from everstep.core.limits import (
    EVENT_TYPE_CHARS,
    INSTANCE_ID_CHARS,
    STEP_NAME_CHARS,
    TAG_CHARS,
    WORKFLOW_NAME_CHARS,
)

_IDENTIFIER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_EVENT_TYPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # and halves of characters, which no database keeps
_WORD_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [first + second for first in _CROCKFORD for second in _CROCKFORD]


def check_instance_id(id: object) -> str:
    """Return `id` if it is a legal instance id.

    Raises:
        TypeError: if it is not a string.
        InvalidNameError: naming the rule and the value.
    """
    if not isinstance(id, str):
        raise TypeError(f"an instance id must be a string, got {type(id).__name__}")
    if not (_IDENTIFIER.fullmatch(id) and len(id) <= INSTANCE_ID_CHARS):
        raise InvalidNameError(
            f"instance id {_shown(id)} is not allowed: use 1 to {INSTANCE_ID_CHARS} characters of "
            "A-Z, a-z, 0-9, _ and -, not starting with -",
            "instance.invalid_id",
        )
    return id


def check_workflow_name(name: str) -> str:
    """Return `name` if it is a legal workflow name, else raise `InvalidNameError` with the rule."""
    if not (_IDENTIFIER.fullmatch(name) and len(name) <= WORKFLOW_NAME_CHARS):
        raise InvalidNameError(
            f"workflow name {_shown(name)} is not allowed: use 1 to {WORKFLOW_NAME_CHARS} characters of "
            "A-Z, a-z, 0-9, _ and -, not starting with -",
            "workflow.invalid_name",
        )
    return name


def check_step_name(name: object) -> str:
    """Return `name` if it is a legal step name, else raise `TypeError` or `InvalidNameError` with the rule."""
    if not isinstance(name, str):
        raise TypeError(f"a step's name must be a string, got {type(name).__name__}; call step.do(name, fn, *args)")
    # What can be printed has neither control characters nor halves of characters; the search is for the others.
    if not 0 < len(name) <= STEP_NAME_CHARS or not (name.isprintable() or not _CONTROL.search(name)):
        raise InvalidNameError(
            f"step name {_shown(name)} is not allowed: use 1 to {STEP_NAME_CHARS} characters, no control characters",
            "step.invalid_name",
        )
    return name


def check_tag(tag: object) -> str:
    """Return `tag` if it is a legal tag, else raise `TypeError` or `InvalidNameError` with the rule."""
    if not isinstance(tag, str):
        raise TypeError(f"a tag must be a string, got {type(tag).__name__}")
    if not 0 < len(tag) <= TAG_CHARS or _CONTROL.search(tag):
        raise InvalidNameError(
            f"tag {_shown(tag)} is not allowed: use 1 to {TAG_CHARS} characters, no control characters",
            "instance.invalid_tag",
        )
    return tag


def check_event_type(type: object) -> str:
    """Return `type` if it is a legal event type, else raise `TypeError` or `InvalidNameError` with the rule."""
    if not isinstance(type, str):
        raise TypeError(f"an event's type must be a string, got {type.__class__.__name__}")
    if not (_EVENT_TYPE.fullmatch(type) and len(type) <= EVENT_TYPE_CHARS):
        raise InvalidNameError(
            f"event type {_shown(type)} is not allowed: use 1 to {EVENT_TYPE_CHARS} characters of "
            "A-Z, a-z, 0-9, _, - and ., starting with a letter, a digit or _",
            "event.invalid_type",
        )
    return type


def kebab_case(class_name: str) -> str:
    """`OrderPipeline` → `order-pipeline`: the name of a workflow."""
    return _WORD_BREAK.sub("-", class_name).replace("_", "-").lower()


def upper_snake_case(class_name: str) -> str:
    """`OrderPipeline` → `ORDER_PIPELINE`: the binding's name in `env`."""
    return _WORD_BREAK.sub("_", class_name).upper()


def time_ordered_id(now_ms: int, random_bits: int) -> str:
    """Write 48 bits of time and 80 random bits as 26 characters that sort by time (the ULID layout)."""
    number = (now_ms & (1 << 48) - 1) << 80 | (random_bits & (1 << 80) - 1)
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])


def _shown(name: str) -> str:
    return repr(name) if len(name) <= 120 else f"{name[:40]!r}… ({len(name)} characters)"
