"""An error that was stored is raised again as itself, or as a StepError; people still see where it came from."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

import httpx
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from everstep.core.errors import (
    EverstepError,
    InstanceStateError,
    NonDeterminismError,
    NonRetryableError,
    NotSerializableError,
    StepError,
    StoredValueError,
    Suspended,
    WorkflowTimeoutError,
)
from everstep.core.serialization.stored_error import ERROR_BYTES, decode_error, encode_error, error_info


class CardDeclinedError(Exception):
    def __init__(self, *, card: str, amount: int):
        super().__init__(f"card {card} was declined")
        self.card = card
        self.amount = amount


class ManyArgumentsError(ValueError):
    def __init__(self, code, text, extra):
        super().__init__(f"{code}: {text}")
        self.code, self.text, self.extra = code, text, extra


class CountingError(Exception):
    made = 0

    def __init__(self, text):
        type(self).made += 1
        super().__init__(text)


class OwnNewError(Exception):
    def __new__(cls, a, b):
        return super().__new__(cls, a)

    def __init__(self, a, b):
        super().__init__(a, b)


class StrangeTextError(Exception):
    def __init__(self, number):
        self.number = number

    def __str__(self):
        return f"number {self.number}"


class ForgetfulError(Exception):
    __slots__ = ("detail",)

    def __init__(self, detail):
        super().__init__("x")
        self.detail = detail

    def __str__(self):
        return f"detail {self.detail}"


class UnreadableError(Exception):
    def __str__(self):
        raise RuntimeError


class HoldsALockError(Exception):
    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


class LockedError(Exception):
    def __init__(self, lock):
        super().__init__(lock)

    def __str__(self):
        return "in use"


class LockingError(Exception):
    __slots__ = ("lock",)

    def __init__(self, lock):
        super().__init__()
        self.lock = lock

    def __str__(self):
        return f"lock {type(self.lock).__name__}"


class CountsItsMakingError(Exception):
    made: ClassVar[list[str]] = []

    def __init__(self, first, second="x"):
        self.made.append(first)
        super().__init__(f"{first} and {second}")


class Order(pydantic.BaseModel):
    count: int
    code: str = "c"

    @pydantic.field_validator("code")
    @classmethod
    def known(cls, code):
        if code == "{no}":
            raise ValueError("no {code} of ours")
        assert code != "", "empty {}"
        return code


class FileGoneError(FileNotFoundError):
    pass


class ModuleGoneError(ImportError):
    def __init__(self, what):
        super().__init__(f"no {what}", name=what)


@dataclass
class RecordError(Exception):
    a: int
    b: str = "b"


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def raised_within(error: BaseException, handled: BaseException) -> BaseException:
    try:
        try:
            raise handled
        except BaseException:
            raise error  # noqa: B904  # the context is what is tested
    except BaseException as caught:
        return caught


def again(error: BaseException) -> Any:
    return decode_error(encode_error(error))


def unicode_error() -> UnicodeDecodeError:
    try:
        b"\xff".decode()
    except UnicodeDecodeError as error:
        return error
    raise AssertionError


REBUILT = [
    ValueError("no stock"),
    ValueError(),
    ValueError("a", 2, (3,), {"d": {4}}),
    KeyError("sku-7"),
    IndexError("list index out of range"),
    OSError(2, "No such file", "orders.csv"),
    OSError(18, "Cross-device link", "a", None, "b"),
    OSError("just text"),
    ConnectionResetError(104, "reset"),
    TimeoutError("late"),
    TimeoutError(),
    ImportError("no shop", name="shop", path="/x"),
    ModuleNotFoundError("no shop", name="shop"),
    AttributeError("no price"),
    StopIteration(5),
    SyntaxError("bad", ("f.py", 1, 2, "text", 1, 3)),
    unicode_error(),
    ZeroDivisionError("division by zero"),
    ValueError("\ud800"),
    EverstepError("x"),
    NonRetryableError("card 4242 was declined"),
    WorkflowTimeoutError("step 'a' took longer than 3 s"),
    StepError("CardError", "declined"),
    StepError("CardError", ""),
    InstanceStateError("it is complete", "instance.cannot_terminate"),
    NotSerializableError("x"),
    NonDeterminismError("x"),
    CardDeclinedError(card="4242", amount=5),
    ManyArgumentsError(1, "text", {"x": (1,)}),
    OwnNewError(1, 2),
    StrangeTextError(3),
    FileGoneError(2, "gone", "x"),
    ModuleGoneError("shop"),
    RecordError(1),
]


class TestTheSameError:
    @pytest.mark.parametrize("error", REBUILT, ids=repr)
    def test_an_error_comes_back_as_the_same_class_with_the_same_state(self, error):
        back = again(raised(error))
        assert type(back) is type(error)
        assert back.args == error.args
        assert str(back) == str(error)
        ours = {"__everstep_traceback__", "__everstep_origin__", "__notes__"}  # where it came from
        assert {k: v for k, v in back.__dict__.items() if k not in ours} == error.__dict__

    @pytest.mark.parametrize(
        ("error", "attribute"),
        [
            (OSError(2, "No such file", "orders.csv"), "filename"),
            (OSError(18, "Cross-device link", "a", None, "b"), "filename2"),
            (OSError(2, "x"), "errno"),
            (ImportError("no shop", name="shop"), "name"),
            (ModuleGoneError("shop"), "msg"),
            (StopIteration(5), "value"),
            (SyntaxError("bad", ("f.py", 1, 2, "text", 1, 3)), "lineno"),
            (unicode_error(), "reason"),
            (CardDeclinedError(card="4242", amount=5), "amount"),
            (InstanceStateError("it is complete", "instance.cannot_terminate"), "code"),
        ],
        ids=repr,
    )
    def test_what_handlers_look_at_comes_back(self, error, attribute):
        assert getattr(again(error), attribute) == getattr(error, attribute)

    def test_the_class_s_own_init_is_not_run_again(self):
        text = encode_error(CountingError("x"))
        before = CountingError.made
        assert isinstance(decode_error(text), CountingError)
        assert CountingError.made == before

    def test_notes_come_back(self):
        error = ValueError("x")
        error.add_note("while packing")
        assert again(error).__notes__ == ["while packing"]

    def test_an_exception_group_comes_back_with_its_members(self):
        group = ExceptionGroup(
            "two failed", [ValueError("a"), ExceptionGroup("in", [CardDeclinedError(card="1", amount=2)])]
        )
        back = again(raised(group))
        assert str(back) == str(group)
        assert back.subgroup(CardDeclinedError) is not None
        assert [type(member) for member in back.exceptions] == [ValueError, ExceptionGroup]

    @given(st.lists(st.text() | st.integers() | st.binary() | st.none() | st.floats(allow_nan=False), max_size=4))
    def test_plain_arguments_come_back(self, args):
        back = again(ValueError(*args))
        assert type(back) is ValueError
        assert back.args == tuple(args)


class TestTheSameClass:
    def test_attributes_in_slots_come_back(self):
        back = again(ForgetfulError({1, 2}))
        assert (type(back), back.detail, str(back)) == (ForgetfulError, {1, 2}, "detail {1, 2}")

    def test_an_attribute_that_cannot_be_stored_costs_nothing_but_itself(self):
        error = HoldsALockError("in use")
        error.code = 7
        back = again(error)
        assert (type(back), str(back), back.code) == (HoldsALockError, "in use", 7)
        assert not hasattr(back, "lock")

    def test_the_status_error_of_httpx_comes_back(self):
        response = httpx.Response(503, request=httpx.Request("GET", "http://bank/"))
        with pytest.raises(httpx.HTTPStatusError) as caught:
            response.raise_for_status()
        back = again(caught.value)
        assert (type(back), str(back)) == (httpx.HTTPStatusError, str(caught.value))

    @pytest.mark.parametrize(
        "order", [{"count": "x"}, {}, {"count": [1], "code": 5}, {"count": 1, "code": "{no}"}, {"count": 1, "code": ""}]
    )
    def test_the_validation_error_of_pydantic_comes_back(self, order):
        with pytest.raises(pydantic.ValidationError) as caught:
            Order(**order)
        back = again(caught.value)
        assert type(back) is pydantic.ValidationError
        assert str(back) == str(caught.value)
        assert [line["loc"] for line in back.errors()] == [line["loc"] for line in caught.value.errors()]

    def test_no_constructor_is_called_with_what_it_may_not_be_meant_for(self):
        error = CountsItsMakingError("a", "b")
        back = again(error)
        assert (type(back), str(back), CountsItsMakingError.made) == (CountsItsMakingError, "a and b", ["a"])


class TestStepErrorInstead:
    @pytest.mark.parametrize(
        "error",
        [LockedError(threading.Lock()), ValueError("x", object()), LockingError(threading.Lock())],
        ids=lambda error: type(error).__name__,
    )
    def test_an_error_that_cannot_be_rebuilt_becomes_a_step_error(self, error):
        back = again(error)
        assert type(back) is StepError
        assert back.name == type(error).__name__

    def test_an_error_whose_text_cannot_be_read_is_stored_all_the_same(self):
        text = encode_error(UnreadableError(1))
        assert error_info(text).message == "(its text could not be read)"
        assert decode_error(text).args == (1,)

    def test_its_name_and_message_are_kept(self):
        back = again(LockedError(threading.Lock()))
        assert (back.name, back.message, str(back)) == ("LockedError", "in use", "LockedError: in use")

    def test_a_local_class_becomes_a_step_error(self):
        class LocalError(Exception):
            pass

        assert str(again(LocalError("x"))) == "LocalError: x"

    @pytest.mark.parametrize(
        "error",
        [KeyboardInterrupt(), SystemExit(1), asyncio.CancelledError("x"), Suspended(), GeneratorExit()],
        ids=repr,
    )
    def test_control_flow_becomes_a_step_error(self, error):
        back = again(error)
        assert type(back) is StepError
        assert back.name == type(error).__name__

    def test_a_class_that_is_gone_becomes_a_step_error(self, monkeypatch):
        module = ModuleType("shop_of_yesterday")
        module.OldError = type("OldError", (Exception,), {"__module__": module.__name__})
        monkeypatch.setitem(sys.modules, module.__name__, module)
        text = encode_error(module.OldError("x"))
        assert type(decode_error(text)) is module.OldError
        monkeypatch.delitem(sys.modules, module.__name__)
        assert str(decode_error(text)) == "OldError: x"

    def test_a_class_that_is_no_exception_is_never_made(self):
        text = encode_error(ValueError("x")).replace("builtins:ValueError", "builtins:print")
        assert type(decode_error(text)) is StepError
        text = text.replace("builtins:print", "subprocess:Popen")
        assert type(decode_error(text)) is StepError

    def test_text_that_is_no_stored_error_is_refused(self):
        for text in ("{", "[]", "{}", "null", '{"name":1,"message":""}'):
            with pytest.raises(StoredValueError, match="this is no stored error"):
                decode_error(text)


class TestCauses:
    def test_the_cause_comes_back(self):
        back = again(raised(ValueError("outer"), KeyError("inner")))
        assert type(back.__cause__) is KeyError
        assert back.__suppress_context__

    def test_the_context_comes_back(self):
        back = again(raised_within(ValueError("outer"), KeyError("inner")))
        assert type(back.__context__) is KeyError
        assert back.__cause__ is None

    def test_a_suppressed_context_does_not_come_back(self):
        error = raised_within(ValueError("outer"), KeyError("inner"))
        error.__suppress_context__ = True
        assert again(error).__context__ is None

    def test_the_chain_is_kept_to_five(self):
        error: BaseException = ValueError("0")
        for number in range(1, 10):
            error = raised(ValueError(str(number)), error)
        back = again(error)
        messages = []
        while back is not None:
            messages.append(str(back))
            back = back.__cause__
        assert messages == ["9", "8", "7", "6", "5"]

    def test_a_chain_that_closes_on_itself_ends(self):
        first, second = ValueError("1"), ValueError("2")
        first.__cause__, second.__cause__ = second, first
        assert str(again(first).__cause__) == "2"


def fail_in(module: str, call: Any) -> None:
    """Run `call` through a frame of another module."""
    scope: dict[str, Any] = {"__name__": module, "call": call}
    exec(compile("def carry():\n    call()\n", f"/lib/{module}.py", "exec"), scope)
    scope["carry"]()


def boom() -> None:
    raise ValueError("no stock")


def caught_from(*modules: str) -> Exception:
    call = boom
    for module in modules:
        call = lambda call=call, module=module: fail_in(module, call)  # noqa: E731
    try:
        call()
    except ValueError as error:
        return error
    raise AssertionError


class TestTraceback:
    def test_people_see_where_it_was_raised(self):
        info = error_info(encode_error(caught_from()))
        assert (info.name, info.message, info.code) == ("ValueError", "no stock", UNSET)
        assert info.traceback.startswith("Traceback (most recent call last):\n")
        assert ", in boom\n" in info.traceback
        assert info.traceback.endswith("ValueError: no stock")

    @pytest.mark.parametrize(
        "module",
        [
            "everstep.embedded",
            "everstep.control.control",
            "everstep.engine.steps.step_runner",
            "everstep.sdk.step",
            "everstep.core.serialization.codec",
            "asyncio.tasks",
        ],
    )
    def test_frames_that_only_carried_it_are_left_out(self, module):
        trace = error_info(encode_error(caught_from(module, "shop.orders"))).traceback
        assert f"/lib/{module}.py" not in trace
        assert "/lib/shop.orders.py" in trace

    def test_an_error_that_was_never_raised_has_no_traceback(self):
        assert error_info(encode_error(ValueError("x"))).traceback is UNSET

    def test_the_causes_are_shown_in_python_s_order(self):
        trace = error_info(encode_error(raised(RuntimeError("outer"), caught_from()))).traceback
        assert trace.index("ValueError: no stock") < trace.index("direct cause") < trace.index("RuntimeError: outer")

    def test_the_members_of_a_group_are_shown(self):
        trace = error_info(encode_error(raised(ExceptionGroup("two", [caught_from(), KeyError("k")])))).traceback
        assert trace.index("Member 1 of the group:") < trace.index("ValueError: no stock")
        assert trace.endswith("Member 2 of the group:\n\nKeyError: 'k'")

    def test_the_text_is_on_the_rebuilt_error_and_not_in_its_message(self):
        back = again(caught_from())
        assert ", in boom" in back.__everstep_traceback__
        assert str(back) == "no stock"
        assert back.__notes__ == [error_info(encode_error(back)).origin]

    def test_an_error_raised_again_keeps_where_it_first_came_from(self):
        back = raised(again(caught_from()))
        trace = error_info(encode_error(back)).traceback
        assert trace.index(", in boom") < trace.index("It reached the workflow here:") < trace.index(", in raised")
        assert type(again(back)) is ValueError

    def test_a_step_error_is_shown_under_the_original_name(self):
        info = error_info(encode_error(again(LockedError(threading.Lock()))))
        assert (info.name, info.message, info.code) == ("LockedError", "in use", "step.failed")

    def test_our_own_errors_show_their_code(self):
        assert (
            error_info(encode_error(InstanceStateError("x", "instance.cannot_pause"))).code == "instance.cannot_pause"
        )


class TestOrigin:
    def test_a_rebuilt_error_has_the_file_the_line_and_the_source_as_a_note(self):
        (note,) = again(raised(ValueError("no stock"))).__notes__
        assert re.fullmatch(rf'File "{re.escape(__file__)}", line \d+, in raised: raise error from cause', note)

    def test_an_error_keeps_its_origin_and_its_own_notes_when_it_is_raised_and_stored_again(self):
        first = again(raised(ValueError("no stock")))
        first.add_note("while packing")
        second = again(raised_within(again(raised(first)), KeyError("k")))
        assert sorted(second.__notes__) == sorted(first.__notes__)

    def test_an_error_that_becomes_a_step_error_has_its_origin(self):
        back = again(raised(LockedError(threading.Lock())))
        assert type(back) is StepError
        assert ", in raised: raise error from cause" in back.__notes__[0]

    def test_the_frames_of_the_standard_library_are_not_the_origin(self):
        try:
            json.loads("{")
        except ValueError as caught:
            (note,) = again(caught).__notes__
        assert note.endswith('json.loads("{")')

    @pytest.mark.parametrize("file", ["/app/.venv/lib/python3.13/site-packages/stripe/http.py", "<frozen importlib>"])
    def test_the_frames_of_an_installed_library_are_not_the_origin(self, file):
        library = {"error": ValueError("declined")}
        exec(compile("def call():\n    raise error\n", file, "exec"), library)
        try:
            library["call"]()
        except ValueError as caught:
            (note,) = again(caught).__notes__
        assert note.endswith('library["call"]()')

    def test_an_error_that_was_never_raised_has_no_origin(self):
        assert not hasattr(again(ValueError("x")), "__notes__")

    def test_a_group_names_what_failed_inside_of_it(self):
        group = ExceptionGroup("two failed", [raised(ValueError("a")), ExceptionGroup("in", [KeyError("k")])])
        back = again(raised(group))
        (note,) = back.__notes__
        first, second = note.splitlines()
        assert first.startswith(f'failed inside: ValueError: a (File "{__file__}", line ')
        assert second == "failed inside: KeyError: 'k'"
        assert ", in raised" in back.exceptions[0].__notes__[0]

    def test_a_group_of_many_names_the_first_ones(self):
        (note,) = again(ExceptionGroup("many", [ValueError(str(n)) for n in range(9)])).__notes__
        assert note.splitlines()[-2:] == ["failed inside: ValueError: 3", "and 5 more"]


class TestSize:
    @pytest.mark.parametrize("char", ["x", "é", "\x00", "😀", "\ud800"])
    def test_a_long_message_is_cut_and_the_class_kept(self, char):
        text = encode_error(raised(ValueError(char * 1_000_000)))
        assert len(text.encode()) <= ERROR_BYTES
        back = decode_error(text)
        assert type(back) is ValueError
        assert str(back).endswith("characters more)")
        assert error_info(text).message.endswith("characters more)")

    def test_a_deep_traceback_keeps_its_end(self):
        text = encode_error(caught_from(*[f"shop.part{number}{'x' * 100}" for number in range(150)]))
        assert len(text.encode()) <= ERROR_BYTES
        trace = error_info(text).traceback
        assert "characters are left out)" in trace
        assert trace.endswith("ValueError: no stock")

    def test_a_chain_of_large_errors_fits(self):
        error: BaseException = ValueError("\x00" * 100_000)
        for _ in range(6):
            error = raised(RuntimeError("\x00" * 100_000), error)
        text = encode_error(error)
        assert len(text.encode()) <= ERROR_BYTES
        assert type(decode_error(text)) is RuntimeError

    def test_large_arguments_are_left_out(self):
        back = again(ValueError("short", list(range(100_000))))
        assert type(back) is StepError

    def test_a_group_with_many_members_fits(self):
        group = ExceptionGroup("many", [raised(ValueError("\x00" * 9_000)) for _ in range(500)])
        text = encode_error(raised(group))
        assert len(text.encode()) <= ERROR_BYTES
        assert decode_error(text).name == "ExceptionGroup"

    @given(st.text(st.characters(exclude_categories=())), st.integers(1, 30_000))
    def test_nothing_is_ever_too_large_or_raises(self, text, times):
        assert len(encode_error(KeyError(text * times)).encode()) <= ERROR_BYTES
