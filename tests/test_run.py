"""`run.py`: what it says when it sets nothing up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[1] / "run.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, RUN, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("option", ["-h", "--help", "help"])
def test_help_is_no_mistake(option: str) -> None:
    ran = run(option)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "python3 run.py demo" in ran.stdout


def test_an_unknown_command_is_named_above_those_there_are() -> None:
    ran = run("dmeo", "--once")

    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("run.py: there is no command 'dmeo'\n")
    assert "python3 run.py demo" in ran.stderr


def test_no_command_is_wrong_usage() -> None:
    ran = run()

    assert (ran.returncode, ran.stdout) == (2, "")
    assert "python3 run.py demo" in ran.stderr
