"""Processes that are asked to stop end in time, whatever hangs in their steps."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import PostgresSchema
from dev_process import DevProcess

from postgres_server import PostgresServer

pytestmark = pytest.mark.crash

PROGRAM = Path(__file__).with_name("hanging.py")
STOP_SECONDS = 9.0
"""Twice what a stop takes, and far less than the steps hang."""


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(PROGRAM), *arguments]
    process = subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE)
    until_it_hangs(folder)
    return process


def until_it_hangs(folder: Path) -> None:
    deadline = time.monotonic() + 20
    while not (folder / "hangs").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def step_in(database: Path) -> tuple[str, int]:
    """The state of the step that hung, and how many attempts of it count."""
    connection = sqlite3.connect(database)
    try:
        return connection.execute("select state, attempt from step").fetchone()
    finally:
        connection.close()


def test_an_engine_in_a_program_stops_while_a_plain_function_hangs(tmp_path: Path):
    with start(tmp_path, "engine", "hang") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0
    assert step_in(tmp_path / "state.db") == ("retrying", 0)  # cut off by a stop: it does not count


def start_hanging(dev: DevProcess, folder: Path, way: str) -> None:
    """Start dev, and wait until a step hangs in a way."""
    dev.start()
    dev.http.post("/", json={"id": "one", "way": way}).raise_for_status()
    until_it_hangs(folder)


@pytest.mark.parametrize("way", ["hang", "in_default_executor", "uncancellable"])
def test_run_once_returns_while_the_function_of_a_timed_out_step_hangs(tmp_path: Path, way: str):
    with start(tmp_path, "once", way) as process:
        assert process.communicate(timeout=STOP_SECONDS) == ("over\n", None)
        assert process.returncode == 0


@pytest.mark.parametrize("way", ["hang", "in_default_executor", "uncancellable"])
def test_dev_stops_cleanly_while_a_step_hangs(tmp_path: Path, way: str):
    with DevProcess(tmp_path, PROGRAM) as dev:
        start_hanging(dev, tmp_path, way)
        began = time.monotonic()
        assert dev.stop() == 0
        assert time.monotonic() - began < STOP_SECONDS
    assert step_in(tmp_path / ".everstep" / "state.db") == ("retrying", 0)


@pytest.mark.parametrize("way", ["on_the_loop", "in_thread_of_its_own"])
def test_dev_ends_in_the_end_though_the_loop_or_a_thread_of_the_app_hangs(tmp_path: Path, way: str):
    with DevProcess(tmp_path, PROGRAM) as dev:
        start_hanging(dev, tmp_path, way)
        assert dev.stop() == 1
        assert "was asked to stop and has not ended in 10 seconds" in dev.log.read_text()


def test_dev_stops_in_time_while_its_database_is_frozen_and_a_step_hangs(tmp_path: Path):
    server = PostgresServer()
    server.start()
    try:
        with DevProcess(tmp_path, PROGRAM, database=PostgresSchema(server.empty_schema())) as dev:
            start_hanging(dev, tmp_path, "hang")
            dev.http.get("/client/v4/accounts/local/workflows").raise_for_status()  # it reads, too
            with frozen(server):
                began = time.monotonic()
                assert dev.stop() == 0
                assert time.monotonic() - began < STOP_SECONDS
    finally:
        server.remove()


@contextlib.contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    pids = [server.pid, *server.backends()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("way", ["hang", "in_default_executor", "uncancellable"])
def test_dev_reloads_while_a_step_hangs(tmp_path: Path, way: str):
    with DevProcess(tmp_path, PROGRAM) as dev:
        start_hanging(dev, tmp_path, way)
        (tmp_path / "hangs").unlink()
        (tmp_path / "shop.py").write_text(PROGRAM.read_text() + "\n# changed\n")
        until_it_hangs(tmp_path)  # in the next life
        assert "Ready again" in dev.log.read_text()
        assert dev.stop() == 0
