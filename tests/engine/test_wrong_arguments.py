"""Arguments that cannot be what was meant: refused before anything is done, in words that say what to give."""

from __future__ import annotations

from functools import lru_cache, partial, wraps

import pytest

from everstep import Everstep, InvalidOptionError

from .virtual import flow


@flow
async def quick(event, step):
    return await step.do("answer", lambda: 42)


@pytest.fixture
async def binding(running):
    machine = await running(quick)
    found = machine.es.workflow(quick)
    await found.create_batch([{"id": id, "tags": ["t"]} for id in ("abc", "a", "b", "c")])
    await machine.settle()
    return found


async def ids(binding):
    return sorted(one.id for one in await binding.list())


NO_LISTS = ["abc", b"abc", {"abc": 1}, {"id": "abc"}, None, 5]


@pytest.mark.parametrize("wrong", NO_LISTS, ids=repr)
async def test_no_batch_of_ids_deletes_nothing(binding, wrong):
    with pytest.raises(TypeError, match=r"^delete_batch takes a list of ids, got"):
        await binding.delete_batch(wrong)
    assert await ids(binding) == ["a", "abc", "b", "c"]


@pytest.mark.parametrize("wrong", NO_LISTS, ids=repr)
async def test_no_batch_of_instances_creates_nothing(binding, wrong):
    with pytest.raises(TypeError, match=r"^create_batch takes a list of dicts, got"):
        await binding.create_batch(wrong)
    assert await ids(binding) == ["a", "abc", "b", "c"]


@pytest.mark.parametrize("kind", [tuple, dict.fromkeys, iter, set], ids=["tuple", "keys", "iterator", "set"])
async def test_a_batch_may_be_anything_that_gives_ids_one_by_one(binding, kind):
    batch = kind(["a", "b"])
    result = await binding.delete_batch(batch.keys() if isinstance(batch, dict) else batch)
    assert (sorted(result.deleted), result.errors) == (["a", "b"], [])
    assert await ids(binding) == ["abc", "c"]


async def test_a_generator_describes_a_batch_too(binding):
    result = await binding.create_batch({"id": f"new-{n}"} for n in range(3))
    assert [one.id for one in result.created] == ["new-0", "new-1", "new-2"]


async def test_an_endless_batch_is_too_long(binding):
    with pytest.raises(ValueError, match="1 to 100 instances"):
        await binding.create_batch(iter(dict, 1))


@pytest.mark.parametrize("wrong", ["blue", b"blue", {"blue": 1}, 5], ids=repr)
async def test_tags_are_a_list(binding, wrong):
    with pytest.raises(TypeError, match=r"^tags is a list of words, got"):
        await binding.create(id="new", tags=wrong)
    assert "new" not in await ids(binding)


@pytest.mark.parametrize("wrong", ["step_completed", {"step_completed": 1}, 5], ids=repr)
async def test_a_filter_of_events_is_a_list(binding, wrong):
    with pytest.raises(TypeError, match=r"^filter is a list of event types, got"):
        await anext((await binding.get("a")).subscribe(filter=wrong))


async def test_a_filter_may_be_a_generator(binding):
    wanted = (f"{what}_completed" for what in ("step", "workflow"))
    followed = (await binding.get("a")).subscribe(filter=wanted)
    assert [event.type async for event in followed] == ["step_completed", "workflow_completed"]


@pytest.mark.parametrize(
    "wrong", [{"status": ["complete"]}, {"tag": ["t"]}, {"tag": 5}, {"limit": "5"}, {"limit": True}, {"cursor": 5}]
)
async def test_a_list_is_narrowed_by_single_words(binding, wrong):
    with pytest.raises(TypeError, match=f"^{next(iter(wrong))} of list"):
        await binding.list(**wrong)


@pytest.mark.parametrize("wrong", [quick, "quick", {"quick": quick}], ids=["class", "text", "dict"])
def test_an_engine_takes_a_list_of_workflows(wrong):
    with pytest.raises(TypeError, match=r"^Everstep takes a list of workflow classes, got"):
        Everstep(wrong)


@pytest.mark.parametrize("wrong", ["KEY=secret", ["KEY"], 5], ids=["text", "list", "number"])
def test_an_env_is_a_dict_and_what_else_it_is_is_not_shown(wrong):
    with pytest.raises(TypeError, match=r"^env is a dict of vars and secrets by name, got (str|list|int)$"):
        Everstep([quick], env=wrong)


@pytest.mark.parametrize(
    ("options", "told"), [({"count": 2}, "count"), ({"type": "sleep"}, "type"), ({"count": 2, "type": "do"}, "type")]
)
async def test_which_step_is_meant_says_nothing_without_its_name(binding, options, told):
    instance = await binding.get("a")
    before = await instance.status()
    with pytest.raises(InvalidOptionError, match=rf"^{told} of restart\(\) .*from_step is missing"):
        await instance.restart(**options)
    assert (await instance.status()).started_at == before.started_at


async def test_a_restart_from_the_beginning_may_spell_its_defaults_out(binding):
    instance = await binding.get("a")
    await instance.restart(from_step=None, count=1, type=None)
    assert await instance.result() == 42


async def two(a, b):
    return a + b


def plain(a, ctx):
    return ctx.attempt


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ((two, 1), "missing a required argument: 'b'; the arguments come after the function"),
        ((two, 1, 2, 3), "too many positional arguments; the arguments come after the function"),
        ((plain,), "missing a required argument: 'a'"),
        ((lambda: 1, {"retries": {"limit": 2}}), "too many positional arguments; a config comes before the function"),
        (({"retries": {"limit": 9}}, two), "missing a required argument: 'a'"),
    ],
    ids=["missing", "too many", "thread", "config last", "config first"],
)
async def test_a_function_that_cannot_be_called_like_this_is_refused_before_its_step_begins(running, call, told):
    @flow
    async def wrong(event, step):
        await step.do("add", *call)

    status = await status_of(running, wrong)
    assert status.error.message.startswith("step 'add' cannot call its function: ")
    assert told in status.error.message
    assert status.steps == []


async def status_of(running, workflow):
    """Run a workflow that a TypeError ends at once, and return its status."""
    machine = await running(workflow)
    instance = await machine.create(workflow)
    await machine.settle()
    status = await instance.status(steps=True)
    assert (status.status, status.error.name) == ("errored", "TypeError")
    return status


def logged(fn):
    @wraps(fn)
    async def logging(*args, **kwargs):
        return await fn(*args, **kwargs)

    return logging


def logged_in_a_thread(fn):
    @wraps(fn)
    def logging(*args, **kwargs):
        return fn(*args, **kwargs)

    return logging


class Adder:
    @logged
    async def add(self, a, b):
        return a + b

    def __call__(self, a, b):
        return a + b


@pytest.mark.parametrize(
    "fn",
    [
        logged(two), logged(logged(two)), partial(logged(two)), lru_cache(two), Adder().add, Adder(),
        logged_in_a_thread(plain), logged_in_a_thread(lambda a, b: a),
    ],
    ids=["wrapped", "twice", "partial", "in C", "method", "object", "thread", "lambda"],
)  # fmt: skip
async def test_a_wrong_call_that_only_the_call_shows_is_not_tried_again(running, fn):
    @flow
    async def wrong(event, step):
        await step.do("add", fn)

    status = await status_of(running, wrong)
    assert status.error.message.startswith("step 'add' cannot call its function: missing a required argument: 'a'")
    assert [attempt.error.name for attempt in status.steps[0].attempts] == ["TypeError"]


def with_a_client(fn):
    @wraps(fn)
    async def giving(*args):
        return await fn("client", *args)

    return giving


async def test_a_wrapper_may_give_the_function_what_it_needs(running):
    tries = []

    @with_a_client
    async def work(client, order):
        tries.append(client)
        if len(tries) == 1:
            raise TypeError("the service answered with nothing")
        return f"{client} {order}"

    @flow
    async def right(event, step):
        return await step.do("work", {"retries": {"delay": 0}}, work, 7)

    machine = await running(right)
    assert await machine.output(await machine.create(right)) == "client 7"
    assert len(tries) == 2


async def test_a_call_in_place_of_a_function_is_refused_before_its_step_begins(running):
    @flow
    async def wrong(event, step):
        await step.do("add", two(1, 2))

    status = await status_of(running, wrong)
    assert "got coroutine; give the function and its arguments, not its call" in status.error.message
    assert status.steps == []


async def test_a_refused_call_can_be_caught_and_is_refused_again_in_a_replay(running):
    @flow
    async def careful(event, step):
        try:
            await step.do("add", two, 1)
        except TypeError:
            await step.sleep("rest", "1 hour")
            return await step.do("add", two, 1, 2)

    machine = await running(careful)
    instance = await machine.create(careful)
    await machine.settle()
    machine.engine.evict(1)
    await machine.advance("2 hours")
    assert await machine.output(instance) == 3


async def test_a_type_error_of_the_functions_own_is_retried(running):
    tries = []

    @flow
    async def own(event, step):
        async def work(a, ctx):
            tries.append(ctx.attempt)
            return two(1) if len(tries) == 1 else a

        return await step.do("work", {"retries": {"delay": 0}}, work, 7)

    machine = await running(own)
    assert await machine.output(await machine.create(own)) == 7
    assert tries == [1, 2]


def test_env_says_when_it_can_be_used():
    with pytest.raises(RuntimeError, match=r"use it inside `async with Everstep"):
        Everstep([quick], database="sqlite:///never-opened.db").env  # noqa: B018  # looking it up is the test
