"""The calls of `step`: how they are sorted out, which are refused, and what declared steps depend on."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everstep import Retries, StepConfig, StepContext, StepEvent, WorkflowStep
from everstep.sdk.step_decorator import StepCall

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Recorder:
    """A `StepRunner` that keeps the calls, and runs steps at once with the arguments they got."""

    def __init__(self) -> None:
        self.calls: list[StepCall] = []
        self.waits: list[tuple[Any, ...]] = []
        self.at_work = self.most_at_work = 0

    @property
    def names(self) -> list[str]:
        return [call.name for call in self.calls]

    async def do(self, call: StepCall) -> Any:
        self.calls.append(call)
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        await asyncio.sleep(0)
        try:
            result = self._called(call)
            return await result if inspect.isawaitable(result) else result
        finally:
            self.at_work -= 1

    def _called(self, call: StepCall) -> Any:
        """Call the function, giving it a `ctx` if that is what its arguments lack."""
        try:
            return call.fn(*call.args, **call.kwargs)
        except TypeError:
            signature = inspect.signature(call.fn)
            others = [parameter for name, parameter in signature.parameters.items() if name != "ctx"]
            bound = signature.replace(parameters=others).bind(*call.args, **call.kwargs)
            return call.fn(ctx="the context", **bound.arguments)

    async def sleep(self, name: str, duration_ms: int) -> None:
        self.waits.append(("sleep", name, duration_ms))

    async def sleep_until(self, name: str, wake_at: int) -> None:
        self.waits.append(("sleep_until", name, wake_at))

    async def wait_for_event(self, name: str, type: str, timeout_ms: int, payload: Any) -> StepEvent[Any]:
        self.waits.append(("wait_for_event", name, type, timeout_ms, payload))
        return StepEvent(None, EPOCH, type)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def step(recorder: Recorder) -> Iterator[Any]:
    yield WorkflowStep(recorder)
    gc.collect()  # a coroutine that was never awaited fails the test that left it


async def charge(order: str, cents: int = 1, **more: Any) -> tuple[Any, ...]:
    return (order, cents, more)


CONFIGS = [{"timeout": "1 hour"}, {}, None, StepConfig(), StepConfig(retries=Retries(limit=1))]


# The two direct forms


async def test_a_name_and_a_function_are_a_call(step: Any, recorder: Recorder) -> None:
    await step.do("charge", charge, "ord_1", 5, currency="EUR")
    assert recorder.calls == [StepCall("charge", None, charge, ("ord_1", 5), {"currency": "EUR"})]


@pytest.mark.parametrize("config", CONFIGS)
async def test_a_configuration_may_stand_between_name_and_function(step: Any, recorder: Recorder, config: Any) -> None:
    await step.do("charge", config, charge, "ord_1", 5, currency="EUR")
    assert recorder.calls == [StepCall("charge", config, charge, ("ord_1", 5), {"currency": "EUR"})]


async def test_the_result_is_the_runners(step: Any) -> None:
    assert await step.do("charge", charge, "ord_1") == ("ord_1", 1, {})


async def test_arguments_may_themselves_be_functions_and_dicts(step: Any, recorder: Recorder) -> None:
    await step.do("charge", charge, len, {"timeout": "1 hour"})
    assert recorder.calls == [StepCall("charge", None, charge, (len, {"timeout": "1 hour"}), {})]


async def test_keyword_arguments_may_have_the_names_of_step_dos_own_parameters(step: Any, recorder: Recorder) -> None:
    await step.do("charge", charge, "ord_1", name="n", config="c", fn="f", concurrent=True)
    assert recorder.calls[0].kwargs == {"name": "n", "config": "c", "fn": "f", "concurrent": True}


class Warehouse:
    async def reserve(self) -> str:
        return "reserved"


@pytest.mark.parametrize("fn", [Warehouse().reserve, partial(charge, "ord_1"), lambda: charge("ord_1"), dict])
async def test_anything_that_can_be_called_is_a_function(step: Any, recorder: Recorder, fn: Any) -> None:
    await step.do("step", fn)
    assert recorder.calls == [StepCall("step", None, fn)]


# Refused calls


@pytest.mark.parametrize("wrong", [5, "charge", ["charge"], object()])
def test_what_is_no_function_after_the_name_is_refused(step: Any, wrong: Any) -> None:
    with pytest.raises(
        TypeError, match=f"^step 'charge' needs a function after its name, got {type(wrong).__name__}; give"
    ):
        step.do("charge", wrong)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_configuration_without_a_function_is_refused(step: Any, config: Any) -> None:
    with pytest.raises(TypeError, match=r"^step 'charge' needs a function after its config: step.do\(name, config, fn"):
        step.do("charge", config)


@pytest.mark.parametrize("wrong", [5, "charge", {}, None])
def test_what_is_no_function_after_the_configuration_is_refused(step: Any, wrong: Any) -> None:
    message = f"^step 'charge' needs a function after its config, got {type(wrong).__name__}; give"
    with pytest.raises(TypeError, match=message):
        step.do("charge", {}, wrong)


CURE = r"got coroutine; give the function and its arguments, not its call: step.do\(name, fn, \*args\)$"


def test_a_call_instead_of_a_function_is_refused_with_the_cure_and_without_a_warning(step: Any) -> None:
    with pytest.raises(TypeError, match=f"^step 'charge' needs a function after its name, {CURE}"):
        step.do("charge", charge("ord_1"))


def test_a_call_after_the_configuration_is_refused_with_the_cure_and_without_a_warning(step: Any) -> None:
    with pytest.raises(TypeError, match=f"^step 'charge' needs a function after its config, {CURE}"):
        step.do("charge", {}, charge("ord_1"))


@pytest.mark.parametrize("rest", [(), ("ord_1",), (charge,)])
def test_a_call_instead_of_the_name_is_refused_with_the_cure_and_without_a_warning(step: Any, rest: Any) -> None:
    with pytest.raises(TypeError, match=f"^a step begins with its name, {CURE}"):
        step.do(charge("ord_1"), *rest)


async def test_a_future_instead_of_a_function_is_refused_with_the_cure(step: Any) -> None:
    future = asyncio.get_running_loop().create_future()
    with pytest.raises(TypeError, match=r"got Future; give the function and its arguments"):
        step.do("charge", future)


def test_a_function_without_a_name_is_refused_with_the_form_of_the_call(step: Any) -> None:
    with pytest.raises(
        TypeError, match=r"a step's name must be a string, got function; call step.do\(name, fn, \*args\)"
    ):
        step.do(charge, "ord_1")


@pytest.mark.parametrize("name", ["", "a" * 257, "a\nb"])
@pytest.mark.parametrize("rest", [(), (charge,), ({}, charge)])
def test_a_name_that_is_not_allowed_is_refused_in_every_form(step: Any, name: str, rest: Any) -> None:
    with pytest.raises(ValueError, match=r"step name .* is not allowed"):
        step.do(name, *rest)


def test_an_option_the_decorator_has_not_is_refused_with_the_step_and_the_nearest(step: Any) -> None:
    with pytest.raises(TypeError, match=r"^step 'charge' got no function, .* 'confg', did you mean 'config'\?"):
        step.do("charge", confg={})


def test_everything_by_keyword_is_refused(step: Any) -> None:
    with pytest.raises(TypeError, match=r"got no function, .* no option 'name'; it takes config and concurrent"):
        step.do(name="charge", fn=charge)


# The decorator


async def test_a_declared_step_runs_when_it_is_awaited_and_not_before(step: Any, recorder: Recorder) -> None:
    @step.do("make it", config={"timeout": "1 hour"})
    async def make() -> int:
        return 5

    assert recorder.calls == []
    assert await make() == 5
    assert [(call.name, call.config) for call in recorder.calls] == [("make it", {"timeout": "1 hour"})]


async def test_a_declared_step_is_called_as_its_function_when_no_name_is_given(step: Any, recorder: Recorder) -> None:
    @step.do()
    async def first() -> None: ...

    @step.do
    async def second() -> None: ...

    @step.do(concurrent=True)
    def third() -> None: ...

    for declared in (first, second, third):
        await declared()
    assert recorder.names == ["first", "second", "third"]


async def test_a_declared_step_takes_arguments(step: Any, recorder: Recorder) -> None:
    declared = step.do("charge")(charge)
    await declared("ord_1", cents=5)
    assert recorder.calls == [StepCall("charge", None, charge, ("ord_1",), {"cents": 5})]


async def test_a_declared_step_awaited_twice_runs_twice(step: Any, recorder: Recorder) -> None:
    declared = step.do("charge")(charge)
    await declared("ord_1")
    await declared("ord_2")
    assert recorder.names == ["charge", "charge"]


def test_what_is_decorated_has_to_be_a_function(step: Any) -> None:
    with pytest.raises(TypeError, match=r"@step.do\('charge'\) decorates a function, got int"):
        step.do("charge")(5)


async def test_a_step_that_got_no_function_is_refused_when_it_is_awaited_with_what_to_write(step: Any) -> None:
    with pytest.raises(TypeError, match=r"^step 'charge' got no function: write await step.do\('charge', fn, \*args\)"):
        await step.do("charge")
    with pytest.raises(TypeError, match=r"^step 'charge' got no function"):
        await asyncio.gather(step.do("charge", config={"timeout": "1 hour"}))
    with pytest.raises(TypeError, match=r"^a step got no function: write await step.do\(name, fn, \*args\)"):
        await step.do()


def test_a_lambda_needs_a_name_only_when_its_own_is_not_allowed(step: Any) -> None:
    with pytest.raises(ValueError, match="step name '' is not allowed"):
        step.do(partial(charge, "ord_1"))


# Dependencies


async def test_a_parameter_takes_the_result_of_the_earlier_step_of_its_name(step: Any, recorder: Recorder) -> None:
    @step.do
    async def fetch() -> int:
        return 20

    @step.do
    async def total(fetch: int, factor: int = 2) -> int:
        return fetch * factor

    assert await total() == 40
    assert recorder.names == ["fetch", "total"]


async def test_a_dependency_is_found_by_the_steps_name_not_the_functions(step: Any) -> None:
    @step.do("prices")
    async def load() -> int:
        return 5

    @step.do
    async def total(prices: int) -> int:
        return prices

    assert await total() == 5


async def test_an_argument_takes_the_place_of_a_dependency(step: Any, recorder: Recorder) -> None:
    @step.do
    async def fetch() -> int:
        return 20

    @step.do
    async def total(fetch: int) -> int:
        return fetch

    assert [await total(1), await total(fetch=2)] == [1, 2]
    assert recorder.names == ["total", "total"]


async def test_a_parameter_with_a_default_prefers_the_earlier_step(step: Any) -> None:
    @step.do
    async def rate() -> int:
        return 7

    @step.do
    async def total(rate: int = 1) -> int:
        return rate

    assert await total() == 7


def diamond(step: Any, *, concurrent: bool) -> Any:
    @step.do
    async def top() -> int:
        return 1

    @step.do
    async def left(top: int) -> int:
        return top + 10

    @step.do
    async def right(top: int) -> int:
        return top + 100

    @step.do(concurrent=concurrent)
    async def bottom(left: int, right: int) -> int:
        return left + right

    return bottom


@pytest.mark.parametrize("concurrent", [False, True])
async def test_the_top_of_a_diamond_runs_once(step: Any, recorder: Recorder, concurrent: bool) -> None:
    assert await diamond(step, concurrent=concurrent)() == 112
    assert recorder.names == ["top", "left", "right", "bottom"]


async def test_dependencies_run_one_after_the_other(step: Any, recorder: Recorder) -> None:
    await diamond(step, concurrent=False)()
    assert recorder.most_at_work == 1


async def test_dependencies_run_together_when_concurrent(step: Any, recorder: Recorder) -> None:
    await diamond(step, concurrent=True)()
    assert recorder.most_at_work == 2


async def test_a_step_that_was_awaited_does_not_run_again_for_those_that_need_it(step: Any, recorder: Recorder) -> None:
    @step.do
    async def fetch(amount: int = 1) -> int:
        return amount

    @step.do
    async def total(fetch: int) -> int:
        return fetch

    await fetch(30)
    assert await total() == 30
    assert recorder.names == ["fetch", "total"]


async def test_a_step_that_is_running_is_waited_for_by_those_that_need_it(step: Any, recorder: Recorder) -> None:
    @step.do
    async def fetch() -> int:
        return 5

    @step.do
    async def total(fetch: int) -> int:
        return fetch

    assert await asyncio.gather(fetch(), total()) == [5, 5]
    assert recorder.names == ["fetch", "total"]


async def test_a_failed_dependency_fails_the_steps_that_need_it_and_runs_once(step: Any, recorder: Recorder) -> None:
    @step.do
    async def fetch() -> int:
        raise LookupError("no prices")

    @step.do
    async def total(fetch: int) -> int:
        return fetch

    for _ in range(2):
        with pytest.raises(LookupError, match="no prices"):
            await total()
    assert recorder.names == ["fetch"]


async def test_a_step_that_failed_when_awaited_is_not_tried_again_behind_the_callers_back(
    step: Any, recorder: Recorder
) -> None:
    @step.do
    async def fetch() -> int:
        raise LookupError("no prices")

    @step.do
    async def total(fetch: int) -> int:
        return fetch

    for declared in (fetch, total):
        with pytest.raises(LookupError, match="no prices"):
            await declared()
    assert recorder.names == ["fetch"]


async def test_a_step_whose_caller_was_cancelled_runs_anew_for_those_that_need_it(step: Any) -> None:
    answers = iter([asyncio.Event().wait, asyncio.sleep])

    @step.do
    async def fetch() -> int:
        answer = next(answers)
        await (answer(0) if answer is asyncio.sleep else answer())
        return 5

    @step.do
    async def total(fetch: int) -> int:
        return fetch

    caller = asyncio.ensure_future(fetch())
    for _ in range(3):
        await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await total() == 5


async def test_a_step_may_be_named_like_an_earlier_one_and_takes_its_place(step: Any) -> None:
    @step.do("fetch")
    async def first() -> int:
        return 1

    @step.do("fetch")
    async def second(fetch: int) -> int:
        return fetch + 1

    @step.do
    async def total(fetch: int) -> int:
        return fetch * 10

    assert await total() == 20


async def test_a_parameter_that_no_earlier_step_is_named_after_is_refused_with_the_nearest(step: Any) -> None:
    @step.do
    async def fetch_prices() -> int: ...

    @step.do
    async def total(fetch_price: int) -> int: ...

    with pytest.raises(TypeError) as caught:
        await total()
    assert str(caught.value) == (
        "step 'total' has a parameter 'fetch_price' that got no argument and that no earlier step is named after, "
        "did you mean 'fetch_prices'?"
    )


async def test_a_later_step_is_no_dependency(step: Any) -> None:
    @step.do
    async def total(later: int) -> int: ...

    @step.do
    async def later() -> int: ...

    with pytest.raises(TypeError, match="step 'total' has a parameter 'later' that got no argument"):
        await total()


async def test_an_argument_the_function_has_not_is_refused_with_the_step(step: Any, recorder: Recorder) -> None:
    @step.do
    async def total() -> int: ...

    with pytest.raises(TypeError, match="step 'total': got an unexpected keyword argument 'fetch'"):
        await total(fetch=1)
    assert recorder.calls == []


async def test_variable_parameters_are_no_dependencies(step: Any) -> None:
    @step.do
    async def total(*args: int, **kwargs: int) -> int:
        return sum(args) + sum(kwargs.values())

    assert await total(1, 2, more=3) == 6


async def test_ctx_is_left_to_the_runner(step: Any, recorder: Recorder) -> None:
    @step.do
    async def ctx() -> str:
        return "not this"

    @step.do
    async def total(ctx: StepContext) -> StepContext:
        return ctx

    assert await total() == "the context"
    assert recorder.names == ["total"]


async def test_arguments_go_past_a_ctx_that_is_left_out(step: Any, recorder: Recorder) -> None:
    @step.do
    async def fetch() -> int:
        return 5

    @step.do
    async def total(ctx: StepContext, order: str, fetch: int) -> Any:
        return ctx, order, fetch

    assert await total("ord_1") == ("the context", "ord_1", 5)
    assert (recorder.calls[-1].args, recorder.calls[-1].kwargs) == (("ord_1",), {"fetch": 5})


async def test_a_given_ctx_is_passed_on(step: Any) -> None:
    @step.do
    async def total(ctx: Any, order: str) -> tuple[Any, str]:
        return ctx, order

    assert await total("mine", "ord_1") == ("mine", "ord_1")
    assert await total(ctx="mine", order="ord_1") == ("mine", "ord_1")


# Sleeps


@pytest.mark.parametrize(("duration", "ms"), [("10 seconds", 10_000), (timedelta(minutes=1), 60_000), (0, 0)])
async def test_a_sleep_is_handed_on_in_milliseconds(step: Any, recorder: Recorder, duration: Any, ms: int) -> None:
    await step.sleep("nap", duration)
    assert recorder.waits == [("sleep", "nap", ms)]


@pytest.mark.parametrize(
    ("duration", "error", "message"),
    [
        (10, TypeError, "duration of sleep 'nap' is the bare number 10"),
        ("soon", ValueError, "duration of sleep 'nap' 'soon' is not a duration"),
        (timedelta(days=-1), ValueError, "duration of sleep 'nap' must not be negative"),
        ("366 days", ValueError, "duration of sleep 'nap' must be at most 365 days, got '366 days'"),
    ],
)
def test_an_impossible_sleep_is_refused_with_its_name(
    step: Any, duration: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        step.sleep("nap", duration)


async def test_a_sleep_until_is_handed_on_as_the_moment_whatever_the_zone(step: Any, recorder: Recorder) -> None:
    moment = datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    await step.sleep_until("morning", moment)
    assert recorder.waits == [("sleep_until", "morning", int(moment.timestamp()) * 1000)]


@given(micros=st.integers(-(10**15), 10**16))
def test_a_sleep_until_never_ends_early_nor_a_whole_millisecond_late(micros: int) -> None:
    recorder = Recorder()
    asyncio.run(_await(WorkflowStep(recorder).sleep_until("morning", EPOCH + timedelta(microseconds=micros))))
    assert 0 <= recorder.waits[0][2] * 1000 - micros < 1000


async def _await(call: Any) -> Any:
    return await call


def test_a_naive_moment_is_refused_with_its_value_and_the_cure(step: Any) -> None:
    with pytest.raises(
        ValueError, match=r"sleep_until 'morning' got the naive datetime 2030-01-01T00:00:00, .*tzinfo=UTC"
    ):
        step.sleep_until("morning", datetime(2030, 1, 1))  # noqa: DTZ001  # naive on purpose


@pytest.mark.parametrize("when", ["2030-01-01", 1_900_000_000, None, timedelta(days=1)])
def test_what_is_no_moment_is_refused_by_its_type(step: Any, when: Any) -> None:
    with pytest.raises(TypeError, match=f"sleep_until 'morning' takes an aware datetime, got {type(when).__name__}"):
        step.sleep_until("morning", when)


# Waits for events


async def test_a_wait_is_handed_on_with_a_day_as_its_timeout(step: Any, recorder: Recorder) -> None:
    await step.wait_for_event("approval", "order.approval")
    await step.wait_for_event("approval", type="order.approval", timeout="1 minute", payload=dict)
    assert recorder.waits == [
        ("wait_for_event", "approval", "order.approval", 86_400_000, None),
        ("wait_for_event", "approval", "order.approval", 60_000, dict),
    ]


@pytest.mark.parametrize(
    ("timeout", "error", "message"),
    [
        (60, TypeError, "timeout of wait 'approval' is the bare number 60"),
        (0, ValueError, "timeout of wait 'approval' must be longer than 0"),
        ("366 days", ValueError, "timeout of wait 'approval' must be at most 365 days"),
    ],
)
def test_an_impossible_timeout_is_refused_with_the_waits_name(
    step: Any, timeout: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        step.wait_for_event("approval", "order.approval", timeout=timeout)


def test_an_event_type_that_is_not_allowed_is_refused(step: Any) -> None:
    with pytest.raises(ValueError, match="event type 'order approval' is not allowed"):
        step.wait_for_event("approval", "order approval")


@pytest.mark.parametrize("call", ["sleep", "sleep_until", "wait_for_event"])
def test_every_call_refuses_a_name_that_is_not_allowed(step: Any, call: str) -> None:
    with pytest.raises(ValueError, match="step name '' is not allowed"):
        getattr(step, call)("", "1 hour")
