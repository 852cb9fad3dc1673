"""The clock of an engine on SQLite: the machine's wall clock is set, and no timer moves."""

import asyncio
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from everstep.engine.runtime import clock as clocks
from everstep.engine.runtime.clock import SteadyClock

PROGRAM = """
    import asyncio, logging, sys, time
    from everstep import Everstep, WorkflowEntrypoint

    class Napping(WorkflowEntrypoint):
        async def run(self, event, step):
            began = time.monotonic()
            await step.sleep("nap", "1.5 seconds")
            await step.do("work", {"timeout": "20 seconds"}, asyncio.sleep, 0.7)
            await step.do("retry", {"retries": {"limit": 2, "delay": "0.7 seconds", "backoff": "constant"}}, self.once)
            return time.monotonic() - began
        tries = 0
        async def once(self):
            Napping.tries += 1
            if Napping.tries < 2:
                raise ValueError("once")

    async def main(path, seconds, after):
        logging.basicConfig(level=logging.WARNING)
        wall, wall_ns = time.time, time.time_ns
        async with Everstep([Napping], database=f"sqlite:///{path}") as es:
            instance = await es.workflow(Napping).create()
            await asyncio.sleep(after)
            time.time, time.time_ns = (lambda: wall() + seconds), (lambda: wall_ns() + seconds * 10**9)
            print(await instance.result("25 seconds"))

    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
"""


@pytest.mark.parametrize("after", [0.5, 1.9])
@pytest.mark.parametrize("seconds", [3600, -3600])
async def test_no_timer_moves_when_the_clock_is_set(tmp_path: Path, seconds: int, after: float):
    program = tmp_path / "napping.py"
    program.write_text(textwrap.dedent(PROGRAM))
    command = [sys.executable, str(program), str(tmp_path / "state.db"), str(seconds), str(after)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    assert 2.8 < float(done.stdout) < 12
    assert done.stderr.count("clock was set by") == 1


def shift(monkeypatch: pytest.MonkeyPatch, *, wall: float = 0.0, running: float = 0.0) -> None:
    """Have the wall clock, and the one nobody sets, show so many seconds more than they do."""
    wall_ns, running_ns = time.time_ns, clocks._running_ns
    monkeypatch.setattr(time, "time_ns", lambda: wall_ns() + int(wall * 1e9))
    monkeypatch.setattr(clocks, "_running_ns", lambda: running_ns() + int(running * 1e9))


def test_a_clock_that_was_set_is_followed_once_it_has_stayed_so(monkeypatch: pytest.MonkeyPatch):
    clock, before = SteadyClock(), SteadyClock().now()
    shift(monkeypatch, wall=-3600)
    assert abs(clock.now() - before) < 1_000
    shift(monkeypatch, wall=14 * 60, running=14 * 60)
    assert abs(clock.now() - before - 14 * 60_000) < 1_000
    shift(monkeypatch, wall=2 * 60, running=2 * 60)
    clock.now()
    assert abs(clock.now() - before - 16 * 60_000 + 3_600_000) < 1_000


def test_a_clock_that_is_set_back_again_leaves_no_trace(monkeypatch: pytest.MonkeyPatch):
    clock, before = SteadyClock(), SteadyClock().now()
    shift(monkeypatch, wall=3600)
    clock.now()
    shift(monkeypatch, wall=-3600 + 1200, running=1200)
    assert abs(clock.now() - before - 1_200_000) < 1_000


def test_the_time_goes_on_while_the_machine_is_suspended(monkeypatch: pytest.MonkeyPatch):
    clock, before = SteadyClock(), SteadyClock().now()
    shift(monkeypatch, wall=7200, running=7200)
    assert abs(clock.now() - before - 7_200_000) < 1_000


def test_a_clock_that_drifts_is_followed_slowly(monkeypatch: pytest.MonkeyPatch):
    clock, before = SteadyClock(), SteadyClock().now()
    shift(monkeypatch, wall=60.5, running=60)
    assert abs(clock.now() - before - 60_000 - 60_000 * clocks.SLEW) < 150
    shift(monkeypatch, wall=60, running=60)
    assert abs(clock.now() - before - 120_500) < 150
