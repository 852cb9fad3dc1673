"""`everstep init`: what it writes, keeps and refuses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import everstep
from everstep.cli.main import main
from everstep.config import load_project


def init(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["init", *arguments])


def written(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


FILES = {"README.md", "everstep.toml", "src/index.py", ".gitignore", ".dev.vars.example"}
SHOP = FILES | {
    "pytest.ini",
    "requirements.txt",
    "requirements-dev.txt",
    "src/business_days.py",
    "src/orders.py",
    "src/services.py",
    "standins.py",
    "tests/test_orders.py",
}


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


def test_a_template_is_chosen_by_its_name(tmp_path: Path) -> None:
    done = init(str(tmp_path / "Corner Shop"), "--template", "order-pipeline")

    assert done.exit_code == 0
    assert written(tmp_path / "Corner Shop") == SHOP
    project = load_project(tmp_path / "Corner Shop", environ={})
    assert project.config.name == "corner-shop"
    assert [workflow.name for workflow in project.config.workflows] == ["order-pipeline"]
    assert (tmp_path / "Corner Shop" / "README.md").read_text().startswith("# corner-shop\n")
    assert "  cp .dev.vars.example .dev.vars\n" in done.stderr


def test_a_template_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path) -> None:
    done = init(str(tmp_path), "--template", "shop")

    assert done.exit_code == 2
    assert "'shop' is not one of 'hello', 'order-pipeline'" in done.stderr
    assert written(tmp_path) == set()


def test_no_template_is_mixed_with_modules_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/orders.py").write_text("mine")

    done = init(str(tmp_path), "--template", "order-pipeline")

    assert done.exit_code == 1
    assert "has src/orders.py already; nothing was written" in done.stderr
    assert written(tmp_path) == {"src/orders.py"}


def test_a_wheel_has_each_template_as_a_checkout_does(tmp_path: Path) -> None:
    # As an installed wheel is laid out: what the build forces in, beside the package's own files.
    init(str(tmp_path / "from-checkout"), "--template", "order-pipeline", "--name", "shop")
    root = Path(everstep.__file__).parents[2]
    wheel = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    installed = tmp_path / "installed"
    shutil.copytree(root / "src/everstep", installed / "everstep", ignore=shutil.ignore_patterns("__pycache__"))
    for source, target in wheel["force-include"].items():
        (installed / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / source, installed / target)

    subprocess.run(
        [sys.executable, "-m", "everstep", "init", "from-wheel", "--template", "order-pipeline", "--name", "shop"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        check=True,
    )

    made, expected = tmp_path / "from-wheel", tmp_path / "from-checkout"
    assert written(made) == written(expected) == SHOP
    assert all((made / file).read_text() == (expected / file).read_text() for file in SHOP)


@pytest.mark.parametrize("name", ["x y", 'a"b', "", "-a"])
def test_a_name_that_the_settings_would_refuse_is_refused(tmp_path: Path, name: str) -> None:
    done = init(str(tmp_path), "--name", name)

    assert done.exit_code == 2
    assert f"Invalid value for '--name': {name!r} is not allowed: use 1 to 255 characters" in done.stderr
    assert written(tmp_path) == set()


def test_a_name_that_was_given_is_the_apps(tmp_path: Path) -> None:
    assert init(str(tmp_path), "--name", "shop.api_2").exit_code == 0

    assert load_project(tmp_path, environ={}).config.name == "shop.api_2"
