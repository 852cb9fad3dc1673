"""A project's directory to put files into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from everstep.config import Project, load_project
from everstep.core.errors import ConfigError


class ProjectDirectory:
    """`write` files, `load` them, or collect the `error` that loading them gives."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def load(
        self, environment: str | None = None, *, start: str = ".", environ: dict[str, str] | None = None, **flags: Any
    ) -> Project:
        return load_project(self.root / start, environment=environment, overrides=flags, environ=environ or {})

    def error(self, environment: str | None = None, **options: Any) -> str:
        with pytest.raises(ConfigError) as caught:
            self.load(environment, **options)
        return str(caught.value)


@pytest.fixture
def project(tmp_path: Path) -> ProjectDirectory:
    root = tmp_path / "shop"
    root.mkdir()
    return ProjectDirectory(root)
