"""Counts of instances: those that take long are shown again for a moment."""

import asyncio

from everstep.control.counts import InstanceCounts


class Counted:
    """A store that takes so many seconds to count."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.now, self.times = seconds, 0.0, 0

    async def counts(self) -> dict[str, dict[str, int]]:
        await asyncio.sleep(0)
        self.now += self.seconds
        self.times += 1
        return {"w": {"queued": self.times}}


async def test_a_quick_count_is_always_the_latest():
    store = Counted(0.01)
    counts = InstanceCounts(store.counts, clock=lambda: store.now)
    assert [(await counts.read())["w"]["queued"] for _ in range(3)] == [1, 2, 3]


async def test_a_slow_count_is_made_once_for_all_who_ask_and_again_later():
    store = Counted(1.0)
    counts = InstanceCounts(store.counts, clock=lambda: store.now)
    await asyncio.gather(*(counts.read() for _ in range(10)))
    await counts.read()
    assert store.times == 1
    store.now += 10
    assert (await counts.read())["w"]["queued"] == 2
