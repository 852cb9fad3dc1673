"""The README's main promise: the demo's four orders end as they should, and nothing outlives it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from playground import HERE as EXAMPLE
from playground import free_port, is_free

pytestmark = pytest.mark.crash


def test_the_demo_ends_by_itself_and_cleans_up(tmp_path: Path) -> None:
    port = free_port(8787)
    command = [sys.executable, str(EXAMPLE / "demo.py"), "--once", "--port", str(port), "--state", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 of 4 orders ended as they should." in done.stdout
    assert "\x1b[" not in done.stdout
    assert len(re.findall(r"attempt \d .*failed: PaymentError: Payment failed: 503", done.stdout)) == 2
    assert is_free(port)


def test_the_demo_says_when_its_port_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, str(EXAMPLE / "demo.py"), "--once", "--port", str(port), "--state", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert f"Port {port} is in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_examples_own_tests_pass_where_its_users_run_them() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=EXAMPLE, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
