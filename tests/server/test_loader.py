"""What `everstep dev` says of a program when it has loaded it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from everstep.config import load_project
from everstep.server.loader import load_program

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
