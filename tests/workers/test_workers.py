"""Real processes on one database: killed, stopped, continued; nothing is lost, nothing is done by two."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter

import pytest

pytestmark = pytest.mark.crash

CHAIN = {"steps": 40, "seconds": 0.05}


async def test_instances_of_a_killed_worker_go_on_elsewhere_within_its_lease(fleet):
    async with fleet.client() as client:
        first = await fleet.worker()
        chains = [await client.workflow("chain").create(id=f"c{n}", params=CHAIN) for n in range(10)]
        await fleet.noted(30)
        second = await fleet.worker()
        os.kill(first.pid, signal.SIGKILL)
        killed = time.time()
        results = await asyncio.gather(*(one.result("30 seconds") for one in chains))
    assert set(results) == {second.pid}
    taken_over = min(at for pid, at, _ in fleet.notes if pid == second.pid)
    assert taken_over - killed < 3.5
    calls = Counter(what for _, _, what in fleet.notes)
    # An attempt that the kill cut off runs again; whatever was recorded does not.
    assert len(calls) == 400
    assert sum(calls.values()) <= 400 + 10


async def test_a_worker_that_stops_cleanly_leaves_its_instances_to_others_at_once(fleet):
    async with fleet.client() as client:
        first = await fleet.worker(lease="60 seconds")
        params = {"steps": 100, "seconds": 0.05}  # longer than a clean stop lets attempts finish
        chains = [await client.workflow("chain").create(id=f"c{n}", params=params) for n in range(5)]
        await fleet.noted(10)
        second = await fleet.worker(lease="60 seconds")
        first.terminate()
        await first.wait()
        stopped = time.time()
        results = await asyncio.gather(*(one.result("30 seconds") for one in chains))
    assert set(results) == {second.pid}
    assert min(at for pid, at, _ in fleet.notes if pid == second.pid) - stopped < 1.0
    # An attempt that did not end in time was cancelled, and begins again.
    assert sum(Counter(what for _, _, what in fleet.notes).values()) <= 500 + 5


async def test_a_worker_that_was_stopped_past_its_lease_writes_nothing_of_what_others_have(fleet):
    async with fleet.client() as client:
        first = await fleet.worker()
        chains = [await client.workflow("chain").create(id=f"c{n}", params=CHAIN) for n in range(5)]
        await fleet.noted(20)
        os.kill(first.pid, signal.SIGSTOP)
        second = await fleet.worker()
        await fleet.noted(20, by=second)
        os.kill(first.pid, signal.SIGCONT)
        results = await asyncio.gather(*(one.result("30 seconds") for one in chains))
        assert set(results) == {second.pid}
        calls = Counter(what for _, _, what in fleet.notes)
        assert sum(calls.values()) <= 200 + 10
        # The one that came back begins anew, and works.
        second.terminate()
        await second.wait()
        again = await client.workflow("chain").create(params={"steps": 2})
        assert await again.result("20 seconds") == first.pid


async def test_work_is_shared_and_every_step_is_done_once(fleet):
    async with fleet.client() as client:
        workers = [await fleet.worker(running=50) for _ in range(2)]
        created = await client.workflow("chain").create_batch(
            [{"id": f"c{n}", "params": {"steps": 5, "seconds": 0.02}} for n in range(100)]
        )
        assert not created.errors
        results = await asyncio.gather(*(client.workflow("chain").get(f"c{n}") for n in range(100)))
        pids = Counter(await asyncio.gather(*(one.result("30 seconds") for one in results)))
    assert set(pids) == {worker.pid for worker in workers}
    assert set(Counter(what for _, _, what in fleet.notes).values()) == {1}


async def test_events_reach_an_instance_wherever_it_waits(fleet):
    async with fleet.client() as client:
        await fleet.worker()
        instance = await client.workflow("approval").create(id="a")
        while (await instance.status()).status != "waiting":
            await asyncio.sleep(0.02)
        took = []
        for payload in (1, 2):
            began = time.perf_counter()
            await instance.send_event(type="go", payload=payload)
            if payload == 2:
                assert await instance.result("10 seconds") == [1, 2]
            took.append(time.perf_counter() - began)
    assert took[1] < 1.5


async def test_pause_and_resume_reach_an_instance_at_work_elsewhere(fleet):
    async with fleet.client() as client:
        await fleet.worker()
        instance = await client.workflow("chain").create(id="c", params={"steps": 60, "seconds": 0.05})
        await fleet.noted(3)
        await instance.pause()
        async with asyncio.timeout(5):
            while (await instance.status()).status != "paused":
                await asyncio.sleep(0.01)
        done = len(fleet.notes)
        await asyncio.sleep(0.3)
        assert len(fleet.notes) == done
        await instance.resume()
        await instance.result("20 seconds")
    assert set(Counter(what for _, _, what in fleet.notes).values()) == {1}


@pytest.mark.parametrize("verb", ["terminate", "restart", "delete"])
async def test_what_ends_an_instance_elsewhere_stops_it_there(fleet, verb):
    async with fleet.client() as client:
        await fleet.worker()
        instance = await client.workflow("chain").create(id="c", params={"steps": 30, "seconds": 0.05})
        await fleet.noted(3)
        await getattr(instance, verb)()
        if verb == "restart":
            await instance.result("20 seconds")
            calls = Counter(what for _, _, what in fleet.notes)
            assert set(calls) == {f"c {n}" for n in range(30)}
            assert max(calls.values()) <= 2
            steps = (await instance.status(steps=True)).steps
            assert [one.status for one in steps] == ["complete"] * 30
        else:
            await asyncio.sleep(0.5)
            done = len(fleet.notes)
            await asyncio.sleep(0.3)
            assert len(fleet.notes) == done


async def test_a_child_wakes_its_parent_wherever_both_are(fleet):
    async with fleet.client() as client:
        for _ in range(2):
            await fleet.worker(running=3)
        parents = [
            await client.workflow("parent").create(id=f"p{n}", params={"steps": 3, "seconds": 0.02}) for n in range(6)
        ]
        pids = [worker.pid for worker in fleet.processes]
        assert set(await asyncio.gather(*(one.result("30 seconds") for one in parents))) <= set(pids)


async def test_sleepers_of_a_dead_worker_wake_on_time_elsewhere(fleet):
    async with fleet.client() as client:
        first = await fleet.worker()
        sleepers = [await client.workflow("sleeper").create(id=f"s{n}", params={"seconds": 1.5}) for n in range(5)]
        while {(await one.status()).status for one in sleepers} != {"waiting"}:
            await asyncio.sleep(0.02)
        second = await fleet.worker()
        os.kill(first.pid, signal.SIGKILL)
        results = await asyncio.gather(*(one.result("10 seconds") for one in sleepers))
        assert set(results) == {second.pid}
