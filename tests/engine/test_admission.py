"""AdmissionLimiter: so many at once, the others in their order and fewer at a time, whoever leaves the line."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from everstep.engine.scheduling.admission import AdmissionLimiter


async def test_those_in_line_get_in_in_the_order_of_asking():
    places, order = AdmissionLimiter(1, low_watermark=1), []

    async def one(number: int) -> None:
        await places.acquire()
        order.append(number)
        await asyncio.sleep(0)
        places.release()

    await asyncio.gather(*map(one, range(5)))
    assert (order, places.taken, places.waiting) == ([0, 1, 2, 3, 4], 0, 0)


async def test_many_get_in_at_once_and_few_from_a_line():
    places, inside = AdmissionLimiter(8, low_watermark=3), []

    async def one() -> None:
        await places.acquire()
        inside.append(places.taken)
        for _ in range(3):
            await asyncio.sleep(0)
        places.release()

    await asyncio.gather(*(one() for _ in range(30)))
    assert max(inside) == 8
    assert max(inside[8:]) == 3
    assert len(inside) == 30
    assert (places.taken, places.waiting) == (0, 0)


@pytest.mark.parametrize("handed_over", [False, True])
async def test_who_leaves_the_line_takes_no_place_along(handed_over: bool):
    places = AdmissionLimiter(1, low_watermark=1)
    await places.acquire()
    leaves, stays = (asyncio.create_task(places.acquire()) for _ in range(2))
    await asyncio.sleep(0)
    assert places.waiting == 2
    if handed_over:  # cancelled when its turn has come, before it could run
        places.release()
    leaves.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leaves
    if not handed_over:
        places.release()
    await asyncio.wait_for(stays, 1)
    assert (places.taken, places.waiting) == (1, 0)
    places.release()
    await asyncio.wait_for(places.acquire(), 1)


async def test_who_asks_in_the_moment_in_which_the_last_in_line_leaves_gets_in():
    places = AdmissionLimiter(1, low_watermark=1)
    await places.acquire()
    leaves = asyncio.create_task(places.acquire())
    await asyncio.sleep(0)
    leaves.cancel()
    places.release()
    await asyncio.wait_for(places.acquire(), 1)
    assert places.taken == 1
