"""What an app that has set up logging hears of its instances, and what one that has not does not pay for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from everstep import Everstep, WorkflowEntrypoint
from everstep.telemetry import loop_watchdog
from everstep.telemetry.bus import Telemetry
from everstep.telemetry.events import EventSent
from everstep.telemetry.log_records import log_records, record

MEMORY = "sqlite:///:memory:"


class Charge(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.do("charge", {"retries": {"limit": 1, "delay": "0.01 seconds", "backoff": "constant"}}, refuse)


def refuse():
    raise ConnectionError("503 from the bank")


class Block(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.do("block", block)


async def block():
    time.sleep(0.5)


class Fine(WorkflowEntrypoint):
    async def run(self, event, step):
        return await step.do("greet", lambda: "hello")


async def test_failed_attempts_are_logged_with_the_next_one_and_then_the_instance(caplog: pytest.LogCaptureFixture):
    async with Everstep([Charge], database=MEMORY) as es:
        instance = await es.workflow(Charge).create(id="a")
        with pytest.raises(ConnectionError):
            await instance.result("10 seconds")
    first, last, ended = [one for one in caplog.records if one.name == "everstep.instance"]
    line = refuse.__code__.co_firstlineno + 1
    origin = f'File "{__file__}", line {line}, in refuse: raise ConnectionError("503 from the bank")'
    bank = f"ConnectionError: 503 from the bank ({origin})"
    failed = re.escape(f"charge/a  charge  attempt 1/2 failed: {bank}")
    assert re.fullmatch(rf"{failed} · retry in \d+ ms", first.getMessage())
    assert last.getMessage() == f"charge/a  charge  attempt 2/2 failed: {bank} · no attempt left"
    assert ended.getMessage().startswith("charge/a  errored after ")
    assert ended.getMessage().endswith(f": {bank}")
    assert [one.levelname for one in (first, last, ended)] == ["WARNING", "WARNING", "ERROR"]
    assert (vars(first)["workflow"], vars(first)["instance_id"], vars(first)["step"]) == ("charge", "a", "charge")


KILLED = """
import asyncio, os, sys
from everstep import Everstep, WorkflowEntrypoint

class Fine(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.do("first", lambda: 1)
        await step.do("second", os._exit, 7)

async def main():
    async with Everstep([Fine], database=sys.argv[1]) as es:
        await (await es.workflow("fine").create(id="a")).result()

asyncio.run(main())
"""


class Recovering(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.do("first", lambda: 1)
        await step.do("second", lambda: 2)


async def test_what_goes_on_after_a_crash_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    database = f"sqlite:///{tmp_path}/state.db"
    assert subprocess.run([sys.executable, "-c", KILLED, database], check=False).returncode == 7
    recovering = type("Fine", (Recovering,), {})
    async with Everstep([recovering], database=database) as es:
        async with asyncio.timeout(10):
            while "fine/a  recovered after a crash" not in caplog.text:
                await asyncio.sleep(0.01)
    assert es.recovered == 1


async def test_a_blocked_loop_is_logged_with_its_file_and_line(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(loop_watchdog, "BLOCKED_SECONDS", 0.1)
    async with Everstep([Block], database=MEMORY) as es:
        await (await es.workflow(Block).create()).result("10 seconds")
    [blocked] = [one.getMessage() for one in caplog.records if one.name == "everstep.loop"]
    assert f"{__file__}:{block.__code__.co_firstlineno + 1} in block" in blocked


async def test_steps_pay_nothing_for_it():
    async with Everstep([Fine], database=MEMORY) as es:
        assert es.telemetry.hears_trouble
        assert not es.telemetry.listening


async def test_the_loop_is_watched_only_where_a_record_of_it_would_be_written(monkeypatch: pytest.MonkeyPatch):
    watched: list[object] = []
    monkeypatch.setattr(
        "everstep.telemetry.log_records.watch_loop", lambda warn: watched.append(warn) or contextlib.nullcontext()
    )
    monkeypatch.setattr(logging.getLogger("everstep"), "propagate", False)  # to nobody but the NullHandler
    with log_records(Telemetry()):
        assert not watched
    monkeypatch.setattr(logging.getLogger("everstep"), "propagate", True)
    with log_records(Telemetry()):
        assert len(watched) == 1


def test_whoever_wants_trouble_only_turns_nothing_else_on():
    telemetry = Telemetry()
    stop_trouble = telemetry.subscribe(record, trouble_only=True)
    stop = telemetry.subscribe(lambda event: None)
    assert telemetry.listening
    stop()
    assert (telemetry.listening, telemetry.hears_trouble) == (False, True)
    stop_trouble()
    assert not telemetry.hears_trouble


def test_what_is_no_trouble_is_not_logged(caplog: pytest.LogCaptureFixture):
    record(EventSent(workflow="a", instance_id="b", at=0, type="go"))
    assert caplog.records == []


PROGRAM = """
import asyncio, logging
from everstep import Everstep, WorkflowEntrypoint
{logging}

class Charge(WorkflowEntrypoint):
    async def run(self, event, step):
        raise ValueError("no card")

async def main():
    async with Everstep([Charge], database="sqlite:///:memory:") as es:
        try:
            await (await es.workflow(Charge).create(id="a")).result()
        except ValueError:
            pass

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("set_up", "written"),
    [("", ""), ("logging.basicConfig(format='%(name)s %(message)s')", "everstep.instance charge/a  errored after")],
)
def test_a_library_writes_nothing_until_the_app_sets_up_logging(set_up: str, written: str):
    command = [sys.executable, "-c", PROGRAM.format(logging=set_up)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    assert ran.stderr.startswith(written) if written else ran.stderr == ""
