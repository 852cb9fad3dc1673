"""Steps: what they are called with, what they give back, and what is kept of it."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from contextvars import ContextVar
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from msgspec import UNSET

from everstep import (
    NonRetryableError,
    NotSerializableError,
    StepConfig,
    StepContext,
    StepError,
    ValueTooLargeError,
    current_step,
)

from .virtual import attempts_of, flow

ONCE = {"retries": {"limit": 0}}


async def test_a_step_runs_once_and_gives_its_result(running):
    calls = []

    @flow
    async def shop(event, step):
        total = await step.do("add", lambda: calls.append("add") or 40 + 2)
        await step.sleep("a while", "1 hour")
        return total

    machine = await running(shop)
    instance = await machine.create(shop)
    await machine.reboot()
    await machine.advance("1 hour")
    assert (await machine.output(instance), calls) == (42, ["add"])


async def test_arguments_reach_the_function(running):
    def join(first, second, *, sep):
        return sep.join([first, second])

    @flow
    async def shop(event, step):
        return await step.do("join", join, "a", "b", sep="-")

    assert await (await running(shop)).run(shop) == "a-b"


async def test_a_config_comes_before_the_function(running):
    def join(first, second, *, sep):
        return sep.join([first, second])

    @flow
    async def shop(event, step):
        as_dict = await step.do("dict", {"timeout": "30 seconds"}, join, "a", "b", sep="-")
        as_struct = await step.do("struct", StepConfig(timeout="30 seconds"), join, "a", "b", sep="+")
        return [as_dict, as_struct]

    assert await (await running(shop)).run(shop) == ["a-b", "a+b"]


async def test_a_decorated_function_is_a_step_of_its_own_name(running):
    @flow
    async def shop(event, step):
        @step.do
        async def total():
            return 3

        @step.do()
        async def average():
            return 1

        return await total() + await average()

    machine = await running(shop)
    instance = await machine.create(shop)
    assert await machine.output(instance) == 4
    assert [step.name for step in (await instance.status(steps=True)).steps] == ["total", "average"]


async def test_a_decorated_function_takes_arguments_a_name_and_a_config(running):
    @flow
    async def shop(event, step):
        @step.do("sum up", config={"timeout": "1 minute"})
        async def total(a, b, ctx):
            return [a + b, ctx.step.name, ctx.config["timeout"]]

        return await total(1, b=2)

    assert await (await running(shop)).run(shop) == [3, "sum up", "1 minute"]


@pytest.mark.parametrize("concurrent", [False, True])
async def test_a_decorated_function_takes_the_results_of_earlier_steps_by_their_names(running, concurrent):
    calls = []

    @flow
    async def shop(event, step):
        @step.do()
        async def price():
            calls.append("price")
            return 10

        @step.do()
        async def tax(price):
            calls.append("tax")
            return price / 5

        @step.do("bill", concurrent=concurrent)
        async def bill(price, tax):
            return price + tax

        return await bill()

    assert await (await running(shop)).run(shop) == 12
    assert calls == ["price", "tax"]


async def test_arguments_are_not_stored(running):
    client = object()

    @flow
    async def shop(event, step):
        return await step.do("charge", lambda client, key: len(key), client, "secret-key-1")

    machine = await running(shop)
    assert await machine.run(shop) == 12
    await machine.stop()
    files = b"".join(path.read_bytes() for path in machine.path.parent.glob(machine.path.name + "*"))
    assert b"secret-key-1" not in files


async def test_a_plain_function_runs_in_a_worker_thread(running):
    @flow
    async def shop(event, step):
        return await step.do("where", here)

    def here():
        return threading.current_thread().name

    assert (await (await running(shop)).run(shop)).startswith("everstep-step")


async def test_a_plain_function_sees_context_variables_and_keeps_its_own_to_itself(running):
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")

    def rename():
        before = tenant.get()
        tenant.set("the thread")
        return before

    @flow
    async def shop(event, step):
        tenant.set("the workflow")
        return [await step.do("rename", rename), tenant.get()]

    assert await (await running(shop)).run(shop) == ["the workflow", "the workflow"]


async def test_a_lambda_may_return_an_awaitable_or_a_value(running):
    async def double(x):
        return 2 * x

    @flow
    async def shop(event, step):
        return [await step.do("later", lambda: double(4)), await step.do("now", lambda: 9)]

    assert await (await running(shop)).run(shop) == [8, 9]


async def test_a_lambda_runs_on_the_loop(running):
    @flow
    async def shop(event, step):
        return await step.do("where", lambda: threading.current_thread() is threading.main_thread())

    assert await (await running(shop)).run(shop) is True


async def test_a_method_and_a_callable_object_are_steps(running):
    class Client:
        async def fetch(self, key):
            return f"fetched {key}"

        def __call__(self, key):
            return f"called {key}"

    @flow
    async def shop(event, step):
        client = Client()
        return [await step.do("method", client.fetch, 1), await step.do("object", client, 2)]

    assert await (await running(shop)).run(shop) == ["fetched 1", "called 2"]


async def test_a_parameter_named_ctx_receives_the_step_context(running):
    seen = []

    async def look(ctx: StepContext, order):
        seen.append(ctx)
        return order

    @flow
    async def shop(event, step):
        return await step.do("look", {"retries": {"limit": 2}}, look, "order-1")

    assert await (await running(shop)).run(shop) == "order-1"
    [ctx] = seen
    assert (ctx.step.name, ctx.step.count, ctx.attempt) == ("look", 1, 1)
    assert ctx.config["retries"] == {"limit": 2, "delay": "10 seconds", "backoff": "exponential"}
    assert (ctx.instance_id, ctx.workflow_name) == ("one", "shop")


async def test_a_parameter_named_ctx_that_got_an_argument_keeps_it(running):
    @flow
    async def shop(event, step):
        return await step.do("look", lambda ctx: ctx, "mine")

    assert await (await running(shop)).run(shop) == "mine"


async def test_current_step_is_known_below_a_step_and_nowhere_else(running):
    async def below():
        await asyncio.sleep(0)
        return current_step().step.name

    def in_thread():
        return current_step().step.name

    @flow
    async def shop(event, step):
        names = [await step.do("on the loop", below), await step.do("in a thread", in_thread)]
        with pytest.raises(RuntimeError, match="outside a step"):
            current_step()
        return names

    assert await (await running(shop)).run(shop) == ["on the loop", "in a thread"]


async def test_current_step_is_the_innermost_one_where_a_steps_function_asks_for_steps(running):
    names = []

    @flow
    async def shop(event, step):
        async def inner():
            names.append(current_step().step.name)

        async def outer():
            await step.do("inner", inner)
            names.append(current_step().step.name)
            await step.sleep("nap", "0 seconds")
            names.append(current_step().step.name)

        await step.do("outer", outer)

    await (await running(shop)).run(shop)
    assert names == ["inner", "outer", "outer"]


async def test_what_a_step_leaves_behind_is_in_no_step_once_it_has_ended(running):
    ended, heard = asyncio.Event(), []

    async def straggler():
        await ended.wait()
        with pytest.raises(RuntimeError, match="outside a step"):
            current_step()
        heard.append(True)

    @flow
    async def shop(event, step):
        async def leaves():
            return asyncio.create_task(straggler()) and None

        await step.do("leaves", leaves)
        ended.set()
        await step.do("a moment", lambda: asyncio.sleep(0.01))

    await (await running(shop)).run(shop)
    assert heard == [True]


async def test_steps_of_one_name_are_counted(running):
    def count(ctx):
        return ctx.step.count

    @flow
    async def shop(event, step):
        counts = [await step.do("page", count) for _ in range(3)]
        await step.sleep("page", "1 second")
        return [*counts, await step.do("page", count)]

    machine = await running(shop)
    instance = await machine.create(shop)
    await machine.reboot()
    await machine.advance("1 second")
    assert await machine.output(instance) == [1, 2, 3, 4]


@dataclasses.dataclass
class Receipt:
    number: UUID
    total: Decimal
    lines: tuple[str, ...]


VALUES = [
    None,
    0,
    1.5,
    float("inf"),
    "text",
    b"bytes",
    [1, [2]],
    (1, (2, [3])),
    {"a": {1, 2}, "b": frozenset({3})},
    {1: "int keys", (1, 2): "tuple keys"},
    datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
    Receipt(UUID(int=7), Decimal("9.90"), ("tea",)),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
async def test_the_live_value_equals_the_replayed_one(running, value):
    seen = []

    @flow
    async def shop(event, step):
        seen.append(await step.do("value", lambda: value))
        await step.sleep("a while", "1 second")

    machine = await running(shop)
    await machine.create(shop)
    await machine.reboot()
    await machine.advance("1 second")
    assert len(seen) >= 2
    assert all((one == value, type(one)) == (True, type(value)) for one in seen)


async def test_the_live_value_shares_nothing_with_what_the_function_returned(running):
    kept = [1]

    @flow
    async def shop(event, step):
        result = await step.do("value", lambda: kept)
        kept.append(2)
        return result

    assert await (await running(shop)).run(shop) == [1]


async def test_a_declared_result_is_restored_as_its_type(running):
    async def buy() -> Receipt:
        return Receipt(UUID(int=7), Decimal("9.90"), ("tea",))

    seen = []

    @flow
    async def shop(event, step):
        seen.append(await step.do("buy", buy))
        await step.sleep("a while", "1 second")

    machine = await running(shop)
    await machine.create(shop)
    await machine.reboot()
    await machine.advance("1 second")
    assert {type(one) for one in seen} == {Receipt}
    assert {one.total for one in seen} == {Decimal("9.90")}


class Connection:
    """Something no store can hold."""


async def test_a_result_that_cannot_be_stored_fails_the_instance_at_once_and_names_the_path(running):
    calls = []

    @flow
    async def shop(event, step):
        await step.do("items", lambda: calls.append(1) or {"items": [1, {"price": Connection()}]})

    machine = await running(shop)
    instance = await machine.create(shop)
    with pytest.raises(NotSerializableError, match=r"step 'items'.*items\[1\]\.price.*Connection"):
        await machine.output(instance)
    assert calls == [1]
    assert attempts_of(await instance.status(steps=True), "items") == [(1, "errored", "NotSerializableError")]


async def test_not_serializable_cannot_be_swallowed_by_the_workflow(running):
    went_on = []

    @flow
    async def shop(event, step):
        try:
            await step.do("items", Connection)
        except Exception:
            went_on.append("except")
        went_on.append("after")

    machine = await running(shop)
    instance = await machine.create(shop)
    assert (await instance.status()).status == "errored"
    assert went_on == []


async def test_not_serializable_in_one_branch_ends_the_others(running):
    ended = []

    @flow
    async def shop(event, step):
        try:
            await asyncio.gather(step.do("items", Connection), step.sleep("long", "1 hour"), return_exceptions=True)
        finally:
            ended.append("finally")

    machine = await running(shop)
    instance = await machine.create(shop)
    with pytest.raises(NotSerializableError):
        await machine.output(instance)
    assert ended == ["finally"]


async def test_an_output_that_cannot_be_stored_is_the_instances_error(running):
    @flow
    async def shop(event, step):
        return {"connection": Connection()}

    with pytest.raises(NotSerializableError, match="output of instance 'one'"):
        await (await running(shop)).run(shop)


async def test_a_result_that_is_too_large_is_an_error_that_is_not_retried(running):
    calls = []

    @flow
    async def shop(event, step):
        try:
            await step.do("download", lambda: calls.append(1) or "x" * (1024 * 1024))
        except ValueTooLargeError as error:
            return str(error)

    message = await (await running(shop)).run(shop)
    assert "step 'download'" in message
    assert "1,048,576" in message
    assert calls == [1]


class Declined(Exception):  # noqa: N818  # an app's own name
    """An app's importable exception with plain arguments."""


async def test_an_error_is_raised_as_the_same_class_live_and_on_replay(running):
    seen = []

    @flow
    async def shop(event, step):
        try:
            await step.do("charge", ONCE, fail, Declined("card 4242", 7))
        except Declined as error:
            seen.append(error.args)
        await step.sleep("a while", "1 second")

    machine = await running(shop)
    await machine.create(shop)
    await machine.reboot()
    await machine.advance("1 second")
    assert len(seen) >= 2
    assert set(seen) == {("card 4242", 7)}


async def test_an_error_whose_class_cannot_be_rebuilt_is_a_step_error_live_and_on_replay(running):
    class Local(Exception):  # noqa: N818  # an app's own name
        def __init__(self, connection):
            super().__init__("no connection")
            self.connection = connection

    seen = []

    @flow
    async def shop(event, step):
        try:
            await step.do("charge", ONCE, fail, Local(Connection()))
        except StepError as error:
            seen.append((error.name, error.message))
        await step.sleep("a while", "1 second")

    machine = await running(shop)
    await machine.create(shop)
    await machine.reboot()
    await machine.advance("1 second")
    assert len(seen) >= 2
    assert set(seen) == {("Local", "no connection")}


async def fail(error):
    raise error


async def test_a_step_that_failed_for_good_does_not_run_again_on_replay(running):
    calls = []

    async def charge():
        calls.append(1)
        raise NonRetryableError("declined")

    @flow
    async def shop(event, step):
        with pytest.raises(NonRetryableError, match="declined"):
            await step.do("charge", charge)
        await step.sleep("a while", "1 second")
        return "went on"

    machine = await running(shop)
    instance = await machine.create(shop)
    await machine.reboot()
    await machine.advance("1 second")
    assert (await machine.output(instance), calls) == ("went on", [1])


async def test_an_error_that_the_workflow_does_not_catch_ends_the_instance(running):
    @flow
    async def shop(event, step):
        await step.do("charge", ONCE, fail, Declined("card 4242"))

    machine = await running(shop)
    instance = await machine.create(shop)
    with pytest.raises(Declined, match="card 4242"):
        await machine.output(instance)
    status = await instance.status()
    assert (status.status, status.error.name, status.error.message) == ("errored", "Declined", "card 4242")


async def test_the_text_of_an_errors_traceback_is_kept_for_people(running):
    @flow
    async def shop(event, step):
        await step.do("charge", ONCE, fail, Declined("card 4242"))

    machine = await running(shop)
    instance = await machine.create(shop)
    [step] = (await instance.status(steps=True)).steps
    assert "in fail\n    raise error" in step.error.traceback


async def test_an_instances_own_traceback_is_shown_to_who_asks_for_every_step(running):
    @flow
    async def shop(event, step):
        await fail(Declined("no step around it"))

    machine = await running(shop)
    instance = await machine.create(shop)
    assert (await instance.status()).error.traceback is UNSET
    assert "in fail\n    raise error" in (await instance.status(steps=True)).error.traceback


async def test_system_exit_in_a_step_is_its_error_and_not_the_engines(running):
    async def leave():
        raise SystemExit(3)

    @flow
    async def shop(event, step):
        try:
            await step.do("leave", ONCE, leave)
        except StepError as error:
            return error.name

    assert await (await running(shop)).run(shop) == "SystemExit"


async def test_a_function_that_cancels_itself_has_failed(running):
    async def cancelled():
        raise asyncio.CancelledError

    @flow
    async def shop(event, step):
        try:
            await step.do("cancelled", ONCE, cancelled)
        except StepError as error:
            return error.name

    assert await (await running(shop)).run(shop) == "CancelledError"


BAD_CONFIGS = [
    ({"retry": {}}, ValueError, r"'charge'.*'retry'"),
    ({"retries": {"limits": 3}}, ValueError, r"'charge'.*'limits'.*limit"),
    ({"retries": {"limit": -1}}, ValueError, r"limit of step 'charge'"),
    ({"retries": {"delay": "soon"}}, ValueError, r"delay of step 'charge' 'soon'"),
    ({"timeout": 30}, TypeError, r"timeout of step 'charge'.*bare number"),
]


@pytest.mark.parametrize(("config", "kind", "message"), BAD_CONFIGS)
async def test_an_impossible_config_is_an_error_that_names_the_step_and_the_key(running, config, kind, message):
    @flow
    async def shop(event, step):
        await step.do("charge", config, lambda: 1)

    with pytest.raises(kind, match=message):
        await (await running(shop)).run(shop)


async def test_a_call_instead_of_a_function_is_an_error_that_says_what_to_write(running):
    @flow
    async def shop(event, step):
        await step.do("charge", fail(Declined()))

    with pytest.raises(TypeError, match=r"step\.do\(name, fn, \*args\)"):
        await (await running(shop)).run(shop)


async def test_a_sensitive_output_is_hidden_from_views_and_given_to_later_code(running):
    @flow
    async def shop(event, step):
        key = await step.do("key", {"sensitive": "output"}, lambda: "s3cret")
        await step.sleep("a while", "1 second")
        return len(key)

    machine = await running(shop)
    instance = await machine.create(shop)
    assert (await instance.status(steps=True)).steps[0].output == "[REDACTED]"
    await machine.reboot()
    assert (await instance.status(steps=True)).steps[0].output == "[REDACTED]"
    await machine.advance("1 second")
    assert await machine.output(instance) == 6


async def test_a_step_knows_itself_before_and_after_it_waits_and_in_the_tasks_it_makes(running):
    seen = []

    def look(where):
        seen.append((where, current_step().step.name, current_step().attempt))

    async def look_later(where):
        await asyncio.sleep(0)
        look(where)

    async def work():
        look("at once")
        early = asyncio.create_task(look_later("in a task made at once"))
        await asyncio.sleep(0)
        look("after a moment")
        await asyncio.gather(early, look_later("in a task"))

    @flow
    async def shop(event, step):
        await step.do("work", work)
        with pytest.raises(RuntimeError, match="outside a step"):
            current_step()

    await (await running(shop)).run(shop)
    assert seen == [
        (where, "work", 1) for where in ("at once", "after a moment", "in a task made at once", "in a task")
    ]


async def test_the_task_of_a_step_that_is_over_at_once_is_done_for_those_who_kept_it(running):
    kept = []

    async def work():
        kept.append(asyncio.current_task())

    @flow
    async def shop(event, step):
        await step.do("one", work)
        await step.do("other", work)

    await (await running(shop)).run(shop)
    assert kept[0] is not kept[1]
    await asyncio.wait_for(asyncio.wait(kept), 1)


async def test_callbacks_of_a_step_s_task_are_called_once_it_is_over(running):
    called = []

    async def work(name):
        asyncio.current_task().add_done_callback(lambda _: called.append(name))

    @flow
    async def shop(event, step):
        await step.do("one", work, "one")
        await step.do("other", work, "other")

    await (await running(shop)).run(shop)
    await asyncio.sleep(0)
    assert called == ["one", "other"]
