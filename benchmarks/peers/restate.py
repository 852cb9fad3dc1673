"""Restate: its server from npm at its defaults, a Python service under hypercorn, driven over HTTP."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from benchmarks import cold
from benchmarks.installs import npm_prefix, python_environment
from benchmarks.peers.peer import Measured, Peer
from benchmarks.processes import cpu_s, end, free_port, memory_mib, run_program, server, wait_for_port
from benchmarks.works import Work

SERVER, SDK = "1.7.12", "1.3.0"

DO = {
    "sequential": "steps", "results": "results", "branches": "branches", "create": "create",
    "event": "event", "event-replay": "event", "sleep-1": "sleep_1", "sleep-10000": "sleep_10000",
    "due-at-once": "due_at_once",
}  # fmt: skip


@dataclass
class Running:
    """A server and the service it calls."""

    server: subprocess.Popen[bytes]
    service: subprocess.Popen[bytes]
    ingress: int


class Restate(Peer):
    """Single node, 24 partitions, write-ahead log synced: the defaults. 256 at a time suited it best of 32 to 1,000."""

    name = "restate"
    title = f"Restate {SERVER}"
    durability = "1 to 2 fdatasync a step, of the log; shared by steps that end together"
    best = 256
    lacks: ClassVar = {
        "long-history": "not measured",
        "million": "not measured",
        "dev": "has no development server of its own: a server and your service",
        "j": "keeps its own store",
    }

    def set_up(self) -> None:
        """Install the server from npm, the SDK and hypercorn from PyPI."""
        self._python = python_environment("restate", [f"restate-sdk[serde]=={SDK}", "hypercorn==0.18.0", "uvloop"])
        self._server = npm_prefix("restate", [f"@restatedev/restate-server@{SERVER}"]) / "restate-server"

    def do(self, work: Work, given: dict[str, Any], folder: Path) -> Measured:
        if work.key == "import":
            return cold.import_figures(self._python, "import restate", "import restate", given["times"], {})
        if work.key == "asleep":
            return self._asleep(work, given, folder)
        if work.key == "kill":
            return self._kill(work, given, folder)
        parked = given.get("cached") is False or work.key == "due-at-once"
        given["workflow"] = "Parked" if parked else "Live"
        with self._running(folder, {}) as running:
            return self._ask({**given, "do": DO.get(work.key, "parallel")}, running, folder, work.seconds)

    def _asleep(self, work: Work, given: dict[str, Any], folder: Path) -> Measured:
        given["workflow"] = "Parked"
        with self._running(folder, {}) as running:
            before = _memory(running)
            self._ask({**given, "do": "fall_asleep"}, running, folder, work.seconds)
            asleep, cpu = _memory(running), _cpu_s(running)
            time.sleep(given["watch_s"])
            busy = (_cpu_s(running) - cpu) / given["watch_s"]
        began = time.perf_counter()
        with self._running(folder, {}):
            restart = time.perf_counter() - began
        return {"rss_mib": asleep - before, "cpu_percent": busy * 100, "restart_s": restart}

    def _kill(self, work: Work, given: dict[str, Any], folder: Path) -> Measured:
        # Its invoker has 1,000 at work at a time: no more can be half-way.
        flight = {"BENCH_IN_FLIGHT": str(min(given["instances"], 1000))}
        with self._running(folder, flight) as running:
            settings = json.dumps({**given, "do": "send_flight", "port": running.ingress})
            sender = subprocess.Popen(
                [self._python, "-m", "benchmarks.programs.restate_client", settings],
                start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                running.service.wait(work.seconds)
            finally:
                end(sender)
        with self._running(folder, {}) as running:
            return self._ask({**given, "do": "after_kill"}, running, folder, work.seconds)

    def _ask(self, given: dict[str, Any], running: Running, folder: Path, seconds: float) -> Measured:
        settings = json.dumps({**given, "port": running.ingress})
        command = [self._python, "-m", "benchmarks.programs.restate_client", settings]
        return run_program(command, folder=folder, seconds=seconds)

    @contextlib.contextmanager
    def _running(self, folder: Path, environment: Mapping[str, str]) -> Iterator[Running]:
        """Run the service and the server, which are told of each other, until the block ends: by kill -9."""
        kept = folder / "ports.json"  # a server that is started again finds its service where it was
        ports = json.loads(kept.read_text()) if kept.exists() else [free_port() for _ in range(4)]
        kept.write_text(json.dumps(ports))
        service_port, ingress, admin, node = ports
        bind = f"127.0.0.1:{service_port}"
        hypercorn = [self._python.parent / "hypercorn", "benchmarks.programs.restate_service:app", "-k", "uvloop"]
        with (
            server([*hypercorn, "--bind", bind], folder=folder, port=service_port, environment=environment) as service,
            server(
                [self._server, "--no-logo", "--base-dir", folder / "restate", "--node-name", "bench"],
                folder=folder, port=ingress, environment=_addresses(ingress, admin, node),
            ) as serving,
        ):  # fmt: skip
            wait_for_port(admin, serving, folder / f"restate-server-{ingress}.log")
            _register(admin, f"http://{bind}")
            yield Running(serving, service, ingress)


def _addresses(ingress: int, admin: int, node: int) -> dict[str, str]:
    return {
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
        "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{node}",
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
    }


def _register(admin: int, uri: str) -> None:
    """Tell the server of the service; it may need a moment before it takes that."""
    body = json.dumps({"uri": uri, "force": True}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{admin}/deployments", body, {"Content-Type": "application/json"}
    )
    for attempt in range(100):
        try:
            urllib.request.urlopen(request, timeout=30).close()
            return
        except OSError:
            if attempt == 99:
                raise
            time.sleep(0.1)


def _memory(running: Running) -> float:
    return memory_mib(running.server.pid, family=True) + memory_mib(running.service.pid, family=True)


def _cpu_s(running: Running) -> float:
    return cpu_s(running.server.pid) + cpu_s(running.service.pid)
