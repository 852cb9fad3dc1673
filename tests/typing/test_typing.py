"""Type checkers accept every right use of the public API and find every seeded mistake, seen as a user's project is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RIGHT, WRONG = HERE / "right_uses.py", HERE / "wrong_uses.py"

Reports = dict[str, dict[int, str]]
"""What a checker reported: by file name, by line."""


def _mypy(_: Path) -> Reports:
    # No configuration: neither this repository's, nor the user's own.
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", "--no-pretty"]
    command += ["--hide-error-context", f"--cache-dir={ROOT / '.mypy_cache' / 'typing-tests'}", RIGHT.name, WRONG.name]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.finditer(r"^([^:\n]+):(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    return _by_line((Path(match[1]).name, int(match[2]), match[3]) for match in found)


def _pyright(directory: Path) -> Reports:
    settings = {"include": [str(RIGHT), str(WRONG)], "typeCheckingMode": "standard", "extraPaths": [str(HERE)]}
    (directory / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(directory)]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return _by_line(
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1, one["message"])
        for one in json.loads(done.stdout)["generalDiagnostics"]
        if one["severity"] == "error"
    )


def _by_line(found) -> Reports:
    reports: Reports = {RIGHT.name: {}, WRONG.name: {}}
    for file, line, message in found:
        reports.setdefault(file, {}).setdefault(line, message)
    return reports


CHECKERS: dict[str, Callable[[Path], Reports]] = {"mypy --strict": _mypy, "pyright": _pyright}


@pytest.fixture(scope="module", params=CHECKERS)
def reports(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reports:
    return CHECKERS[request.param](tmp_path_factory.mktemp("checker"))


def _marked() -> dict[int, str]:
    lines = WRONG.read_text(encoding="utf-8").splitlines()
    return {number: line.strip() for number, line in enumerate(lines, start=1) if "  # error: " in line}


def test_every_right_use_is_accepted(reports: Reports) -> None:
    assert reports[RIGHT.name] == {}


def test_every_seeded_mistake_is_found(reports: Reports) -> None:
    missed = {line: text for line, text in _marked().items() if line not in reports[WRONG.name]}
    assert missed == {}


def test_nothing_but_the_seeded_mistakes_is_reported(reports: Reports) -> None:
    unmarked = {line: message for line, message in reports[WRONG.name].items() if line not in _marked()}
    assert unmarked == {}


def test_nothing_is_reported_in_the_package_itself(reports: Reports) -> None:
    assert set(reports) == {RIGHT.name, WRONG.name}
