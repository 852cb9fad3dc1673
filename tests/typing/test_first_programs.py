"""A new user's first programs pass the strictest type checks: what `everstep init` makes, and the README's blocks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from everstep.cli.main import main

ROOT = Path(__file__).parents[2]


def _project(folder: Path, template: str) -> list[str]:
    assert CliRunner().invoke(main, ["init", str(folder), "--template", template]).exit_code == 0
    return sorted({path.relative_to(folder).parts[0] for path in folder.rglob("*.py")})


def _readme(folder: Path) -> list[str]:
    folder.mkdir()
    programs = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(programs) > 1
    for number, program in enumerate(programs):
        (folder / f"program_{number}.py").write_text(program)
    return sorted(path.name for path in folder.iterdir())


SOURCES: dict[str, Callable[[Path], list[str]]] = {
    "hello": lambda folder: _project(folder, "hello"),
    "order-pipeline": lambda folder: _project(folder, "order-pipeline"),
    "README": _readme,
}


@pytest.mark.parametrize("source", SOURCES)
def test_mypy_strict_accepts(source: str, tmp_path: Path) -> None:
    files = SOURCES[source](tmp_path / "project")
    cache = ROOT / ".mypy_cache" / f"first-programs-{source}"
    command = [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={cache}", *files]

    done = subprocess.run(command, cwd=tmp_path / "project", capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("source", SOURCES)
def test_pyright_strict_accepts(source: str, tmp_path: Path) -> None:
    SOURCES[source](tmp_path / "project")
    (tmp_path / "project" / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict"}))
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]

    done = subprocess.run(command, cwd=tmp_path / "project", capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 errors" in done.stdout
