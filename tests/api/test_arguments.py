"""Whether arguments fit a step's function: what counting tells is what a call would show."""

from __future__ import annotations

import itertools
from functools import partial, wraps
from typing import Any

import pytest

from everstep.core.types import StepContext, StepIdentity
from everstep.engine.steps.attempt import _bound
from everstep.sdk.arguments import _seem_to_fit, check_arguments, problem_of
from everstep.sdk.step_decorator import StepCall

CONTEXT = StepContext(StepIdentity("x", 1), 1, {}, "one", "orders")

FUNCTIONS = [
    lambda: 1,
    lambda a: 1,
    lambda a, b: 1,
    lambda a, b=1: 1,
    lambda a=1, b=2: 1,
    lambda *args: 1,
    lambda a, *args: 1,
    lambda **kwargs: 1,
    lambda a, **kwargs: 1,
    lambda *, a: 1,
    lambda *, a=1: 1,
    lambda a, *, b: 1,
    lambda a, *, b=1, c: 1,
    lambda ctx: 1,
    lambda ctx, a: 1,
    lambda a, ctx: 1,
    lambda a, ctx=None: 1,
    lambda ctx, a=1: 1,
    lambda a, b=1, ctx=None: 1,
    lambda *, ctx: 1,
    lambda a, *, ctx: 1,
    lambda a, *args, ctx, **kwargs: 1,
]
NAMED = [dict.fromkeys(names, 0) for size in range(3) for names in itertools.combinations(("a", "b", "c", "ctx"), size)]


class Shop:
    def charge(self, order: int, ctx: Any = None) -> None:
        pass

    def __call__(self, order: int) -> None:
        pass

    @staticmethod
    def refund(order: int) -> None:
        pass


CALLABLES: list[Any] = [
    *FUNCTIONS,
    *(partial(fn, 1) for fn in FUNCTIONS),
    *(partial(fn, a=1) for fn in FUNCTIONS),
    *(partial(fn, b=1, ctx=2) for fn in FUNCTIONS),
    Shop().charge, Shop.refund, partial(Shop().charge, 1), partial(Shop().charge, order=1),
]  # fmt: skip


def can_be_called(fn: Any, args: tuple[Any, ...], named: dict[str, Any]) -> bool:
    """Call a function as an attempt does, and tell whether it took its arguments."""
    try:
        _bound(StepCall("x", None, fn, args, named), lambda: CONTEXT)()
    except TypeError:
        return False
    return True


@pytest.mark.parametrize("fn", CALLABLES, ids=lambda fn: f"{type(fn).__name__}-{CALLABLES.index(fn)}")
def test_what_can_be_called_is_not_refused_and_what_cannot_is(fn: Any):
    for count, named in itertools.product(range(4), NAMED):
        args = tuple(range(count))
        fits = can_be_called(fn, args, named)
        seems_to = _seem_to_fit(fn, count, named)
        assert seems_to or not fits, (args, named)
        if not isinstance(fn, partial):  # a `ctx` that a partial holds is not told from one that is left out
            assert seems_to == fits == (problem_of(fn, args, named) is None), (args, named)


@pytest.mark.parametrize("fn", [Shop(), int, print, Shop, max], ids=["object", "int", "print", "class", "max"])
def test_what_is_no_function_is_left_to_the_call(fn: Any):
    check_arguments("x", fn, (1, 2, 3, 4), {})


def test_what_a_wrapper_takes_is_up_to_the_wrapper():
    def inner(client: str, order: int) -> None: ...

    @wraps(inner)
    def given_a_client(*args: Any) -> None: ...

    check_arguments("x", given_a_client, (1,), {})


def test_a_name_that_is_only_by_position_may_be_one_of_the_others():
    def keeps(a: int, /, **others: int) -> None: ...

    check_arguments("x", keeps, (1,), {"a": 2})


def test_a_wrong_call_is_refused_with_the_step_and_the_cure():
    with pytest.raises(TypeError) as refused:
        check_arguments("charge", Shop().charge, (), {})
    assert str(refused.value) == (
        "step 'charge' cannot call its function: missing a required argument: 'order'; "
        "the arguments come after the function: step.do(name, fn, *args)"
    )
