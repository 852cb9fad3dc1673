"""Daemon threads: how many there are, when they end, and what does not wait for them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest

from everstep import threads
from everstep.threads import DaemonThreads, run_beside_loop

PATIENCE = 10.0


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Where functions stand until the test is over."""
    opened = threading.Event()
    yield opened
    opened.set()


def alive(name: str) -> int:
    return sum(one.name.startswith(name) for one in threading.enumerate())


def test_a_call_gets_a_thread_at_once_until_there_are_as_many_as_may_be(gate):
    pool, begun = DaemonThreads("few", most=2), threading.Semaphore(0)

    def stand() -> int:
        begun.release()
        gate.wait(PATIENCE)
        return threading.get_ident()

    calls = [pool.submit(stand) for _ in range(5)]
    assert begun.acquire(timeout=PATIENCE)
    assert begun.acquire(timeout=PATIENCE)
    assert not begun.acquire(timeout=0.05)
    assert alive("few") == 2
    gate.set()
    assert len({one.result(PATIENCE) for one in calls}) == 2


def test_an_idle_thread_is_taken_before_a_new_one_is_made():
    pool = DaemonThreads("taken", most=5)
    for _ in range(20):
        pool.submit(int).result(PATIENCE)
        while not pool._idle:
            time.sleep(0.001)
    assert alive("taken") == 1


def test_an_idle_thread_ends_after_a_while(monkeypatch):
    monkeypatch.setattr(threads, "IDLE_SECONDS", 0.01)
    pool = DaemonThreads("brief", most=5)
    pool.submit(int).result(PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while alive("brief"):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert pool.submit(int).result(PATIENCE) == 0  # and there is another when it is needed


def test_a_call_that_is_cancelled_in_time_is_not_made(gate):
    pool, called = DaemonThreads("one", most=1), []
    standing = pool.submit(gate.wait, PATIENCE)
    waiting = pool.submit(called.append, 1)
    assert waiting.cancel()
    gate.set()
    standing.result(PATIENCE)
    assert pool.submit(int).result(PATIENCE) == 0
    assert called == []


def test_a_shutdown_waits_for_as_long_as_its_patience_lasts(gate):
    quick, stuck = DaemonThreads("quick", most=1, patience_seconds=PATIENCE), DaemonThreads("stuck", most=1)
    done = []
    quick.submit(lambda: (time.sleep(0.05), done.append(1)))
    quick.shutdown()
    assert done == [1]
    stuck.submit(gate.wait, PATIENCE)
    began = time.monotonic()
    stuck.shutdown()
    assert time.monotonic() - began < PATIENCE / 2
    with pytest.raises(RuntimeError, match="'stuck' take no more calls"):
        stuck.submit(int)


def test_an_error_is_the_callers(gate):
    with pytest.raises(ZeroDivisionError):
        DaemonThreads("error", most=1).submit(lambda: 1 // 0).result(PATIENCE)


def test_no_process_waits_for_a_thread_that_hangs():
    program = """
import asyncio, threading, time
from everstep.threads import DaemonThreads, run_beside_loop

async def main():
    begun = threading.Event()
    asyncio.ensure_future(run_beside_loop(lambda: (begun.set(), time.sleep(60))))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    asyncio.get_running_loop().set_default_executor(DaemonThreads("app", most=1))
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", program], timeout=20, check=True)


async def test_the_loops_default_executor_is_left_to_the_application(gate):
    """However busy that is, what the engine does beside the loop goes on."""
    tenant = ContextVar("tenant", default=None)
    tenant.set("ada")
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    hangs = loop.run_in_executor(None, gate.wait, PATIENCE)
    name = await run_beside_loop(lambda: (threading.current_thread().name.partition("-")[0], tenant.get()))
    assert name == ("everstep", "ada")
    gate.set()
    await hangs
