"""Type checkers accept every right use of the public API and find every seeded mistake, seen as a user's project is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RIGHT, WRONG = "right_uses.py", "wrong_uses.py"

Reports = dict[str, dict[int, str]]
"""What a checker reported: by file name, by line."""


def _mypy(project: Path) -> Reports:
    cache = HERE.parents[1] / ".mypy_cache" / "typing-tests"
    command = [sys.executable, "-m", "mypy", "--strict", "--disable-error-code=empty-body", f"--cache-dir={cache}"]
    done = subprocess.run([*command, RIGHT, WRONG], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.finditer(r"^([^:\n]+):(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    return _by_line((match[1], int(match[2]), match[3]) for match in found)


def _pyright(project: Path) -> Reports:
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, RIGHT, WRONG]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    output = json.loads(done.stdout)
    assert output["summary"]["filesAnalyzed"] == 2
    return _by_line(
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1, one["message"])
        for one in output["generalDiagnostics"]
        if one["severity"] == "error"
    )


def _by_line(found: Iterable[tuple[str, int, str]]) -> Reports:
    reports: Reports = {RIGHT: {}, WRONG: {}}
    for file, line, message in found:
        reports.setdefault(file, {}).setdefault(line, message)
    return reports


CHECKERS: dict[str, Callable[[Path], Reports]] = {"mypy --strict": _mypy, "pyright": _pyright}


@pytest.fixture(scope="module", params=CHECKERS)
def reports(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reports:
    project = tmp_path_factory.mktemp("project")  # a user's: nothing of this repository's configuration
    for file in (RIGHT, WRONG):
        shutil.copy(HERE / file, project)
    return CHECKERS[request.param](project)


def _marked() -> dict[int, str]:
    lines = (HERE / WRONG).read_text(encoding="utf-8").splitlines()
    return {number: line.strip() for number, line in enumerate(lines, start=1) if "  # error: " in line}


def test_every_right_use_is_accepted(reports: Reports) -> None:
    assert reports[RIGHT] == {}


def test_every_seeded_mistake_is_found(reports: Reports) -> None:
    assert {line: text for line, text in _marked().items() if line not in reports[WRONG]} == {}


def test_nothing_but_the_seeded_mistakes_is_reported(reports: Reports) -> None:
    assert {line: message for line, message in reports[WRONG].items() if line not in _marked()} == {}


def test_nothing_is_reported_in_the_package_itself(reports: Reports) -> None:
    assert set(reports) == {RIGHT, WRONG}
