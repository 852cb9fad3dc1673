"""PgBouncer in transaction mode in front of a server, where its program is to be found."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from postgres_server import PostgresServer, _free_port, _somebody
from unproven import skip_unproven

_STARTED_WITHIN_SECONDS = 10.0


_UNPACKED = Path(sys.prefix) / "debian"
"""Where `run.py test` unpacks Debian's package, with the libraries it needs that are not installed."""


class Bouncer:
    """A pooler with fewer connections to the server than its clients have to it; skips the test where there is none."""

    def __init__(self, server: PostgresServer, *, pool_size: int = 5) -> None:
        program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or _unpacked()
        if program is None:
            skip_unproven(
                "workers behind PgBouncer. `python3 run.py test` unpacks Debian's package where apt-get has it; "
                "elsewhere install your system's"
            )
        self.port = _free_port()
        self._server = server
        self._directory = Path(tempfile.mkdtemp(prefix="everstep-pgbouncer-"))
        self._program = str(shutil.copy(program, self._directory))  # the user may not see where it comes from
        self._libraries = _libraries(self._directory)
        self._user = _somebody() if os.geteuid() == 0 else None
        if self._user is not None:
            os.chown(self._directory, self._user, -1)
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": "transaction",
            "default_pool_size": pool_size,
            "max_client_conn": 100,
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        database = f"* = host=127.0.0.1 port={server.port} user=everstep"
        self._config = self._directory / "pgbouncer.ini"
        self._config.write_text("\n".join(["[databases]", database, "[pgbouncer]", *lines]) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def through(self, url: str) -> str:
        """Return the URL by which a database is reached through the pooler."""
        past = url.replace(f":{self._server.port}/", f":{self.port}/")
        return f"{past}{'&' if '?' in past else '?'}statement_cache_size=0"

    def start(self) -> None:
        """Start, and wait until it listens."""
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, str(self._config)],
                stdout=log,
                stderr=log,
                user=self._user,
                cwd=self._directory,
                env=os.environ | {"LD_LIBRARY_PATH": str(self._libraries)},
            )
        deadline = time.monotonic() + _STARTED_WITHIN_SECONDS
        while b"process up" not in (self._directory / "log").read_bytes().split(b"--restart--")[-1]:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._directory / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Stop; every client and every transaction under way is cut off."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(how)
            self._process.wait(_STARTED_WITHIN_SECONDS)
            self._process = None
            with (self._directory / "log").open("ab") as log:
                log.write(b"--restart--\n")

    def remove(self) -> None:
        """Stop and delete everything."""
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)


def _unpacked() -> str | None:
    program = _UNPACKED / "usr" / "sbin" / "pgbouncer"
    return str(program) if program.exists() else None


def _libraries(directory: Path) -> Path:
    """Copy the unpacked libraries into one folder."""
    folder = directory / "lib"
    folder.mkdir()
    for library in _UNPACKED.rglob("*.so.*"):
        shutil.copy(library, folder)
    return folder
