"""From cold: how long a server takes to answer, what it weighs, how fast it creates; how long an import takes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import percentile
from benchmarks.http import Connection
from benchmarks.processes import MeasurementError, free_port, memory_mib, server

SETTLED_S = 2.0


def as_json(value: Any) -> str:
    """The settings of a program, for its command line."""
    return json.dumps(value)


def import_figures(
    python: Path, bare: str, needed: str, times: int, environment: Mapping[str, str]
) -> dict[str, float]:
    """What an import adds to starting Python: the bare one, and that of what a program needs."""

    def seconds(code: str) -> float:
        began = time.perf_counter()
        subprocess.run([python, "-c", code], check=True, env={**os.environ, **environment}, cwd="/")
        return time.perf_counter() - began

    seconds(needed)  # compiles it
    taken = [(seconds("pass"), seconds(bare), seconds(needed)) for _ in range(times)]
    return {
        "import_ms": statistics.median(one - nothing for nothing, one, _ in taken) * 1000,
        "needed_ms": statistics.median(one - nothing for nothing, _, one in taken) * 1000,
    }


def server_figures(
    command: Callable[[int], Sequence[str | Path]],
    path: str,
    given: Mapping[str, Any],
    folder: Path,
    environment: Mapping[str, str],
) -> dict[str, float]:
    """Start a development server, wait for its first answer, weigh it, and let it create.

    Args:
        command: The command line for a port.
        path: Where a GET answers 200 and a POST creates an instance durably before it answers.
        given: `requests` and `connections`.
        folder: The project's folder.
        environment: Added to ours.
    """
    port, began = free_port(), time.perf_counter()
    with server(command(port), folder=folder, port=port, environment=environment) as process:
        wait_for_answer(port, path)
        answered = time.perf_counter() - began
        time.sleep(SETTLED_S)
        idle = memory_mib(process.pid, family=True)
        return {"answers_s": answered, "idle_mib": idle, **asyncio.run(_creates(port, path, given))}


def wait_for_answer(port: int, path: str) -> None:
    """Return when a GET is answered with 200. Raises MeasurementError after a minute."""
    asyncio.run(_answers(port, path))


async def _answers(port: int, path: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, EOFError):
            async with Connection(port) as connection:
                status, _ = await connection.request("GET", path)
                if status == 200:
                    return
        await asyncio.sleep(0.01)
    raise MeasurementError("no answer within 60 s")


async def _creates(port: int, path: str, given: Mapping[str, Any]) -> dict[str, float]:
    taken: list[float] = []

    async def client(count: int) -> None:
        async with Connection(port) as connection:
            for _ in range(count):
                began = time.perf_counter()
                status, body = await connection.request("POST", path, {})
                if status not in {200, 201, 202}:
                    raise MeasurementError(f"a create was answered with {status}: {body[:200]!r}")
                taken.append(time.perf_counter() - began)

    began = time.perf_counter()
    connections = given["connections"]
    await asyncio.gather(*(client(given["requests"] // connections) for _ in range(connections)))
    return {
        "creates_per_s": len(taken) / (time.perf_counter() - began),
        "create_p99_ms": percentile(taken, 99) * 1000,
    }
