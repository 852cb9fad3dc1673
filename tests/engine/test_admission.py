"""Places: so many at once, the others in their order and fewer at a time, whoever leaves the line."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from everstep.engine.scheduling.admission import Places


async def test_those_in_line_get_in_in_the_order_of_asking():
    places, order = Places(1, from_line=1), []

    async def one(number: int) -> None:
        await places.take()
        order.append(number)
        await asyncio.sleep(0)
        places.give_back()

    await asyncio.gather(*map(one, range(5)))
    assert (order, places.taken, places.waiting) == ([0, 1, 2, 3, 4], 0, 0)


async def test_many_get_in_at_once_and_few_from_a_line():
    places, inside = Places(8, from_line=3), []

    async def one() -> None:
        await places.take()
        inside.append(places.taken)
        for _ in range(3):
            await asyncio.sleep(0)
        places.give_back()

    await asyncio.gather(*(one() for _ in range(30)))
    assert max(inside) == 8
    assert max(inside[8:]) == 3
    assert len(inside) == 30
    assert (places.taken, places.waiting) == (0, 0)


@pytest.mark.parametrize("handed_over", [False, True])
async def test_who_leaves_the_line_takes_no_place_along(handed_over: bool):
    places = Places(1, from_line=1)
    await places.take()
    leaves, stays = (asyncio.create_task(places.take()) for _ in range(2))
    await asyncio.sleep(0)
    assert places.waiting == 2
    if handed_over:  # cancelled when its turn has come, before it could run
        places.give_back()
    leaves.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leaves
    if not handed_over:
        places.give_back()
    await asyncio.wait_for(stays, 1)
    assert (places.taken, places.waiting) == (1, 0)
    places.give_back()
    await asyncio.wait_for(places.take(), 1)


async def test_who_asks_in_the_moment_in_which_the_last_in_line_leaves_gets_in():
    places = Places(1, from_line=1)
    await places.take()
    leaves = asyncio.create_task(places.take())
    await asyncio.sleep(0)
    leaves.cancel()
    places.give_back()
    await asyncio.wait_for(places.take(), 1)
    assert places.taken == 1
