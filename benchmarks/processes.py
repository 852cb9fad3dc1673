"""Child processes: programs that end with a line of figures, servers that are waited for. Ends only what it started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class MeasurementError(Exception):
    """A measurement came to nothing; the message is for the report."""


def free_port() -> int:
    """A port of the loopback interface that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_program(
    command: Sequence[str | Path],
    *,
    folder: Path,
    seconds: float,
    environment: Mapping[str, str] | None = None,
    killed: bool = False,
) -> dict[str, Any]:
    """Run a program whose last line on stdout is a JSON object, and return that.

    Args:
        command: The program.
        folder: Where it runs; what it writes to stderr stays there.
        seconds: When it is given up.
        environment: Added to ours.
        killed: Whether it ends itself by kill -9, as programs do that prove their results are on disk.

    Raises:
        MeasurementError: if it fails, takes too long or prints no figures.
    """
    log = folder / "stderr.log"
    with (
        log.open("ab") as errors,
        subprocess.Popen(
            command, cwd=folder, env=_environment(environment), stdout=subprocess.PIPE, stderr=errors,
            stdin=subprocess.DEVNULL, text=True, start_new_session=True,
        ) as process,
    ):  # fmt: skip
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise MeasurementError(f"not finished within {seconds:.0f} s") from None
        finally:
            end(process)
    if process.returncode != (-signal.SIGKILL if killed else 0):
        raise MeasurementError(f"ended with {process.returncode}: {last_words(log)}")
    try:
        return dict(json.loads(output.splitlines()[-1]))
    except (IndexError, ValueError):
        raise MeasurementError(f"printed no figures: {last_words(log)}") from None


@contextlib.contextmanager
def server(
    command: Sequence[str | Path],
    *,
    folder: Path,
    port: int,
    environment: Mapping[str, str] | None = None,
    seconds: float = 60,
    user: str | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server, from when its port answers until the block ends. Raises MeasurementError if it never does."""
    log = folder / f"{Path(command[0]).name}-{port}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=_environment(environment), stdout=output, stderr=output,
            stdin=subprocess.DEVNULL, start_new_session=True, user=user,
        )  # fmt: skip
    try:
        wait_for_port(port, process, log, seconds)
        yield process
    finally:
        end(process)


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> None:
    """Return when somebody listens on the port. Raises MeasurementError if the process ends or time runs out."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.01)
    raise MeasurementError(f"nothing answers on port {port}: {last_words(log)}")


def end(process: subprocess.Popen[Any]) -> None:
    """Kill a process that leads a session of its own, with all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def memory_mib(pid: int, *, family: bool = False) -> float:
    """The resident memory of a process; with `family`, of all in its session as well."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,sess=,rss="], capture_output=True, text=True, check=True)
    rows = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    return sum(rss for one, session, rss in rows if one == pid or (family and session == pid)) / 1024


def cpu_s(pid: int) -> float:
    """The CPU seconds that the processes of a session have used; those that have ended do not count."""
    seconds = 0.0
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # one that ended meanwhile
            fields = file.read_text().rpartition(")")[2].split()
            if int(fields[3]) == pid:
                seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


def last_words(log: Path, lines: int = 3) -> str:
    """The end of a log, on one line."""
    text = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return " / ".join(line.strip() for line in text[-lines:])[-400:] or "it said nothing"


def _environment(added: Mapping[str, str] | None) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "", **(added or {})}
