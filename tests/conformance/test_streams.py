"""Results that are streams."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from .factories import AWAY, attempts_of, chunks, flow, one_step, state, types_of

MIB = 1024 * 1024


async def read(stream):
    return b"".join([piece async for piece in stream])


def reading(fn, config=None):
    """Make a workflow that reads the stream of its step twice, on both sides of a sleep."""

    @flow
    async def shop(event, step):
        stream = await step.do("export", config, fn)
        before = await read(stream)
        await step.sleep("nap", "1 hour")
        return [before.decode(), (await read(stream)).decode()]

    return shop


async def test_a_step_may_return_an_async_iterator_of_bytes_and_gets_one_back(running):
    """I §1.3.5, S §1.2"""
    machine = await running(shop := reading(lambda: chunks(b"one ", b"two")))
    instance = await machine.create(shop)
    await machine.advance("1 hour")
    assert await machine.output(instance) == ["one two", "one two"]


async def test_each_replay_yields_a_fresh_stream_without_running_the_step_again(running):
    """I §1.3.5, S §2.2"""
    calls = []
    machine = await running(shop := reading(lambda: calls.append(1) or chunks(b"one ", b"two")), options=AWAY)
    instance = await machine.create(shop)
    await machine.advance("1 hour")
    assert await machine.output(instance) == ["one two", "one two"]
    assert calls == [1]


async def test_the_live_caller_gets_the_stored_stream_and_never_the_original(running):
    """I §1.3.5"""
    original = chunks(b"data")

    @flow
    async def shop(event, step):
        got = await step.do("export", lambda: original)
        return [got is original, (await read(got)).decode()]

    assert await (await running(shop)).run(shop) == [False, "data"]


async def test_a_stream_may_be_larger_than_a_result(running):
    """I §1.3.5, S §1.2"""
    parts = [bytes([n]) * MIB for n in range(3)]
    expected = hashlib.sha256(b"".join(parts)).hexdigest()

    @flow
    async def shop(event, step):
        return hashlib.sha256(await read(await step.do("export", lambda: chunks(*parts)))).hexdigest()

    assert await (await running(shop)).run(shop) == expected


async def test_a_stream_may_be_empty(running):
    """I §1.3.5"""
    machine = await running(shop := reading(chunks))
    instance = await machine.create(shop)
    await machine.advance("1 hour")
    assert await machine.output(instance) == ["", ""]


@pytest.mark.parametrize("wrong", ["text", 5, {"a": 1}, None])
async def test_a_stream_of_anything_but_bytes_fails_the_instance_at_once(running, wrong):
    """I §1.3.5"""
    machine = await running(shop := one_step(lambda: chunks(b"fine", wrong)))
    instance = await machine.create(shop)
    found = await instance.status(steps=True)
    assert (found.status, found.error.name) == ("errored", "NotSerializableError")
    assert "'charge'" in found.error.message
    assert len(attempts_of(found, "charge")) == 1


async def test_a_chunk_has_at_most_16_mib(running):
    """I §1.3.5"""
    machine = await running(shop := one_step(lambda: chunks(bytes(16 * MIB + 1))))
    instance = await machine.create(shop)
    await machine.settle()
    found = await instance.status()
    assert (found.status, found.error.name) == ("errored", "NotSerializableError")


async def test_what_a_failed_attempt_streamed_is_forgotten(running):
    """I §1.3.5"""
    attempts = []

    async def export():
        attempts.append(1)
        yield b"part of "
        if len(attempts) == 1:
            raise ConnectionError
        yield b"all"

    machine = await running(shop := reading(export))
    instance = await machine.create(shop)
    await machine.advance("2 hours")
    assert await machine.output(instance) == ["part of all", "part of all"]


async def test_a_stream_is_within_the_timeout_of_its_step(running):
    """I §1.3.5"""

    async def export():
        yield b"part"
        await asyncio.Event().wait()

    machine = await running(shop := one_step(export, {"timeout": "5 seconds", "retries": {"limit": 0}}))
    instance = await machine.create(shop)
    assert await state(instance) == "running"
    await machine.advance("5 seconds")
    assert (await instance.status()).error.name == "WorkflowTimeoutError"


async def test_views_show_how_a_stream_of_text_begins(running):
    """I §1.3.5"""

    @flow
    async def shop(event, step):
        await step.do("short", lambda: chunks(b"12345"))
        await step.do("long", lambda: chunks(("é" * 3000).encode()))

    machine = await running(shop)
    instance = await machine.create(shop)
    short, long = (await instance.status(steps=True)).steps
    assert short.output == "12345"
    assert long.output == "é" * 1024 + "[truncated output]"


async def test_views_show_a_streams_size_and_not_its_bytes(running):
    """I §1.3.5"""

    @flow
    async def shop(event, step):
        await step.do("export", lambda: chunks(b"\x00\xff123"))

    machine = await running(shop)
    instance = await machine.create(shop)
    [step] = (await instance.status(steps=True)).steps
    assert "5 bytes" in step.output
    assert "step_completed" in await types_of(instance)


async def test_a_stream_survives_a_crash(running):
    """I §1.3.5, S §2.2"""
    machine = await running(shop := reading(lambda: chunks(b"x" * 300_000)))
    instance = await machine.create(shop)
    await machine.reboot()
    await machine.advance("1 hour")
    assert await machine.output(instance) == ["x" * 300_000] * 2


async def test_a_stream_as_the_output_of_an_instance_is_refused(running):
    """I §1.3.5: streams are what steps return"""

    @flow
    async def shop(event, step):
        return chunks(b"data")

    machine = await running(shop)
    found = await (await machine.create(shop)).status()
    assert (found.status, found.error.name) == ("errored", "NotSerializableError")


async def test_streams_count_towards_what_an_instance_may_store_on_replay_too(running, monkeypatch):
    """I §1.3.5, S §5"""
    for module in ("execution.starting", "steps.streams"):
        monkeypatch.setattr(f"everstep.engine.{module}.STORED_BYTES", MIB)

    @flow
    async def shop(event, step):
        await step.do("first", lambda: chunks(bytes(700_000)))
        await step.sleep("nap", "1 hour")
        await step.do("second", {"retries": {"limit": 0}}, lambda: chunks(bytes(700_000)))

    machine = await running(shop, options=AWAY)
    instance = await machine.create(shop)
    await machine.advance("1 hour")
    assert await state(instance) == "errored"
