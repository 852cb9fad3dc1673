"""Whether a step's function can be called with the arguments that it was given. Calls nothing."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import CodeType, FunctionType, MethodType, TracebackType
from typing import Any

from everstep.core.policy.step_config import StepConfig


def check_arguments(name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise a TypeError that names the step, if it can be seen without a call that the arguments do not fit.

    This is asked at every step: what fits is told by counting, and the signature is read only to word a complaint.
    """
    if type(fn) is FunctionType and not kwargs:
        code = fn.__code__
        if code.co_argcount == len(args) and not code.co_kwonlyargcount:
            return  # the usual call, told without another one
    if not _seem_to_fit(fn, len(args), kwargs) and (problem := problem_of(fn, args, kwargs)) is not None:
        raise TypeError(refusal(name, problem, args))


def refusal(name: str, problem: str, args: tuple[Any, ...]) -> str:
    """Write what is wrong with a call, and what to do."""
    last = args[-1] if args else None
    is_config = isinstance(last, Mapping) and last.keys() & set(StepConfig.__struct_fields__)
    if is_config or isinstance(last, StepConfig):
        cure = "a config comes before the function: step.do(name, config, fn, *args)"
    else:
        cure = "the arguments come after the function: step.do(name, fn, *args)"
    return f"step {name!r} cannot call its function: {problem}; {cure}"


def problem_of(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """Say why the arguments do not fit a function's own signature, None if they do or if it has none."""
    try:
        signature = inspect.signature(fn, follow_wrapped=False)
    except (TypeError, ValueError):  # a builtin without a signature, or a partial that can never be called
        if isinstance(fn, partial):
            return problem_of(fn.func, (*fn.args, *args), {**fn.keywords, **kwargs})
        return None
    without_ctx = [parameter for parameter in signature.parameters.values() if parameter.name != "ctx"]
    problem = None
    for form in (signature, signature.replace(parameters=without_ctx)):
        try:
            form.bind(*args, **kwargs)
        except TypeError as error:
            problem = str(error)
        else:
            return None
    return problem


def problem_behind_wrappers(
    fn: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], traceback: TracebackType | None
) -> str | None:
    """Say why the arguments do not fit a function that wrappers are around, after a call that raised a TypeError.

    A wrapper may give other arguments than it got. So it has to be the call that failed as well: the error comes from a
    wrapper's own frame, or from the engine's where a wrapper is written in C.
    """
    wrappers: set[CodeType | None] = set()
    while True:
        if isinstance(fn, partial):
            fn, args, kwargs = fn.func, (*fn.args, *args), {**fn.keywords, **kwargs}
        elif isinstance(fn, MethodType):
            fn, args = fn.__func__, (fn.__self__, *args)
        elif (wrapped := getattr(fn, "__wrapped__", None)) is not None:
            wrappers.add(getattr(fn, "__code__", None))
            fn = wrapped
        else:
            break
    if not wrappers or traceback is None:
        return None
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    frame = traceback.tb_frame
    if frame.f_code in wrappers or str(frame.f_globals.get("__name__")).startswith("everstep."):
        return problem_of(fn, args, kwargs)
    return None


def _seem_to_fit(fn: Any, given: int, named: Collection[str]) -> bool:
    """Whether so many arguments by position and these by name fit a function, as far as that is seen by counting.

    Callables that are no functions, methods or partials of these seem to take anything.
    """
    kind = type(fn)
    if kind is MethodType:
        return _seem_to_fit(fn.__func__, given + 1, named)
    if kind is partial:
        return _seem_to_fit(fn.func, given + len(fn.args), {*fn.keywords, *named})
    if kind is not FunctionType:
        return True
    code: CodeType = fn.__code__
    count = code.co_argcount
    if given == count and not named and not code.co_kwonlyargcount:
        return True
    names = code.co_varnames[:count]
    required = count - len(fn.__defaults__ or ())
    if "ctx" in names and "ctx" not in named:  # it is given by the engine, or by position
        place = names.index("ctx")
        others = names[:place] + names[place + 1 :]
        if _fit(fn, others, required - (place < required), given, named):
            return True
    return _fit(fn, names, required, given, named)


def _fit(fn: Any, names: tuple[str, ...], required: int, given: int, named: Collection[str]) -> bool:
    """Whether arguments fit, given the parameters by position and how many of these have no default."""
    code, by_name = fn.__code__, 0
    if given > len(names) and not code.co_flags & inspect.CO_VARARGS:
        return False
    for place, name in enumerate(names):
        if name in named:
            if place < given:
                return False
            by_name += 1
        elif given <= place < required:
            return False
    for name in code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]:
        if name in named:
            by_name += 1
        elif name != "ctx" and name not in (fn.__kwdefaults__ or ()):
            return False
    return by_name == len(named) or bool(code.co_flags & inspect.CO_VARKEYWORDS)
