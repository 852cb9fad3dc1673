"""`everstep init`: what it writes, keeps and refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from everstep.cli.main import main
from everstep.config import load_project


def init(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["init", *arguments])


def written(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


FILES = {"README.md", "everstep.toml", "src/index.py", ".gitignore", ".dev.vars.example"}


def test_a_new_directory_becomes_a_project_of_its_name(tmp_path: Path) -> None:
    done = init(str(tmp_path / "My Shop"))

    assert (done.exit_code, done.stdout) == (0, "")
    assert written(tmp_path / "My Shop") == FILES
    assert load_project(tmp_path / "My Shop", environ={}).config.name == "my-shop"
    assert "kept" not in done.stderr


def test_files_that_exist_are_kept_and_named(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / ".gitignore").write_text("__pycache__/\n.venv/\n")

    done = init(str(tmp_path))

    assert done.exit_code == 0
    assert (tmp_path / "README.md").read_text() == "mine"
    assert (tmp_path / ".gitignore").read_text() == "__pycache__/\n.venv/\n"
    assert written(tmp_path) == FILES
    assert "  README.md (kept as it was)\n" in done.stderr
    assert "  .gitignore (kept as it was)\n" in done.stderr
    assert "  everstep.toml\n" in done.stderr
    assert "Add to .gitignore: .everstep/ .dev.vars\n" in done.stderr


@pytest.mark.parametrize("file", ["everstep.toml", "src/index.py"])
def test_nothing_is_written_beside_somebody_elses_program_or_settings(tmp_path: Path, file: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("mine")

    done = init(str(tmp_path))

    assert done.exit_code == 1
    assert f"{tmp_path} has {file} already; nothing was written" in done.stderr
    assert written(tmp_path) == {file}


@pytest.mark.parametrize("name", ["x y", 'a"b', "", "-a"])
def test_a_name_that_the_settings_would_refuse_is_refused(tmp_path: Path, name: str) -> None:
    done = init(str(tmp_path), "--name", name)

    assert done.exit_code == 2
    assert f"Invalid value for '--name': {name!r} is not allowed: use 1 to 255 characters" in done.stderr
    assert written(tmp_path) == set()


def test_a_name_that_was_given_is_the_apps(tmp_path: Path) -> None:
    assert init(str(tmp_path), "--name", "shop.api_2").exit_code == 0

    assert load_project(tmp_path, environ={}).config.name == "shop.api_2"
