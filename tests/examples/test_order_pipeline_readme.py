"""The tutorial shows every file of its project whole, and they are the example's and the template's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from playground import HERE as EXAMPLE
from tutorial_page import FILES, README

from everstep.cli.main import main

NOT_SHOWN = {"README.md", "requirements.txt", "requirements-dev.txt"}
"""What the template has besides: the page installs by name what these name."""
OF_THE_DEMO = {"README.md", "demo.py", "playground.py", "timeline.py", "ruff.toml"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("made") / "order-pipeline-shop"
    assert CliRunner().invoke(main, ["init", str(folder), "--template", "order-pipeline"]).exit_code == 0
    return contents(folder)


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("file", FILES)
def test_every_file_is_shown_whole_and_as_the_example_has_it(file: str) -> None:
    assert FILES[file] == (EXAMPLE / file).read_text(encoding="utf-8")


def test_what_init_makes_is_what_the_page_shows(template: dict[str, str]) -> None:
    assert {file: text for file, text in template.items() if file not in NOT_SHOWN} == FILES


def test_the_template_is_the_example_without_its_demo(template: dict[str, str]) -> None:
    tracked = {*EXAMPLE.glob("*.*"), *EXAMPLE.glob("src/*.py"), *EXAMPLE.glob("tests/*.py"), *EXAMPLE.glob(".*")}
    files = {path.relative_to(EXAMPLE).as_posix() for path in tracked if path.is_file()}

    assert files - OF_THE_DEMO - {".dev.vars"} == template.keys() - {"README.md"}
    for file in template.keys() - {"README.md"}:
        assert template[file] == (EXAMPLE / file).read_text(encoding="utf-8")


def test_every_file_it_names_exists() -> None:
    named = set(re.findall(r"`((?:src/|tests/)?[\w.]+\.(?:py|toml|txt|example))`", README))

    assert not {file for file in named if not (EXAMPLE / file).exists()}


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", README):
        assert (EXAMPLE / target).exists(), target
