"""The tutorial is followed by hand: a folder of nothing but its page's blocks, and every command it gives, in order."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playground import answers
from tutorial_page import README, files_and_commands

pytestmark = pytest.mark.crash

BEFORE_RUNNING = ("python3 run.py demo", "python3 -m venv", "everstep init")
"""Commands that other tests run, or that make what the blocks themselves are to make here."""

SHELL = """
set -e
curl() { command curl -sS --fail-with-body --noproxy '*' "$@"; echo; }
"""


class Reader:
    """Types the page in and follows it, on free ports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, self.services_port = two_free_ports()
        page = README.replace("8787", str(self.port)).replace("8790", str(self.services_port))
        self.files, self.commands = files_and_commands(page)
        self.functions = ""
        self.log = folder / "dev.log"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.http = httpx.Client(timeout=10, trust_env=False)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", "NO_PROXY": "127.0.0.1"}

    def type_in(self) -> None:
        for path, text in self.files.items():
            (self.folder / path).parent.mkdir(exist_ok=True)
            (self.folder / path).write_text(text)

    def follow(self, command: str) -> list[Any]:
        """Do what one block of commands says; returns the answers of its calls."""
        if command.startswith("python standins.py"):
            self.start(command.strip(), f"http://127.0.0.1:{self.services_port}/ledger")
        elif command.strip() == "everstep dev":
            self.start_dev()
        elif command.startswith("order() {"):
            self.functions = command
        else:
            done = subprocess.run(
                ["bash", "-c", f"{SHELL}{self.functions}\n{command}"],
                cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}\n{self.log_end()}"
            return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return []

    def start_dev(self) -> None:
        self.start(f"everstep dev --port {self.port} --no-keys", f"{self.url}/client/v4/accounts/local/workflows")

    def start(self, command: str, ready: str) -> None:
        with self.log.open("ab") as log:
            self.processes[command.split(maxsplit=1)[0]] = subprocess.Popen(
                command.split(), cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.wait(f"{command} to answer", lambda: answers(ready))

    def kill_dev(self) -> None:
        self.processes["everstep"].kill()
        self.processes["everstep"].wait()

    def close(self) -> None:
        self.http.close()
        for process in self.processes.values():
            process.kill()
            process.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait(self, what: str, probe: Callable[[], object], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not probe():
            assert time.monotonic() < deadline, f"waited for {what}\n{self.log_end()}"
            time.sleep(0.05)

    def wait_for(self, id: str, status: str, step: str | None = None) -> None:
        def probe() -> bool:
            seen = self.http.get(f"{self.url}/orders", params={"id": id}).json()
            return seen["status"] == status and step in (None, seen["current_step"])

        self.wait(f"{id} to be {status}", probe)

    def charges(self, id: str) -> int:
        ledger = self.http.get(f"http://127.0.0.1:{self.services_port}/ledger").json()
        return sum(charge["key"].startswith(f"{id}:") for charge in ledger["charges"])

    def attempts(self, id: str, step: str) -> list[Any]:
        path = f"/client/v4/accounts/local/workflows/order-pipeline/instances/{id}"
        steps = self.http.get(self.url + path).json()["result"]["steps"]
        return next(one["attempts"] for one in steps if one.get("name") == f"{step}-1")

    def log_end(self) -> str:
        return self.log.read_text()[-3000:] if self.log.exists() else ""


def two_free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    try:
        yield reader
    finally:
        reader.close()


def test_the_page_typed_in_from_an_empty_folder_runs_and_passes_its_own_checklist(reader: Reader) -> None:
    reader.type_in()
    after = {  # what the page says of a block of commands, once it was run
        "echo 'SHIPPING_DELAY": lambda: reader.wait("the reload", lambda: "Ready again" in reader.log_end()),
        "order ord_valid": lambda: reader.wait_for("ord_valid", "complete"),
        "order ord_retried": lambda: reader.wait_for("ord_retried", "complete"),
        "order ord_paused": lambda: reader.wait_for("ord_paused", "paused"),
        "orders/resume?id=ord_paused": lambda: reader.wait_for("ord_paused", "complete"),
        "order ord_expensive": lambda: reader.wait_for("ord_expensive", "waiting", "wait-for-manager-approval"),
        "orders/approve?id=ord_expensive": lambda: reader.wait_for("ord_expensive", "complete"),
        "order ord_crashed": lambda: crash(reader, "ord_crashed"),
    }
    answers: list[Any] = []
    for command in reader.commands:
        if command.startswith(BEFORE_RUNNING):
            continue
        answers = reader.follow(command)
        for part in [part for part in after if part in command]:
            after.pop(part)()

    assert after == {}, "the page lost commands of its checklist"
    assert len(reader.attempts("ord_retried", "charge-payment")) == 3
    assert len(reader.attempts("ord_crashed", "charge-payment")) == 2
    assert len(reader.attempts("ord_crashed", "validate-order")) == 1
    [ledger] = answers
    charged = sorted(charge["key"].split(":")[0] for charge in ledger["charges"])
    checklist = ["ord_crashed", "ord_expensive", "ord_paused", "ord_retried", "ord_valid"]
    assert [id for id in charged if id in checklist] == checklist
    assert len(ledger["emails"]) == len(checklist)


def crash(reader: Reader, id: str) -> None:
    reader.wait("the charge", lambda: reader.charges(id))
    reader.kill_dev()
    reader.start_dev()
    reader.wait_for(id, "complete")
