"""The apps of `docs/how-to/frameworks.md`, asked as clients would."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .serving import served

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "frameworks.md"
APPS = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def load(name: str) -> Any:
        monkeypatch.chdir(tmp_path)
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(APPS[name], f"{name}.py", "exec"), vars(module))
        return module

    return load


@pytest.mark.parametrize("name", ["fastapi_shop", "litestar_shop"])
async def test_an_asgi_app_does_what_the_page_says(load, name: str):
    async with served(load(name).app) as http:
        assert (await http.post("/orders/a?items=2")).json() == {"id": "a", "output": "10 EUR"}
        again = await http.post("/orders/a?items=2")
        assert (again.status_code, again.json()["error"]["code"]) == (409, "instance.already_exists")
        assert (await http.get("/orders/a")).json() == {"status": "complete"}
        assert (await http.get("/orders/b")).status_code == 404


DJANGO = """
import asyncio, sys
sys.path.insert(0, {here!r})
from django_shop import app
from serving import served

async def main():
    async with served(app) as http:
        assert (await http.get("/orders/a/create?items=2")).json() == {{"id": "a", "output": "10 EUR"}}
        again = await http.get("/orders/a/create?items=2")
        assert (again.status_code, again.json()["error"]["code"]) == (409, "instance.already_exists")
        assert (await http.get("/orders/a")).json() == {{"status": "complete"}}
        assert (await http.get("/orders/b")).status_code == 404

asyncio.run(main())
"""


def test_the_django_app_does_what_the_page_says(tmp_path: Path):
    (tmp_path / "django_shop.py").write_text(APPS["django_shop"])
    (tmp_path / "ask.py").write_text(DJANGO.format(here=str(Path(__file__).parent)))  # one Django in a process
    ran = subprocess.run([sys.executable, "ask.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_the_flask_app_does_what_the_page_says(load):
    module = load("flask_shop")
    http = module.app.test_client()
    with module.es:
        assert http.post("/orders/a?items=2").json == {"id": "a", "output": "10 EUR"}
        again = http.post("/orders/a?items=2")
        assert (again.status_code, again.json["error"]["code"]) == (409, "instance.already_exists")
        assert http.get("/orders/a").json == {"status": "complete"}
        assert http.get("/orders/b").status_code == 404
