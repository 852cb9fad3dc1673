"""Cloudflare Workflows in Cloudflare's own local runtime, `wrangler dev`: what a project of theirs runs on at home."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from benchmarks import cold
from benchmarks.installs import npm_prefix
from benchmarks.peers.peer import Measured, Peer
from benchmarks.processes import ROOT, MeasurementError, free_port, run_program, server
from benchmarks.works import Work

WRANGLER, NODE = "4.164.0", "24.21.0"
SOURCES = ROOT / "benchmarks" / "programs" / "cloudflare"
DO = {
    "sequential": "one_instance", "results": "one_instance", "branches": "one_instance", "create": "create",
    "event": "event", "sleep-1": "sleep_1",
}  # fmt: skip
FOR_EACH = "keeps 3 open files and about 0.6 MB for each instance: not tried with so many"
NAPS, NAP_S, PATIENCE_S = 50, 5, 20


class Cloudflare(Peer):
    """The development server at its defaults. Workflows end with a report over HTTP, which is part of every figure."""

    name = "cloudflare-local"
    title = "Cloudflare, wrangler dev"
    durability = "3 fsync a step (a SQLite file for each instance)"
    best = 8
    slower = 5
    lacks: ClassVar = {
        "event-replay": "keeps every waiting instance in memory",
        "sleep-10000": FOR_EACH,
        "due-at-once": FOR_EACH,
        "asleep": FOR_EACH,
        "long-history": "not measured",
        "million": "not measured",
        "import": "JavaScript",
        "j": "keeps its own store",
    }

    def set_up(self) -> None:
        """Install wrangler and the Node.js it wants from npm."""
        self._programs = npm_prefix("cloudflare", [f"node@{NODE}", f"wrangler@{WRANGLER}"])

    def do(self, work: Work, given: dict[str, Any], folder: Path) -> Measured:
        for source in SOURCES.iterdir():
            shutil.copyfile(source, folder / source.name)
        if work.key == "dev":
            return cold.server_figures(self._command, "/", given, folder, self._environment())
        if work.key == "kill":
            return self._kill(folder)
        with self._running(folder) as port:
            return self._ask({**given, "do": DO.get(work.key, "parallel"), "port": port}, folder, work.seconds)

    def _kill(self, folder: Path) -> Measured:
        """Whether anything goes on after a kill -9: a few short naps, a restart, and time to wake up."""
        report = free_port()
        with self._running(folder) as port:
            given = {"do": "fall_asleep", "naps": NAPS, "seconds": NAP_S, "port": port, "report": report}
            self._ask(given, folder, 120)
        with self._running(folder):
            seconds = NAP_S + PATIENCE_S
            woken = self._ask({"do": "count_ended", "seconds": seconds, "report": report, "port": 0}, folder, 120)
        raise MeasurementError(
            f"of {NAPS} instances asleep for {NAP_S} s at the kill -9, {woken['ended']:.0f} went on within"
            f" {seconds} s of the restart: nothing to time"
        )

    def _ask(self, given: dict[str, Any], folder: Path, seconds: float) -> Measured:
        program = [sys.executable, "-m", "benchmarks.programs.cloudflare_client", json.dumps(given)]
        return run_program(program, folder=folder, seconds=seconds)

    @contextlib.contextmanager
    def _running(self, folder: Path) -> Iterator[int]:
        port = free_port()
        with server(self._command(port), folder=folder, port=port, environment=self._environment()):
            cold.wait_for_answer(port, "/")
            yield port

    def _command(self, port: int) -> list[str | Path]:
        inspector = str(free_port())
        return [
            self._programs / "wrangler",
            "dev",
            "--ip",
            "127.0.0.1",
            "--port",
            str(port),
            "--inspector-port",
            inspector,
        ]

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self._programs}{os.pathsep}{os.environ['PATH']}",
            "CI": "1",
            "WRANGLER_SEND_METRICS": "false",
            "CLOUDFLARE_CF_FETCH_ENABLED": "false",
        }
