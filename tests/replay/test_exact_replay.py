"""Programs that are interrupted after every record see, return and do the same as if nothing had happened."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from engine.virtual import START_MS, flow

from .interrupting import WAYS, interrupted_after_every_end, interrupted_everywhere, staged, uninterrupted
from .programs import BY_NAME, PROGRAMS, WORKERS

every_program = pytest.mark.parametrize(
    "program",
    [pytest.param(one, id=one.name, marks=[pytest.mark.postgres] if one.name in WORKERS else []) for one in PROGRAMS],
)


@every_program
async def test_a_program_returns_what_it_must_when_nothing_happens(running, program):
    async with staged(running, program) as stage:
        await uninterrupted(stage)


@pytest.mark.parametrize("way", WAYS)
@every_program
async def test_a_program_interrupted_after_any_record_goes_on_as_if_nothing_had_happened(running, program, way):
    async with staged(running, program) as stage:
        await interrupted_everywhere(stage, way)


@every_program
async def test_a_program_interrupted_after_every_step_goes_on_as_if_nothing_had_happened(running, program):
    async with staged(running, program) as stage:
        assert await interrupted_after_every_end(stage, WAYS) > 0


@pytest.mark.residency
@every_program
async def test_a_program_that_leaves_memory_whenever_it_rests_sees_the_same(running, program):
    async with staged(running, program) as stage:
        kept = await uninterrupted(stage)
    async with staged(running, program, kept=False) as stage:
        not_kept = await uninterrupted(stage)
        if program.same == "trace":
            assert not_kept.trace == kept.trace
        await interrupted_after_every_end(stage, ("crashed",))


@pytest.fixture
def running_on_postgres(request: pytest.FixtureRequest, running, postgres_server):
    """Boot machines on PostgreSQL, whatever the other tests run on."""

    async def boot(*workflows, **named):
        machine = await running(*workflows, **named)
        if not machine.database.startswith("postgresql"):
            await machine.stop()
            machine.database = postgres_server.empty_schema()
            await machine.boot()
        return machine

    return boot


@pytest.mark.postgres
@pytest.mark.parametrize("name", WORKERS)
async def test_a_program_that_moves_to_another_worker_after_every_step_sees_the_same(running_on_postgres, name):
    """The worker is stopped and killed by turns; every engine that boots is another worker."""
    async with staged(running_on_postgres, BY_NAME[name]) as stage:
        assert await interrupted_after_every_end(stage, ("restarted", "crashed")) > 0


# What fell due while no engine ran


@pytest.mark.postgres
async def test_what_fell_due_during_a_stop_is_heard_in_the_order_of_time(running):
    order: list[str] = []

    @flow
    async def waits(event, step):
        order.clear()

        async def branch(name, waiting):
            with contextlib.suppress(TimeoutError):
                await waiting
            order.append(name)

        await asyncio.gather(
            branch("sleep 30", step.sleep("long", "30 seconds")),
            branch("asyncio 20", asyncio.sleep(20)),
            branch("wait 10", step.wait_for_event("news", "news", timeout="10 seconds")),
            branch("sleep 15", step.sleep("short", "15 seconds")),
            branch("timeout 5", asyncio.wait_for(step.wait_for_event("other", "other"), 5)),
        )
        await step.sleep("rest", "1 minute")
        return list(order)

    machine = await running(waits)
    instance = await machine.create(waits)
    await machine.stop()
    await machine.advance("1 hour")
    await machine.boot()
    await machine.settle()
    expected = ["timeout 5", "wait 10", "sleep 15", "asyncio 20", "sleep 30"]
    assert order == expected
    await machine.reboot()
    await machine.advance("1 minute")
    assert await machine.output(instance) == expected


@pytest.mark.postgres
async def test_an_attempt_that_a_crash_cut_off_in_a_branch_counts_and_is_made_again_after_its_delay(running):
    began: list[tuple[str, int, int]] = []

    @flow
    async def work(event, step):
        async def branch(name, seconds):
            await step.sleep("nap", f"{seconds} seconds")
            retries = {"retries": {"limit": 1, "delay": "10 seconds", "backoff": "constant"}}
            return await step.do("work", retries, attempt, name)

        return await asyncio.gather(branch("a", 2), branch("b", 1))

    async def attempt(name, ctx):
        began.append((name, ctx.attempt, (machine.now - START_MS) // 1000))
        if ctx.attempt == 1:
            await asyncio.Event().wait()
        return name

    machine = await running(work)
    instance = await machine.create(work)
    await machine.advance("5 seconds")
    await machine.reboot()
    await machine.advance("1 minute")
    assert await machine.output(instance) == ["a", "b"]
    assert sorted(began) == [("a", 1, 2), ("a", 2, 15), ("b", 1, 1), ("b", 2, 15)]
