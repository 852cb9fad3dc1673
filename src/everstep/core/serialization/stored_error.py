"""Exceptions as they are stored: what is needed to raise the same one again, and its traceback's text for people.

Nothing of a traceback but its text is kept. No `__init__` of the app's is called: the arguments and the attributes are
put back as they were, but for attributes that cannot be stored. An exception whose class, arguments or message does not
come back becomes a `StepError`.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator, Mapping
from types import FrameType, MemberDescriptorType, TracebackType
from typing import Any, NamedTuple, cast

import orjson
from msgspec import UNSET

from everstep.core.errors import EverstepError, StepError, StoredValueError
from everstep.core.origin import ORIGIN_ATTRIBUTE, origin_of, own_notes, with_origin
from everstep.core.serialization import class_lookup
from everstep.core.serialization.tagged import Decoder, Encoder
from everstep.core.serialization.unserializable import UnserializableError
from everstep.core.types import ErrorInfo

ERROR_BYTES = 64 * 1024
"""Bytes of one stored error, its causes included."""
TRACEBACK_ATTRIBUTE = "__everstep_traceback__"
"""Where a rebuilt exception carries the text of its first traceback."""

_CAUSE = "\n\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\n\nDuring handling of the above exception, another exception occurred:\n\n"
_AGAIN = "\nIt reached the workflow here:\n"
_HIDDEN_MODULES = (
    "everstep.embedded",
    "everstep.control",
    "everstep.engine",
    "everstep.sdk",
    "everstep.core",
    "asyncio",
    "concurrent.futures",
)
_OF_REBUILT = {TRACEBACK_ATTRIBUTE, ORIGIN_ATTRIBUTE, "__notes__"}
_GROUP_MEMBERS = 16
_RAISED_BY_VALIDATORS = {"value_error": ValueError, "assertion_error": AssertionError}


class _Budget(NamedTuple):
    """How much of an error is kept: characters of each text, exceptions along the chain, members of a group."""

    chars: int
    depth: int
    members: int


# The first budget nearly always does; the last one fits whatever the texts are.
_BUDGETS = (_Budget(16_384, 5, _GROUP_MEMBERS), _Budget(4_096, 5, 2), _Budget(1_024, 3, 0), _Budget(512, 1, 0))


def encode_error(error: BaseException) -> str:
    """Write an exception as JSON text of at most 64 KiB. Never raises.

    Example:
        >>> decode_error(encode_error(KeyError("sku-7")))
        KeyError('sku-7')
    """
    for budget in _BUDGETS:
        try:
            data = orjson.dumps(_record(error, budget, budget.depth))
        except Exception:  # noqa: BLE001, S112  # an app's __str__, __dict__ or nesting must not hide the error itself
            continue
        if len(data) <= ERROR_BYTES:
            return data.decode()
    name = _text(type(error).__name__, 256)
    return orjson.dumps({"name": name, "message": "(its text could not be stored)"}).decode()


def decode_error(text: str) -> BaseException:
    """Rebuild an exception: the same class where that is possible, otherwise a `StepError`.

    The text of its traceback is in the attribute `__everstep_traceback__`; where in the program's own code it was
    raised is one of its notes.

    Raises:
        StoredValueError: when the text is not what `encode_error` wrote.
    """
    return _rebuilt(_loaded(text))


def error_info(text: str) -> ErrorInfo:
    """Read a stored error for a view, with the tracebacks of its causes in Python's order. Imports nothing.

    Example:
        >>> error_info(encode_error(ValueError("no stock"))).message
        'no stock'
    """
    record = _loaded(text)
    return ErrorInfo(
        name=record["name"],
        message=record["message"],
        code=record.get("code", UNSET),
        traceback=_traceback_chain(record) or UNSET,
        origin=record.get("origin", UNSET),
    )


def _record(error: BaseException, budget: _Budget, depth: int) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": _text(error.name if isinstance(error, StepError) else type(error).__name__, 256),
        "message": _message(error, budget.chars),
    }
    if isinstance(error, EverstepError):
        record["code"] = error.code
    frames = traceback.StackSummary.extract(_frames_shown(error.__traceback__))
    if trace := _traceback_text(error, frames, budget.chars):
        record["traceback"] = trace
    if origin := origin_of(error, frames):
        record["origin"] = _text(origin, budget.chars)
    if isinstance(error, Exception):
        record |= _recipe(error, budget, depth)
    if depth > 1:
        record |= _origins(error, budget, depth)
    return record


def _origins(error: BaseException, budget: _Budget, depth: int) -> dict[str, Any]:
    if error.__cause__ is not None:
        return {"cause": _record(error.__cause__, budget, depth - 1)}
    if error.__context__ is not None and not error.__suppress_context__:
        return {"context": _record(error.__context__, budget, depth - 1)}
    return {}


def _recipe(error: Exception, budget: _Budget, depth: int) -> dict[str, Any]:
    """What rebuilds it: class, arguments and state; nothing when they cannot be stored or are too large."""
    recipe: dict[str, Any] = {}
    args, state = _parts(error)
    if isinstance(error, ExceptionGroup):
        if depth <= 1 or len(error.exceptions) > budget.members:
            return {}
        recipe["exceptions"] = [_record(member, budget, depth - 1) for member in error.exceptions]
    try:
        recipe["class"] = class_lookup.reference(type(error), Any)
        recipe["args"] = Encoder().encode([_bounded(arg, budget.chars) for arg in args])
        recipe["state"] = _storable(state, budget.chars)
        size = len(orjson.dumps([recipe["args"], recipe["state"]]))
    except (UnserializableError, RecursionError, TypeError):
        return {}
    # One character may take up to seven bytes once it is escaped.
    return recipe if size <= budget.chars * 8 else {}


def _storable(state: Mapping[str, Any], chars: int) -> dict[str, Any]:
    """Write the attributes that can be stored: a response or a connection must not cost the error its class."""
    trees = {}
    for name, value in state.items():
        with contextlib.suppress(UnserializableError):
            trees[name] = Encoder().encode(_bounded(value, chars))
    return trees


def _parts(error: Exception) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments that make it again, and the attributes it had."""
    if (validation := _validation_parts(error)) is not None:
        return validation, {}
    args: Any = error.args
    state = {name: value for name, value in error.__dict__.items() if name not in _OF_REBUILT}
    if notes := own_notes(error):
        state["__notes__"] = notes
    state |= {name: getattr(error, name) for name in _slots(type(error)) if hasattr(error, name)}
    if isinstance(error, OSError):
        args = OSError.__reduce__(error)[1]  # the file names are in no other place
    elif isinstance(error, ImportError):
        state |= {"name": error.name, "path": error.path}
    elif isinstance(error, ExceptionGroup):
        args = (error.message,)
    return args, state


def _slots(cls: type) -> Iterator[str]:
    """The attributes that a class and its ancestors of the app's keep outside of `__dict__`."""
    for ancestor in cls.__mro__:
        if ancestor.__module__ != "builtins":
            yield from (name for name, part in vars(ancestor).items() if isinstance(part, MemberDescriptorType))


def _validation_parts(error: Exception) -> tuple[Any, ...] | None:
    """What pydantic makes its ValidationError of, which has no constructor: the title, and each error."""
    made: Any = getattr(sys.modules.get("pydantic_core"), "ValidationError", None)
    if made is None or type(error) is not made:
        return None
    lines = [
        {key: line[key] for key in ("type", "loc", "input", "ctx") if key in line}
        for line in cast("Any", error).errors(include_url=False)
    ]
    for line in lines:
        if line["type"] in _RAISED_BY_VALIDATORS:
            line["ctx"] = {"error": str(line["ctx"]["error"])}
    return cast("Any", error).title, lines


def _bounded(value: Any, chars: int) -> Any:
    return _shortened(value, chars) if type(value) is str else value


def _message(error: BaseException, chars: int) -> str:
    if isinstance(error, StepError):
        return _text(error.message, chars)
    try:
        message = str(error)
    except Exception:  # noqa: BLE001  # an app's __str__
        message = "(its text could not be read)"
    return _text(message, chars)


def _text(text: object, chars: int) -> str:
    return _shortened(str(text), chars).encode("utf-8", "backslashreplace").decode()


def _shortened(text: str, chars: int) -> str:
    if len(text) <= chars:
        return text
    return f"{text[:chars]}… ({len(text) - chars} characters more)"


def _traceback_text(error: BaseException, frames: traceback.StackSummary, chars: int) -> str:
    """Where it was raised, without the frames that only carried it; the last frames matter most."""
    first = getattr(error, TRACEBACK_ATTRIBUTE, "")
    if not frames:
        return _tail(first, chars)
    here = "Traceback (most recent call last):\n" + "".join(frames.format())
    if first:
        return _tail(first + _AGAIN + "".join(frames.format()), chars)
    return _tail(here + "".join(traceback.format_exception_only(error)), chars)


def _tail(text: str, chars: int) -> str:
    shown = text.rstrip("\n").encode("utf-8", "backslashreplace").decode()
    return (
        shown if len(shown) <= chars else f"(the first {len(shown) - chars} characters are left out)\n{shown[-chars:]}"
    )


def _frames_shown(trace: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if not any(module == hidden or module.startswith(f"{hidden}.") for hidden in _HIDDEN_MODULES):
            yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _traceback_chain(record: Mapping[str, Any]) -> str:
    """The tracebacks of an error, of what led to it, and of a group's members."""
    own = str(record.get("traceback", ""))
    for number, member in enumerate(record.get("exceptions", ()), start=1):
        own += f"\n\nMember {number} of the group:\n\n{_traceback_chain(member) or _headline(member)}"
    for origin, between in (("cause", _CAUSE), ("context", _CONTEXT)):
        if origin in record:
            earlier = record[origin]
            return f"{_traceback_chain(earlier) or _headline(earlier)}{between}{own or _headline(record)}"
    return own


def _headline(record: Mapping[str, Any]) -> str:
    return f"{record['name']}: {record['message']}"


def _loaded(text: str) -> dict[str, Any]:
    try:
        record = orjson.loads(text)
        if isinstance(record["name"], str) and isinstance(record["message"], str):
            return record  # type: ignore[no-any-return]  # checked on the line above
    except (ValueError, TypeError, KeyError):
        pass
    raise StoredValueError(f"this is no stored error: {text[:80]!r}")


def _rebuilt(record: Mapping[str, Any]) -> BaseException:
    error = _same_class(record) or StepError(record["name"], record["message"])
    if "cause" in record:
        error.__cause__ = _rebuilt(record["cause"])
    elif "context" in record:
        error.__context__ = _rebuilt(record["context"])
    if "traceback" in record:
        _attach_traceback(error, record["traceback"])
    if "origin" in record:
        with_origin(error, record["origin"])
    return error


def _attach_traceback(error: BaseException, text: str) -> None:
    try:
        setattr(error, TRACEBACK_ATTRIBUTE, text)
    except Exception:  # noqa: BLE001, S110  # a class that takes no attributes; the text stays in the store
        pass


def _same_class(record: Mapping[str, Any]) -> Exception | None:
    if "class" not in record:
        return None
    try:
        cls = class_lookup.find(record["class"], {}, Any)
        if not issubclass(cls, Exception):
            return None
        args = Decoder().decode(record["args"])
        state = Decoder().decode(record["state"])
    except Exception:  # noqa: BLE001  # the class is gone, or the app's code refuses its parts
        return None
    if "exceptions" in record:
        args = [*args, [_rebuilt(member) for member in record["exceptions"]]]
    error = _built(cls, args, state)
    return error if error is not None and _message(error, ERROR_BYTES) == record["message"] else None


def _built(cls: Any, args: list[Any], state: Mapping[str, Any]) -> Exception | None:
    try:
        error = _validation_error(cls, *args) if hasattr(cls, "from_exception_data") else _without_init(cls, args)
        for name, value in state.items():
            BaseException.__setattr__(error, name, value)
    except Exception:  # noqa: BLE001  # an app's `__new__` with other arguments than today's, or a frozen class
        return None
    return error if type(error) is cls else None


def _without_init(cls: Any, args: list[Any]) -> Exception:
    """Make one as its builtin ancestor would: what the app's `__init__` set is in the stored state."""
    error: Exception = cls.__new__(cls, *args)
    builtin: Any = next(base for base in cls.__mro__ if base.__module__ == "builtins")
    builtin.__init__(error, *args)
    return error


def _validation_error(cls: Any, title: str, lines: list[dict[str, Any]]) -> Exception:
    for line in lines:
        if line["type"] in _RAISED_BY_VALIDATORS:
            line["ctx"] = {"error": _RAISED_BY_VALIDATORS[line["type"]](line["ctx"]["error"])}
    error: Exception = cls.from_exception_data(title, lines)
    return error
