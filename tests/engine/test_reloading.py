"""Operations whose answer was lost: what they did on disk reaches memory once the store answers again."""

from __future__ import annotations

import asyncio

import pytest

from everstep.core.errors import StoreUnavailableError
from everstep.engine.steps import store_retry

from .virtual import flow


async def test_a_pause_whose_answer_was_lost_comes_about_once_the_store_can_be_read_again(running, monkeypatch):
    @flow
    async def order(event, step):
        await step.do("hold", asyncio.Event().wait)

    machine = await running(order)
    instance = await machine.create(order)
    await machine.settle()
    store, tries = machine.engine.store, []
    pause, find = store.pause, store.find

    async def unreadable(*which):
        tries.append(which)
        raise StoreUnavailableError("nothing can be read")

    async def answer_lost(*which, **named):
        await pause(*which, **named)
        monkeypatch.setattr(store, "find", unreadable)
        raise StoreUnavailableError("the answer was lost")

    monkeypatch.setattr(store_retry, "RETRY_SECONDS", 0)
    monkeypatch.setattr(store, "pause", answer_lost)
    with pytest.raises(StoreUnavailableError, match="the answer was lost"):
        await instance.pause()
    while len(tries) < 3:
        await asyncio.sleep(0)
    monkeypatch.setattr(store, "find", find)
    await machine.settle()
    assert (await instance.status()).status == "paused"


async def test_what_is_to_be_reloaded_is_left_to_the_next_start_at_a_stop(running, monkeypatch):
    @flow
    async def order(event, step):
        return await step.do("one", lambda: 1)

    machine = await running(order)
    store = machine.engine.store

    async def unreadable(*which):
        raise StoreUnavailableError("nothing can be read")

    monkeypatch.setattr(store_retry, "RETRY_SECONDS", 0)
    monkeypatch.setattr(store, "find", unreadable)
    machine.engine.reloader.reload_soon("order", "one")
    await asyncio.sleep(0)
    before = asyncio.all_tasks()
    await machine.stop()
    assert not [task for task in before if not task.done() and task is not asyncio.current_task()]
