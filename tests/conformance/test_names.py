"""Names, and what makes a step the same step."""

from __future__ import annotations

import pytest

from .factories import AWAY, flow, state, steps_of


def named(name, call="do"):
    @flow
    async def shop(event, step):
        match call:
            case "do":
                await step.do(name, lambda: 1)
            case "sleep":
                await step.sleep(name, 0)
            case "wait":
                await step.wait_for_event(name, "tick")

    return shop


@pytest.mark.parametrize("name", ["a", "charge the card", "Zahlung prüfen", "支払い", "x" * 256, "a-1", "ünïcödé ☂"])
async def test_a_step_name_has_up_to_256_characters_of_any_script(running, name):
    """I §1.4, S §5"""
    machine = await running(shop := named(name))
    instance = await machine.create(shop)
    assert await steps_of(instance) == [(name, 1, "complete")]


@pytest.mark.parametrize("call", ["do", "sleep", "wait"])
@pytest.mark.parametrize("name", ["", "x" * 257, "a\nb", "a\x00", "\x1f", 5, None])
async def test_an_impossible_step_name_is_an_error_of_every_call(running, name, call):
    """I §1.4, S §5"""
    machine = await running(shop := named(name, call))
    found = await (await machine.create(shop)).status()
    assert found.status == "errored"
    assert found.error.name in {"InvalidNameError", "TypeError"}
    assert found.step_count == 0


async def test_a_name_may_be_used_again_and_is_counted_from_1(running):
    """I §1.4"""

    @flow
    async def shop(event, step):
        return [await step.do("same", lambda n=n: n) for n in range(3)]

    machine = await running(shop, options=AWAY)
    instance = await machine.create(shop)
    assert await machine.output(instance) == [0, 1, 2]
    assert await steps_of(instance) == [("same", n, "complete") for n in (1, 2, 3)]


async def test_each_kind_of_step_counts_for_itself(running):
    """I §1.4"""

    @flow
    async def shop(event, step):
        await step.do("same", lambda: 1)
        await step.sleep("same", "1 minute")
        await step.wait_for_event("same", "tick")

    machine = await running(shop)
    instance = await machine.create(shop)
    await instance.send_event(type="tick")
    await machine.advance("1 minute")
    assert await steps_of(instance) == [("same", 1, "complete")] * 3
    types = [step.type for step in (await instance.status(steps=True)).steps]
    assert types == ["do", "sleep", "waitForEvent"]


async def test_a_replay_finds_repeated_names_in_call_order(running):
    """I §1.4"""
    calls = []

    @flow
    async def shop(event, step):
        seen = []
        for n in range(3):
            seen.append(await step.do("same", lambda n=n: calls.append(n) or n))
            await step.sleep("nap", "1 minute")
        return seen

    machine = await running(shop, options=AWAY)
    instance = await machine.create(shop)
    await machine.advance("3 minutes")
    assert await machine.output(instance) == [0, 1, 2]
    assert calls == [0, 1, 2]


async def test_a_completed_step_never_runs_again(running):
    """I §1.4, S §2.2"""
    calls = []

    @flow
    async def shop(event, step):
        await step.do("once", lambda: calls.append(1))
        for n in range(5):
            await step.sleep(f"nap {n}", "1 minute")

    machine = await running(shop)
    instance = await machine.create(shop)
    for _ in range(5):
        await machine.reboot()
        await machine.advance("1 minute")
    assert (calls, await state(instance)) == ([1], "complete")


async def test_resources_that_cannot_be_stored_may_be_made_outside_steps_and_are_made_again(running):
    """I §1.4"""
    made = []

    class Client:
        def __init__(self):
            made.append(self)

        def get(self):
            return "got"

    @flow
    async def shop(event, step):
        client = Client()
        first = await step.do("first", client.get)
        await step.sleep("nap", "1 minute")
        return [first, await step.do("second", client.get)]

    machine = await running(shop, options=AWAY)
    instance = await machine.create(shop)
    await machine.advance("1 minute")
    assert await machine.output(instance) == ["got", "got"]
    assert len(made) >= 2


async def test_a_step_within_a_step_is_a_step_of_its_own(running):
    """I §1.4: nesting is discouraged, and works"""

    @flow
    async def shop(event, step):
        async def outer():
            return [await step.do("inner", lambda: 1), 2]

        return await step.do("outer", outer)

    assert await (await running(shop)).run(shop) == [1, 2]
