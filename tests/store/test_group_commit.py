"""What gathers into one commit, what a failing commit does, and who hears of it."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from everstep.core.errors import StoreError
from everstep.store.sqlite.group_commit import (
    EARLY_HANDOFF,
    FINAL_ATTEMPT_SECONDS,
    INLINE_BUDGET_SECONDS,
    INLINE_GROUP,
    INLINE_SECONDS,
    MAX_GROUP,
    SOLO_GROUPS_BEFORE_INLINE,
    GroupCommit,
    Sizes,
)
from everstep.store.sqlite.writer_thread import Work, Writer, WriterThread

FOR_THE_THREAD = INLINE_GROUP + 1
"""More operations at once than are committed on the loop."""
PATIENCE = 10


class DiskFullError(Exception):
    """The retryable error of these tests."""


class FakeDisk:
    """A commit function that notes its groups, can be held, and fails as often as it is told to.

    An operation that is an exception is refused with it; every other is answered with itself.
    """

    def __init__(self) -> None:
        self.groups: list[list[Any]] = []
        self.tried: list[list[Any]] = []
        self.threads: list[threading.Thread] = []
        self.failures: list[Exception] = []
        self.reached = threading.Event()
        self.free = threading.Event()
        self.free.set()

    def commit(self, operations: Sequence[Any]) -> list[Any]:
        self.threads.append(threading.current_thread())
        self.reached.set()
        assert self.free.wait(PATIENCE)
        self.tried.append(list(operations))
        if self.failures:
            raise self.failures.pop(0)
        # What close() submits to wait its turn is a function.
        self.groups.append([operation for operation in operations if not callable(operation)])
        return list(operations)

    def hold(self) -> None:
        self.free.clear()
        self.reached.clear()

    async def is_reached(self) -> None:
        assert await asyncio.to_thread(self.reached.wait, PATIENCE)

    @property
    def written(self) -> list[Any]:
        return [operation for group in self.groups for operation in group]

    @property
    def on_the_loop(self) -> list[bool]:
        return [thread is threading.main_thread() for thread in self.threads]


class FakeWriter:
    """A writer without a thread: its work goes on at the loop's next turn, and one thing is told a turn."""

    def __init__(self) -> None:
        self.handovers = 0
        self.under_way = self.stopped = False
        self.delays: list[float] = []
        self._told: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()

    def start(self, work: Work) -> None:
        self._work = work

    def wake(self) -> None:
        self.handovers += 1
        asyncio.get_running_loop().call_soon(self._go_on, self._work())

    def call_on_loop(self, callback: Callable[..., None], *arguments: Any) -> None:
        self._told.append((callback, arguments))
        if len(self._told) == 1:
            asyncio.get_running_loop().call_soon(self._tell_one)

    async def stop(self) -> None:
        self.stopped = True

    def _go_on(self, work: Iterator[float]) -> None:
        seconds = next(work, None)
        self.under_way = seconds is not None
        if seconds is not None:
            self.delays += [seconds] if seconds else []
            asyncio.get_running_loop().call_soon(self._go_on, work)

    def _tell_one(self) -> None:
        callback, arguments = self._told[0]
        callback(*arguments)
        self._told.popleft()
        if self._told:
            asyncio.get_running_loop().call_soon(self._tell_one)


@asynccontextmanager
async def group_commit(disk: FakeDisk, writer: Writer | None = None) -> AsyncIterator[GroupCommit]:
    group = GroupCommit(disk.commit, retryable=DiskFullError, writer=writer)
    try:
        yield group
    finally:
        disk.free.set()
        disk.failures.clear()
        await group.close()


def submit(group: GroupCommit, *operations: Any) -> list[asyncio.Future[Any]]:
    return [group.submit(operation) for operation in operations]


async def answers(*futures: asyncio.Future[Any]) -> list[Any]:
    return await asyncio.wait_for(asyncio.gather(*futures, return_exceptions=True), PATIENCE)


async def keep_writer_busy(group: GroupCommit, disk: FakeDisk) -> list[asyncio.Future[Any]]:
    """Have the writer's thread stand in the middle of a commit."""
    disk.hold()
    futures = submit(group, *(f"busy-{n}" for n in range(FOR_THE_THREAD)))
    await disk.is_reached()
    return futures


async def test_a_lone_operation_is_committed_at_once_on_the_loop():
    disk = FakeDisk()
    async with group_commit(disk) as group:
        assert await answers(group.submit("a")) == ["a"]
        assert (disk.groups, disk.on_the_loop) == ([["a"]], [True])


async def come_alone(group: GroupCommit) -> None:
    """Have one waiter after the other, until the next is expected to be alone, too."""
    for _ in range(SOLO_GROUPS_BEFORE_INLINE):
        await answers(group.submit("alone"))


async def test_who_keeps_coming_alone_does_not_wait_for_the_loop():
    disk = FakeDisk()
    async with group_commit(disk) as group:
        await come_alone(group)
        assert group.submit("now").done()
        assert disk.groups[-1] == ["now"]


async def test_what_nobody_waits_for_goes_with_the_next_in_its_order():
    disk = FakeDisk()
    async with group_commit(disk) as group:
        await come_alone(group)
        soon = group.submit("soon", awaited=False)
        assert not soon.done()
        assert await answers(group.submit("now")) == ["now"]
        assert soon.done()
        assert disk.groups[-1] == ["soon", "now"]


async def test_what_nobody_waits_for_is_committed_without_a_next():
    disk = FakeDisk()
    async with group_commit(disk) as group:
        await come_alone(group)
        assert await answers(group.submit("soon", awaited=False)) == ["soon"]


async def test_who_comes_alone_is_not_answered_before_those_who_were_committed_earlier():
    disk, heard = FakeDisk(), []
    async with group_commit(disk) as group:
        await come_alone(group)
        earlier = group.submit("earlier", awaited=False)
        earlier.add_done_callback(lambda _: heard.append("earlier"))
        await asyncio.sleep(0)  # the group is committed in this turn, and who waits for it is woken in the next
        assert (earlier.done(), heard) == (True, [])
        now = group.submit("now")
        assert not now.done()
        assert await answers(now) == ["now"]
        assert heard == ["earlier"]


async def test_the_loop_gets_its_turn_however_many_come_alone():
    disk = FakeDisk()
    async with group_commit(disk) as group:
        await come_alone(group)
        turned = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(turned.set_result, None)
        for n in range(1_000_000):
            await group.submit(n)
            if turned.done():
                break
        assert turned.done()


async def test_those_who_come_together_share_a_commit_again_after_one_who_came_alone():
    disk = FakeDisk()
    async with group_commit(disk) as group:
        await come_alone(group)
        group._inline_budget_seconds = INLINE_BUDGET_SECONDS  # as if alone for so long
        await answers(*submit(group, "a", "b"))
        await answers(*submit(group, "c", "d"))
        assert disk.groups[-2:] == [["a", "b"], ["c", "d"]]


async def test_a_disk_in_trouble_is_waited_for_by_the_thread_though_one_came_alone():
    disk = FakeDisk()
    async with group_commit(disk) as group:
        await come_alone(group)
        disk.failures = [DiskFullError("full")]
        future = group.submit("now")
        assert not future.done()
        assert await answers(future) == ["now"]
        assert disk.on_the_loop[-1] is False


async def test_many_are_on_their_way_before_the_turn_is_over():
    disk = FakeDisk()
    async with group_commit(disk) as group:
        futures = submit(group, *range(EARLY_HANDOFF))
        assert disk.reached.wait(PATIENCE)  # without having let go of the loop
        assert await answers(*futures) == list(range(EARLY_HANDOFF))
        assert not any(disk.on_the_loop)


async def test_the_loop_commits_nothing_while_the_thread_does():
    disk = FakeDisk()
    async with group_commit(disk) as group:
        disk.hold()
        first = submit(group, *range(EARLY_HANDOFF))  # the turn's own flush is still to come
        await disk.is_reached()
        last = group.submit("last")
        for _ in range(3):
            await asyncio.sleep(0)
        assert disk.on_the_loop == [False]
        disk.free.set()
        assert await answers(*first, last) == [*range(EARLY_HANDOFF), "last"]


async def test_operations_of_one_turn_share_a_commit():
    disk = FakeDisk()
    async with group_commit(disk) as group:
        assert await answers(*submit(group, "a", "b", "c")) == ["a", "b", "c"]
        assert disk.groups == [["a", "b", "c"]]


@pytest.mark.parametrize(("size", "on_the_loop"), [(INLINE_GROUP, True), (FOR_THE_THREAD, False)])
async def test_only_small_groups_are_committed_on_the_loop(size: int, on_the_loop: bool):
    disk = FakeDisk()
    async with group_commit(disk) as group:
        assert await answers(*submit(group, *range(size))) == list(range(size))
        assert disk.on_the_loop == [on_the_loop]


async def test_a_slow_disk_is_left_to_the_thread():
    disk = FakeDisk()
    async with group_commit(disk) as group:
        group._commit_seconds = INLINE_SECONDS * 2  # as measured
        assert await answers(group.submit("a")) == ["a"]
        assert disk.on_the_loop == [False]


async def test_a_disk_that_is_quick_again_is_used_from_the_loop_again():
    disk = FakeDisk()
    async with group_commit(disk) as group:
        group._commit_seconds = INLINE_SECONDS * 2
        for n in range(1_000):
            await answers(group.submit(n))
            if disk.on_the_loop[-1]:
                break
        assert disk.on_the_loop[-1]


async def test_what_is_submitted_during_a_commit_shares_the_next():
    disk = FakeDisk()
    async with group_commit(disk) as group:
        first = await keep_writer_busy(group, disk)
        second = submit(group, "a")
        await asyncio.sleep(0)  # another turn of the loop, the same group
        second += submit(group, "b", "c")
        disk.free.set()
        assert await answers(*second) == ["a", "b", "c"]
        assert await answers(*first) == disk.groups[0]
        assert disk.groups[1:] == [["a", "b", "c"]]


async def test_nothing_is_acknowledged_before_its_commit_is_over():
    disk = FakeDisk()
    async with group_commit(disk) as group:
        futures = await keep_writer_busy(group, disk)
        assert not any(future.done() for future in futures)
        disk.free.set()
        await answers(*futures)


async def test_a_group_has_an_upper_limit():
    disk = FakeDisk()
    async with group_commit(disk) as group:
        before = await keep_writer_busy(group, disk)
        futures = submit(group, *range(MAX_GROUP + 1))
        disk.free.set()
        await answers(*before, *futures)
        assert [len(one) for one in disk.groups[1:]] == [MAX_GROUP, 1]


async def test_the_order_of_submitting_is_the_order_of_committing():
    disk = FakeDisk()
    async with group_commit(disk) as group:
        futures = submit(group, 0)
        await asyncio.sleep(0)  # one for the loop before the many for the thread
        for n in range(1, 3_000):
            futures.append(group.submit(n))
            if n % 7 == 0 and n % 500 > 100:
                await asyncio.sleep(0)
        assert await answers(*futures) == list(range(3_000))
        assert disk.written == list(range(3_000))
        assert len(set(disk.on_the_loop)) == 2


async def test_an_operation_submitted_by_a_waiter_comes_after_those_queued_before():
    disk = FakeDisk()
    async with group_commit(disk) as group:

        async def chain(name: str) -> None:
            for n in range(20):
                await group.submit((name, n))

        await asyncio.gather(*(chain(name) for name in "abc"))
        for name in "abc":
            assert [operation for operation in disk.written if operation[0] == name] == [(name, n) for n in range(20)]


@pytest.mark.parametrize("size", [3, FOR_THE_THREAD])
async def test_a_refused_operation_does_not_fail_its_group(size: int):
    disk = FakeDisk()
    async with group_commit(disk) as group:
        refusal = ValueError("refused")
        futures = submit(group, "first", refusal, *range(size))
        assert await answers(*futures) == ["first", refusal, *range(size)]
        with pytest.raises(ValueError, match="refused"):
            await futures[1]


@pytest.mark.parametrize("size", [3, FOR_THE_THREAD])
async def test_every_waiter_hears_of_a_commit_that_failed_and_the_next_one_is_tried(size: int):
    disk = FakeDisk()
    async with group_commit(disk) as group:
        disk.failures = [error] = [StoreError("corrupt")]
        assert await answers(*submit(group, *range(size))) == [error] * size
        assert await answers(*submit(group, "next")) == ["next"]


@pytest.mark.parametrize("size", [3, FOR_THE_THREAD])
async def test_a_full_disk_keeps_the_group_and_acknowledges_it_once_there_is_room(
    size: int, caplog: pytest.LogCaptureFixture
):
    disk = FakeDisk()
    async with group_commit(disk) as group:
        disk.failures = [DiskFullError("no room"), DiskFullError("no room")]
        assert await answers(*submit(group, *range(size))) == list(range(size))
        assert disk.tried == [list(range(size))] * 3
        assert disk.on_the_loop[1:] == [False, False]  # the loop does not wait for room
    assert "no room; nothing is acknowledged meanwhile" in caplog.text


async def test_operations_that_come_while_the_disk_is_full_wait_their_turn():
    disk = FakeDisk()
    async with group_commit(disk) as group:
        disk.failures = [DiskFullError("no room")] * 2
        first = submit(group, "a", "b")
        await asyncio.sleep(0)  # tried on the loop, in vain
        second = submit(group, "c")
        assert await answers(*first, *second) == ["a", "b", "c"]
        assert disk.written == ["a", "b", "c"]


async def test_a_disk_that_stays_full_is_tried_less_and_less_often():
    disk, writer = FakeDisk(), FakeWriter()
    async with group_commit(disk, writer) as group:
        disk.failures = [DiskFullError("no room")] * 9
        await answers(group.submit("a"))
    assert writer.delays == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


# The writer, which need not be a thread


async def test_another_writer_than_a_thread_writes_what_the_loop_does_not():
    disk, writer = FakeDisk(), FakeWriter()
    async with group_commit(disk, writer) as group:
        assert await answers(*submit(group, *range(FOR_THE_THREAD))) == list(range(FOR_THE_THREAD))
        assert disk.on_the_loop == [True]
        assert writer.handovers == 1
        assert group.idle
    assert writer.stopped


async def test_what_is_submitted_while_another_writer_has_a_group_is_the_next_one():
    disk, writer = FakeDisk(), FakeWriter()
    async with group_commit(disk, writer) as group:
        first = submit(group, *range(FOR_THE_THREAD))
        while not writer.under_way:
            await asyncio.sleep(0)
        second = submit(group, "a", "b")
        assert await answers(*first, *second) == [*range(FOR_THE_THREAD), "a", "b"]
        assert disk.groups == [[*range(FOR_THE_THREAD)], ["a", "b"]]


async def test_how_quick_a_disk_is_is_told_by_the_clock_that_is_passed_in():
    readings = itertools.count()
    disk = FakeDisk()
    writer = FakeWriter()
    group = GroupCommit(disk.commit, retryable=DiskFullError, writer=writer, clock=lambda: float(next(readings)))
    assert await answers(group.submit("takes a second")) == ["takes a second"]
    assert await answers(group.submit("for the writer")) == ["for the writer"]
    assert writer.handovers == 1
    await group.close()


@pytest.mark.parametrize(
    ("sizes", "handovers", "groups"),
    [
        (Sizes(early=2), 1, [[0, 1, 2]]),
        (Sizes(inline=2), 1, [[0, 1, 2]]),
        (Sizes(inline=2, most=2), 1, [[0, 1], [2]]),
        (Sizes(), 0, [[0, 1, 2]]),
    ],
)
async def test_sizes_decide_which_way_a_group_goes(sizes: Sizes, handovers: int, groups: list[list[int]]):
    disk, writer = FakeDisk(), FakeWriter()
    group = GroupCommit(disk.commit, retryable=DiskFullError, writer=writer, sizes=sizes)
    assert await answers(*submit(group, 0, 1, 2)) == [0, 1, 2]
    assert (writer.handovers, disk.groups) == (handovers, groups)
    await group.close()


async def test_a_cancelled_waiter_does_not_break_its_group():
    disk = FakeDisk()
    async with group_commit(disk) as group:
        busy = await keep_writer_busy(group, disk)
        futures = submit(group, "a", "b", "c")
        futures[1].cancel()
        busy[0].cancel()
        disk.free.set()
        assert await answers(futures[0], futures[2]) == ["a", "c"]
        assert await answers(*busy[1:]) == [f"busy-{n}" for n in range(1, FOR_THE_THREAD)]
        assert disk.groups[1] == ["a", "b", "c"]  # what was asked for happens all the same


async def test_a_cancelled_waiter_of_a_commit_on_the_loop_does_not_break_its_group():
    disk = FakeDisk()
    async with group_commit(disk) as group:
        futures = submit(group, "a", "b")
        futures[0].cancel()
        assert await answers(futures[1]) == ["b"]
        assert disk.groups == [["a", "b"]]


async def test_closing_commits_what_is_queued():
    disk = FakeDisk()
    async with group_commit(disk) as group:
        futures = submit(group, "a", "b")
        await group.close()
        assert await answers(*futures) == ["a", "b"]
        assert disk.written == ["a", "b"]


async def test_closing_waits_for_the_commit_under_way_and_for_what_came_after_it():
    disk = FakeDisk()
    async with group_commit(disk) as group:
        futures = await keep_writer_busy(group, disk)
        futures += submit(group, "after")
        closing = asyncio.create_task(group.close())
        await asyncio.sleep(0)
        disk.free.set()
        await asyncio.wait_for(closing, PATIENCE)
        assert all(future.done() for future in futures)
        assert disk.written[-1] == "after"


async def test_closing_ends_the_thread_even_if_the_last_commit_fails():
    disk, writer = FakeDisk(), WriterThread()
    group = GroupCommit(disk.commit, retryable=DiskFullError, writer=writer)
    disk.failures = [error] = [StoreError("corrupt")]
    future = group.submit("a")
    async with asyncio.timeout(PATIENCE):
        await group.close()  # in the same turn of the loop, so the same group
    assert await answers(future) == [error]
    assert writer._thread is not None
    assert not writer._thread.is_alive()


async def test_nothing_is_taken_after_closing():
    disk = FakeDisk()
    async with group_commit(disk) as group:
        await group.close()
        with pytest.raises(StoreError, match="closed"):
            group.submit("late")
        assert disk.groups == []


async def test_what_was_asked_from_outside_hears_of_lasting_trouble_and_is_not_carried_out(monkeypatch):
    monkeypatch.setattr("everstep.store.sqlite.group_commit.OUTAGE_TIMEOUT_SECONDS", 0.0)
    disk = FakeDisk()
    error = DiskFullError("full")
    disk.failures = [error, error]
    group = GroupCommit(disk.commit, retryable=DiskFullError, kept=lambda operation: operation.startswith("kept"))
    kept, asked = group.submit("kept"), group.submit("asked")
    async with asyncio.timeout(PATIENCE):
        assert await asyncio.gather(asked, return_exceptions=True) == [error]
        await kept
        await group.close()
    assert "kept" in disk.written
    assert "asked" not in disk.written


async def test_who_asks_of_a_disk_in_trouble_hears_of_it_before_five_seconds_are_over():
    disk, writer = FakeDisk(), FakeWriter()
    disk.failures = [DiskFullError("full")] * 100
    group = GroupCommit(
        disk.commit, retryable=DiskFullError, kept=lambda _: False, writer=writer, clock=lambda: sum(writer.delays)
    )
    asked = group.submit("asked")
    while not asked.done():
        await asyncio.sleep(0)
    assert isinstance(asked.exception(), DiskFullError)
    *before_the_last_try, _ = writer.delays  # then the writer rests, with nothing in its hands
    assert sum(before_the_last_try) == pytest.approx(5.0 - FINAL_ATTEMPT_SECONDS)
    disk.failures = []
    await group.close()


async def test_trouble_that_lasts_is_told_once_and_its_end_too(caplog: pytest.LogCaptureFixture):
    disk = FakeDisk()
    async with group_commit(disk) as group:
        for _ in range(2):
            caplog.clear()
            disk.failures = [DiskFullError("disk full")] * 4
            await group.submit("a")
            told = [record.getMessage().split(":")[0] for record in caplog.records]
            assert told == ["cannot write", "writing again"]


async def test_closing_on_a_disk_in_trouble_ends_when_the_writer_is_idle(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("everstep.store.sqlite.group_commit.OUTAGE_TIMEOUT_SECONDS", 0.0)
    disk = FakeDisk()
    disk.failures = [DiskFullError("full")] * 1_000_000  # it answers a turn before it is idle, every time
    group = GroupCommit(disk.commit, retryable=DiskFullError, kept=lambda _: False, writer=FakeWriter())
    asked = group.submit("asked")
    async with asyncio.timeout(PATIENCE):
        await group.close()
    assert isinstance(asked.exception(), DiskFullError)
    assert len(disk.failures) > 999_000
