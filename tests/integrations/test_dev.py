"""Programs of web frameworks under `everstep dev`, which serves them with the env of their own engine."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from .dev import running_dev

DJANGO_SHOP = Path(__file__).parents[2] / "examples" / "django_shop"

FASTAPI = """
import everstep
from everstep import Everstep, WorkflowEntrypoint, env
from everstep.integrations.starlette import exception_handlers
from fastapi import FastAPI


class Order(WorkflowEntrypoint):
    async def run(self, event, step):
        return await step.do("price", lambda: f"10 {self.env.CURRENCY}")


class NotRegistered(WorkflowEntrypoint):
    async def run(self, event, step): ...


es = Everstep([Order], database="sqlite:///shop.db", env={"CURRENCY": "EUR", "KEY": "of the program"})
app = FastAPI(lifespan=everstep.lifespan(es), exception_handlers=exception_handlers)


@app.get("/")
async def index():
    order = await es.workflow(Order).get_or_create(id="a")
    return [env.CURRENCY, es.env.KEY, await order.result(), (await (await env.ORDER.get("a")).status()).status]


@app.get("/{id}")
async def show(id: str):
    await es.workflow("order").get(id)
"""


def test_the_django_example_is_served_and_its_plain_views_use_the_engine_of_dev(tmp_path: Path):
    folder = tmp_path / "shop"
    shutil.copytree(DJANGO_SHOP, folder, ignore=shutil.ignore_patterns("__pycache__", ".everstep"))
    with running_dev(folder) as http:
        assert http.post("/orders/a/create?items=2").json() == {"id": "a"}
        again = http.post("/orders/a/create?items=2")
        assert (again.status_code, again.json()["error"]["code"]) == (409, "instance.already_exists")
        assert http.get("/orders/b").status_code == 404
        assert http.get("/client/v4/accounts/local/workflows/order/instances/a").json()["success"]
    with running_dev(folder) as http:  # what waited goes on in the next life
        assert http.post("/orders/a/approve").json() == {"output": "10 EUR, approved"}
        assert http.get("/orders/a").json() == {"status": "complete", "output": "10 EUR, approved"}


def test_the_app_sees_the_env_of_its_own_engine_before_what_files_say(tmp_path: Path):
    (tmp_path / "shop.py").write_text(FASTAPI)
    (tmp_path / "everstep.toml").write_text('main = "shop.py"\n[vars]\nKEY = "of the file"\n')
    with running_dev(tmp_path) as http:
        assert http.get("/").json() == ["EUR", "of the program", "10 EUR", "complete"]
        assert http.get("/b").status_code == 404
    with running_dev(tmp_path, "--var", "KEY:of the flag") as http:
        assert http.get("/").json() == ["EUR", "of the flag", "10 EUR", "complete"]
    said = (tmp_path / "dev.log").read_text()
    assert "the program's own Everstep keeps state in shop.db: not so under everstep dev" in said
    assert not (tmp_path / "shop.db").exists()
    assert "not-registered" not in said


@pytest.mark.parametrize("framework", ["flask", "django"])
def test_an_app_of_wsgi_is_refused_with_the_way_out(tmp_path: Path, framework: str):
    made = {
        "flask": "from flask import Flask\napp = Flask(__name__)\n",
        "django": "from django.conf import settings\nsettings.configure()\n"
        "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n",
    }
    (tmp_path / "wsgi_app.py").write_text(made[framework])
    with pytest.raises(AssertionError, match="is a WSGI app"), running_dev(tmp_path, "wsgi_app.py"):
        pass


TROUBLE = """
import logging, time
from everstep import WorkflowEntrypoint, env
{logging}


class Charge(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.do("block", block)
        await step.do("charge", {{"retries": {{"limit": 0}}}}, refuse)


async def block():
    time.sleep(1.8)


def refuse():
    raise ConnectionError("503 from the bank")


async def fetch(request, env):
    from everstep import Response
    try:
        await (await env.CHARGE.create(id="a")).result()
    except ConnectionError:
        return Response("refused")
"""
OWN_LOGGING = (
    "logging.basicConfig(format='mine %(name)s %(message)s')\n"
    "logging.getLogger().addHandler(logging.FileHandler('app.log'))"
)


@pytest.mark.parametrize("own", ["", OWN_LOGGING])
def test_what_goes_wrong_has_one_line_in_the_terminal_and_a_record_in_the_apps_log(tmp_path: Path, own: str):
    (tmp_path / "trouble.py").write_text(TROUBLE.format(logging=own))
    with running_dev(tmp_path, "trouble.py") as http:
        assert http.get("/").text == "refused"
    said = (tmp_path / "dev.log").read_text()
    [failed] = [line for line in said.splitlines() if "attempt 1/1 failed" in line]
    [blocked] = [line for line in said.splitlines() if "blocked" in line and "in block." in line]
    clock = r"\d\d:\d\d:\d\d\.\d{3}"
    assert re.fullmatch(
        rf"{clock} charge/a  charge  attempt 1/1 failed: .*503 from the bank \(File .*\) · no attempt left", failed
    )
    assert re.match("mine everstep.loop the" if own else rf"{clock} ! the", blocked)
    assert re.search(r"/trouble.py:\d+ in block\. Make the step", blocked)
    if own:
        logged = (tmp_path / "app.log").read_text()
        assert "attempt 1/1 failed" in logged
        assert "the event loop has been blocked" in logged
