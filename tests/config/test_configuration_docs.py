"""The page about configuration tells the truth."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from everstep.config import load_secrets
from everstep.config.settings import settings

from .conftest import ProjectDirectory

PAGE = (Path(__file__).parents[2] / "docs/reference/configuration.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
FILES = [(text.split("\n", 1)[0].lstrip("#/ "), text) for kind, text in BLOCKS if kind in {"toml", "jsonc"}]
MISTAKES = {
    "2 problems": 'name = "shop"\n\n[[workflows]]\nclass-name = "OrderPipeline"\n',
    "everstep.toml:2:8": 'name = "a"\nmain = = "b"\n',
}


def test_the_page_shows_each_kind_of_file() -> None:
    assert [name for name, _ in FILES] == ["everstep.toml", "pyproject.toml", "wrangler.jsonc"]


@pytest.mark.parametrize(("name", "text"), FILES, ids=[name for name, _ in FILES])
def test_every_file_shown_is_valid(project: ProjectDirectory, name: str, text: str) -> None:
    project.write(name, text)
    project.write("src/index.py", "")
    loaded = project.load()
    assert loaded.file is not None
    assert loaded.config.workflows[0].binding == "ORDER_PIPELINE"
    assert [warning for warning in loaded.warnings if "is used instead" not in warning] == []


def test_the_environment_shown_is_complete(project: ProjectDirectory) -> None:
    project.write(*FILES[0])
    loaded = project.load("production")
    assert (loaded.config.vars, loaded.warnings) == ({"REGION": "iad"}, [])


def test_the_variables_shown_are_valid(project: ProjectDirectory) -> None:
    shown = next(text for kind, text in BLOCKS if kind == "sh" and "EVERSTEP_LEASE" in text)
    project.write(".env", shown)
    config = project.load(environ=dict(load_secrets(project.root))).config
    assert (config.lease, config.triggers.crons) == ("30 seconds", ["*/15 * * * *"])


def test_the_secrets_shown_are_valid(project: ProjectDirectory) -> None:
    shown = next(text for kind, text in BLOCKS if kind == "sh" and ".dev.vars" in text)
    project.write(".dev.vars", shown)
    assert set(load_secrets(project.root)) == {"PAYMENT_API_KEY", "INVENTORY_API_URL"}


@pytest.mark.parametrize("shown", [text for kind, text in BLOCKS if kind == "text"])
def test_every_error_shown_is_the_one_given(project: ProjectDirectory, shown: str) -> None:
    mistake = next(text for start, text in MISTAKES.items() if shown.startswith(start))
    project.write("everstep.toml", mistake)
    assert project.error() == shown.rstrip("\n")


@pytest.mark.parametrize("setting", settings(), ids=lambda setting: setting.key)
def test_every_key_has_its_row(setting: object) -> None:
    key, kind = setting.key, setting.type  # type: ignore[attr-defined]
    rows = [line.split(" | ") for line in PAGE.split("\n") if line.startswith(f"| `{key}` | ")]
    assert len(rows) == 1, f"{key} has {len(rows)} rows"
    if key != "env":
        assert rows[0][1] == re.sub(r"\ba ", "", kind)


def test_every_row_is_about_a_key() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \|", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted(setting.key for setting in settings())
