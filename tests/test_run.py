"""`run.py`: what it says when it sets nothing up."""

from __future__ import annotations

import os
import stat
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


def test_debians_pooler_is_unpacked_with_the_libraries_that_are_missing(tmp_path: Path) -> None:
    programs = {
        "apt-cache": 'printf "  Depends: libc6\\n  Depends: libcares\\n  Depends: init\\n"',
        "apt-get": 'echo "$3" >> "$LOG"; touch "$3.deb"',
        "dpkg": '[ "$1" = -s ] && { [ "$2" = libc6 ]; exit $?; }; echo "$(basename "$2")" >> "$LOG"',
    }

    told = unpack(tmp_path, programs)

    asked, libraries, *unpacked = (tmp_path / "log").read_text().split()
    assert (asked, libraries) == ("pgbouncer", "libcares")
    assert sorted(unpacked) == ["libcares.deb", "pgbouncer.deb"]
    assert told == "Unpacking Debian's PgBouncer (once) …\n"


def test_a_pooler_that_cannot_be_had_keeps_no_test_from_running(tmp_path: Path) -> None:
    told = unpack(tmp_path, {"apt-cache": "exit 1", "apt-get": "exit 100", "dpkg": "exit 1"})

    assert told.endswith("apt-get has no PgBouncer: `apt-get update` may help\n")


def unpack(folder: Path, programs: dict[str, str]) -> str:
    """Unpack with programs that stand for Debian's, and return what is said."""
    for name, text in programs.items():
        script = folder / name
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    code = f"import sys; sys.path.insert(0, {str(RUN.parent)!r}); import run; from pathlib import Path; "
    code += f"run.DEBIAN = Path({str(folder / 'debian')!r}); run.shutil.which = lambda name, path=None: "
    code += "None if name == 'pgbouncer' else name; run.unpack_pgbouncer()"
    environment = os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "LOG": str(folder / "log")}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return ran.stderr


SKIPPED = """
import pytest
from unproven import skip_unproven

@pytest.mark.parametrize("number", [1, 2])
def test_it(number):
    skip_unproven("workers behind a pooler: install one")

@pytest.mark.skip("not on this system")
def test_other(): ...
"""


def test_what_was_not_proven_is_said_at_the_end_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from unproven import pytest_terminal_summary\n")
    (tmp_path / "test_skipped.py").write_text(SKIPPED)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    _, told = ran.stdout.split("NOT PROVEN on this machine")
    assert "2 tests: workers behind a pooler: install one" in told
    assert "not on this system" not in told
