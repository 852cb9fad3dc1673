"""What `everstep dev` says of a program when it has loaded it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from everstep.config import load_project
from everstep.core.errors import ConfigError
from everstep.server.program.loader import load_program

PROGRAM = """
from everstep import WorkflowEntrypoint

class Report(WorkflowEntrypoint):
    async def run(self, event, step): ...

async def fetch(request, env): ...
"""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch):
    """A module name that is forgotten afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "scheduled_app"
    sys.modules.pop("scheduled_app", None)


def test_schedules_that_are_not_run_are_named(tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}.py").write_text(PROGRAM)
    (tmp_path / "everstep.toml").write_text(
        f'main = "{module}.py"\n'
        "[triggers]\n"
        'crons = ["*/15 * * * *"]\n'
        "[[workflows]]\n"
        'class_name = "Report"\n'
        'name = "nightly-report"\n'
        'schedules = "0 6 * * *"\n'
    )

    program = load_program(load_project(tmp_path, environ={}))

    assert program.notes == [
        "workflow 'nightly-report' has schedules, and this release does not run them",
        "triggers.crons has schedules, and this release does not run them",
    ]


def test_a_program_without_schedules_hears_nothing_of_them(tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}.py").write_text(PROGRAM)
    (tmp_path / "everstep.toml").write_text(f'main = "{module}.py"\n[[workflows]]\nclass_name = "Report"\n')

    assert load_program(load_project(tmp_path, environ={})).notes == []


TYPES = "from dataclasses import dataclass\n\n@dataclass\nclass Order:\n    id: str\n"
SHOP = """
from {source} import Order
from everstep import WorkflowEntrypoint, WorkflowEvent, WorkflowStep

class Shop(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent[Order], step: WorkflowStep) -> Order:
        return await step.do("load", load)

async def load() -> Order:
    return Order("o-1")

if __name__ == "__main__":
    print(Shop.run_once(id="one"))
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A project with `src/types.py`, and what writes its `src/shop_index.py`, which imports from it."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "types.py").write_text(TYPES)
    (tmp_path / "everstep.toml").write_text('main = "src/shop_index.py"\n')

    def importing(source: str) -> Path:
        (tmp_path / "src" / "shop_index.py").write_text(SHOP.format(source=source))
        return tmp_path

    yield importing
    for name in ("src", "src.types", "src.shop_index", "shop_index"):
        sys.modules.pop(name, None)


def test_a_program_in_src_imports_its_own_types_from_there(project) -> None:
    program = load_program(load_project(project("src.types"), environ={}))
    assert [workflow.name for workflow in program.workflows] == ["shop"]


def test_a_program_in_src_runs_once_as_a_module(project) -> None:
    command = [sys.executable, "-m", "src.shop_index"]
    for _ in range(2):  # live, and from the store in another process
        done = subprocess.run(command, cwd=project("src.types"), capture_output=True, text=True, check=False)
        assert done.stdout == "Order(id='o-1')\n", done.stderr


def test_a_package_imports_its_own_types_relatively(project) -> None:
    root = project(".types")
    (root / "src" / "__init__.py").touch()
    assert [workflow.name for workflow in load_program(load_project(root, environ={})).workflows] == ["shop"]


def test_a_relative_import_outside_of_a_package_is_told_how_to_be_written(project) -> None:
    with pytest.raises(ConfigError) as caught:
        load_program(load_project(project(".types"), environ={}))
    assert "from .types import Order" in str(caught.value)
    assert str(caught.value).endswith(
        "src is no package: write `from src.module import name`, or add an empty src/__init__.py"
    )


def test_a_module_named_like_one_of_the_standard_library_is_told_how_to_be_imported(project) -> None:
    with pytest.raises(ConfigError) as caught:
        load_program(load_project(project("types"), environ={}))
    assert str(caught.value).endswith("`types` is the standard library's: write `from src.types import name`")
