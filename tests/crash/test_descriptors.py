"""`everstep dev` with more connections than it may have files open: it says so in a line, and goes on afterwards."""

from __future__ import annotations

import resource
import socket
import sys
import time
from pathlib import Path

import httpx
import pytest
from dev_process import DevProcess

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of another process are set as on Linux"),
]

ROOM = 8
"""Descriptors that are left to the process when connections begin to come."""
SAID = "files and connections open, all it may have"


def test_a_process_without_descriptors_says_so_in_a_line_and_accepts_again(tmp_path: Path):
    dev = DevProcess(tmp_path)
    held: list[socket.socket] = []
    try:
        dev.start("--no-reload")
        pid = dev.pid
        highest = max(int(one.name) for one in Path(f"/proc/{pid}/fd").iterdir())
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + ROOM, hard))
        held += [socket.create_connection(("127.0.0.1", dev.port), timeout=10) for _ in range(ROOM * 4)]

        deadline = time.monotonic() + 20
        while SAID not in (log := dev.log.read_text()):
            assert time.monotonic() < deadline, log
            time.sleep(0.02)
        assert f"{highest + ROOM:,} {SAID}" in log

        while held:
            held.pop().close()
        answer = httpx.get(f"http://127.0.0.1:{dev.port}/client/v4/accounts/local/workflows", timeout=20)
        assert answer.status_code == 200
        log = dev.log.read_text()
        assert (log.count(SAID), log.count("Traceback"), log.count("accept()")) == (1, 0, 0)
    finally:
        while held:
            held.pop().close()
        dev.close()
