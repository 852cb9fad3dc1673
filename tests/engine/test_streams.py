"""Results that are streams: kept in pieces, given back fresh each time, in this life and the next."""

from __future__ import annotations

import asyncio

import pytest

from everstep.core.limits import MIB
from everstep.engine.runtime.options import EngineOptions

from .virtual import flow

LARGE = bytes(range(256)) * 4096 * 3  # 3 MiB


async def large():
    for start in range(0, len(LARGE), 100_000):
        yield LARGE[start : start + 100_000]


async def whole(stream):
    return b"".join([piece async for piece in stream])


def pieces(machine):
    return machine.rows("select attempt, count(*) from chunk group by attempt")


@pytest.fixture(params=[0, 1_000], ids=["evicted", "cached"])
def options(request):
    return EngineOptions(max_cached=request.param, drain_ms=0)


async def test_a_stream_larger_than_a_result_comes_back_whole_as_often_as_wanted(running, options):
    read = []

    @flow
    async def export(event, step):
        stream = await step.do("export", large)
        read.append(await whole(stream) == LARGE)
        read.append(await whole(stream) == LARGE)
        await step.sleep("nap", "1 hour")
        read.append(await whole(stream) == LARGE)
        return stream.size

    machine = await running(export, options=options)
    instance = await machine.create(export)
    await machine.reboot()
    await machine.advance("1 hour")
    assert await machine.output(instance) == len(LARGE)
    assert read
    assert all(read)


@pytest.mark.parametrize("chunks", [[], [b""], [b"a"], [b"a", b"", bytearray(b"b"), memoryview(b"c")]])
async def test_small_and_empty_streams_come_back_as_they_were(running, chunks):
    async def small():
        for chunk in chunks:
            yield chunk

    @flow
    async def export(event, step):
        stream = await step.do("export", small)
        await step.sleep("nap", "1 hour")
        return [await whole(stream), stream.size]

    machine = await running(export, options=EngineOptions(max_cached=0, drain_ms=0))
    instance = await machine.create(export)
    await machine.advance("1 hour")
    expected = b"".join(chunks)
    assert await machine.output(instance) == [expected, len(expected)]


async def test_the_size_of_a_view_of_wider_items_is_in_bytes(running):
    async def wide():
        yield memoryview(b"12345678").cast("i")

    @flow
    async def export(event, step):
        stream = await step.do("export", wide)
        return [await whole(stream), stream.size]

    machine = await running(export)
    assert await machine.run(export) == [b"12345678", 8]


async def test_pieces_of_a_failed_attempt_are_dropped(running, options):
    tries = []

    async def flaky():
        tries.append(1)
        yield b"x" * MIB
        if len(tries) < 3:
            raise ConnectionError("broken off")

    @flow
    async def export(event, step):
        stream = await step.do("export", {"retries": {"limit": 5, "delay": "1 second"}}, flaky)
        return len(await whole(stream))

    machine = await running(export, options=options)
    instance = await machine.create(export)
    await machine.advance("1 minute")
    assert await machine.output(instance) == MIB
    assert [attempt for attempt, _ in pieces(machine)] == [3]


async def test_a_crash_in_the_middle_begins_the_stream_again(running):
    go, tries = asyncio.Event(), []

    async def slow():
        tries.append(1)
        yield b"a" * MIB
        await go.wait()
        yield b"b"

    @flow
    async def export(event, step):
        return len(await whole(await step.do("export", {"retries": {"limit": 5, "delay": "1 second"}}, slow)))

    machine = await running(export)
    instance = await machine.create(export)
    await machine.advance(10)
    go.set()
    await machine.reboot()
    await machine.advance("1 minute")
    assert await machine.output(instance) == MIB + 1
    assert len(tries) == 2
    assert len(pieces(machine)) == 1


async def test_a_stream_is_under_its_attempts_timeout_and_is_closed(running):
    closed = []

    async def endless():
        try:
            yield b"a"
            await asyncio.Event().wait()
        finally:
            closed.append(1)

    @flow
    async def export(event, step):
        await step.do("export", {"retries": {"limit": 0}, "timeout": "5 seconds"}, endless)

    machine = await running(export)
    instance = await machine.create(export)
    await machine.advance("5 seconds")
    assert (await instance.status()).error.name == "WorkflowTimeoutError"
    assert closed == [1]


@pytest.mark.parametrize("wrong", ["text", 1, None, b"x" * (16 * MIB + 1)], ids=["str", "int", "none", "too large"])
async def test_anything_but_bytes_fails_the_instance_at_once_and_closes_the_stream(running, wrong):
    closed = []

    async def bad():
        try:
            yield b"fine"
            yield wrong
        finally:
            closed.append(1)

    @flow
    async def export(event, step):
        try:
            await step.do("export", bad)
        except Exception:
            return "caught"

    machine = await running(export)
    instance = await machine.create(export)
    status = await instance.status()
    assert (status.status, status.error.name) == ("errored", "NotSerializableError")
    assert "'export'" in status.error.message
    assert closed == [1]


async def test_what_streams_take_counts_towards_what_an_instance_may_store_in_every_life(running, monkeypatch):
    monkeypatch.setattr("everstep.engine.execution.starting.STORED_BYTES", 2 * MIB)

    @flow
    async def export(event, step):
        await step.do("export", large)
        await step.sleep("nap", "1 hour")
        await step.do("more", lambda: 1)

    machine = await running(export, options=EngineOptions(max_cached=0, drain_ms=0))
    instance = await machine.create(export)
    await machine.reboot()
    await machine.advance("1 hour")
    assert (await instance.status()).error.name == "StorageLimitError"


async def test_views_show_how_large_a_stream_is(running):
    @flow
    async def export(event, step):
        await step.do("export", large)

    machine = await running(export)
    instance = await machine.create(export)
    [step] = (await instance.status(steps=True)).steps
    assert step.output == f"[stream of {len(LARGE)} bytes]"


async def test_a_stream_can_be_handed_on_to_another_step(running):
    @flow
    async def export(event, step):
        stream = await step.do("export", large)
        copy = await step.do("copy", lambda: stream)
        return await whole(copy) == LARGE

    machine = await running(export)
    assert await machine.run(export) is True
