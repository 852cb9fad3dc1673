"""`everstep dev` as a real process on a folder with a program."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

STARTED_WITHIN_SECONDS = 30.0


@contextlib.contextmanager
def running_dev(folder: Path, *options: str) -> Iterator[httpx.Client]:
    """Serve the folder's program; give a client for it, and what is written is in `dev.log`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "dev.log"
    command = [sys.executable, "-m", "everstep", "dev", "--port", str(port), "--no-keys", "--no-reload", *options]
    with log.open("wb") as written:
        process = subprocess.Popen(command, cwd=folder, stdout=written, stderr=written)
    try:
        deadline = time.monotonic() + STARTED_WITHIN_SECONDS
        while "Ready on" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
            yield http
    finally:
        process.terminate()
        process.wait(20)
