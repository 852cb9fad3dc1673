"""A real process is killed at every commit of a ten-step workflow, and the next one finishes the work."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("ten_steps.py")
COMMITS = 28
"""More than an undisturbed run makes; the cases beyond its last commit check that nothing is left to kill."""
STEPS = {"add-1", "add-2", "add-3", "in-thread", "slow", "left", "right", "last"}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, PROGRAM, folder, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def effects(folder: Path) -> Counter[str]:
    file = folder / "effects"
    return Counter(file.read_text().split()) if file.exists() else Counter()


def ended_steps(folder: Path) -> dict[str, str]:
    """What is recorded of each step that has ended, straight from the file."""
    if not (folder / "state.db").exists():
        return {}
    connection = sqlite3.connect(folder / "state.db")
    try:
        [(intact,)] = connection.execute("pragma integrity_check")
        assert intact == "ok"
        rows = connection.execute("select name, state, result, error from step where state in ('complete', 'errored')")
        return {name: f"{state} {result} {error}" for name, state, result, error in rows}
    except sqlite3.OperationalError:  # killed before the schema was there
        return {}
    finally:
        connection.close()


@pytest.mark.crash
@pytest.mark.parametrize("moment", ["before", "inside", "after", "between"])
@pytest.mark.parametrize("number", range(1, COMMITS))
def test_a_kill_at_a_commit_loses_nothing_and_repeats_no_completed_step(
    moment: str, number: int, tmp_path: Path
) -> None:
    killed = run(tmp_path, moment, str(number))
    assert killed.returncode in (-signal.SIGKILL, 0), killed.stderr
    done_before, effects_before = ended_steps(tmp_path), effects(tmp_path)

    finished = run(tmp_path)

    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split()[0] == str(sum(range(1, 11)))
    done, ran = ended_steps(tmp_path), effects(tmp_path)
    assert done.keys() >= STEPS
    for step, recorded in done_before.items():
        assert done[step] == recorded, f"{step} changed after it had ended"
        assert ran[step] == effects_before[step], f"{step} ran again after it had ended"
    # A step whose result was lost with the process runs once more. The one that always fails has four attempts, of
    # which the kill may cost one: never a fifth.
    assert all(ran[step] in (1, 2) for step in STEPS)
    assert ran["fails"] in (3, 4)


@pytest.mark.crash
def test_a_process_killed_again_and_again_still_gets_there(tmp_path: Path) -> None:
    for number in range(2, 14):
        assert run(tmp_path, "after", str(number)).returncode in (-signal.SIGKILL, 0)

    finished = run(tmp_path)

    assert finished.stdout.split()[0] == "55", finished.stderr
