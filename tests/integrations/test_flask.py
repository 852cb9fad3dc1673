"""Flask, and other code without an event loop: an engine in a thread, and bindings that wait."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from everstep import (
    ConfigError,
    EngineStoppedError,
    Env,
    InstanceExistsError,
    SyncEverstep,
    SyncInstance,
    SyncWorkflow,
    Workflow,
    WorkflowEntrypoint,
    WorkflowInstance,
    WorkflowNotFoundError,
)
from everstep.integrations.flask import answer_errors

MEMORY = "sqlite:///:memory:"


class ShopEnv(Env):
    CURRENCY: str


class Order(WorkflowEntrypoint[ShopEnv, dict]):
    async def run(self, event, step):
        decision = await step.wait_for_event("approval", "order.approval", timeout="1 day")
        return f"{event.payload['total']} {self.env.CURRENCY}: {decision.payload}"


class Nap(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.sleep("nap", "1 day")


class Asks(WorkflowEntrypoint):
    """Uses the engine that runs it: in a thread that is fine, on its loop it would wait for itself."""

    es: SyncEverstep

    async def run(self, event, step):
        found = await step.do("in a thread", self.find)
        try:
            self.es.workflow("asks").get("a")
        except RuntimeError as error:
            return found, str(error)

    def find(self):
        return self.es.workflow("asks").get("a").id


@pytest.fixture
def es() -> Iterator[SyncEverstep]:
    with SyncEverstep([Order, Nap, Asks], database=MEMORY, env={"CURRENCY": "EUR"}) as es:
        yield es


@pytest.fixture
def http(es: SyncEverstep) -> FlaskClient:
    app = Flask(__name__)
    answer_errors(app)

    @app.post("/orders/<id>")
    def create(id: str) -> dict[str, Any]:
        return {"id": es.workflow(Order).create(id=id, params=request.json).id}

    @app.post("/orders/<id>/approve")
    def approve(id: str) -> dict[str, Any]:
        order = es.workflow(Order).get(id)
        order.send_event(type="order.approval", payload="approved")
        return {"output": order.result("10 seconds")}

    @app.get("/orders/<id>")
    def show(id: str) -> dict[str, Any]:
        return {"status": es.workflow(Order).get(id).status().status}

    return app.test_client()


def test_views_of_flask_create_ask_and_wait(http: FlaskClient):
    assert http.post("/orders/a", json={"total": 10}).json == {"id": "a"}
    assert http.get("/orders/a").json["status"] in {"queued", "running", "waiting"}
    assert http.post("/orders/a/approve").json == {"output": "10 EUR: approved"}
    assert http.get("/orders/a").json == {"status": "complete"}


def test_errors_are_answered_with_their_status(http: FlaskClient):
    http.post("/orders/a", json={"total": 10})
    again = http.post("/orders/a", json={"total": 10})
    assert (again.status_code, again.json["error"]["code"]) == (409, "instance.already_exists")
    assert http.get("/orders/nobody").status_code == 404


def test_threads_share_the_engine_and_one_of_them_creates(es: SyncEverstep):
    outcomes: list[object] = []

    def create() -> None:
        try:
            outcomes.append(es.workflow(Nap).create(id="same"))
        except InstanceExistsError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(one).__name__ for one in outcomes) == ["InstanceExistsError"] * 7 + ["SyncInstance"]


def test_batches_and_pages_have_instances_that_wait(es: SyncEverstep):
    naps = es.workflow(Nap)
    made = naps.create_batch([{"id": "a"}, {"id": "a"}])
    [error] = made.errors
    assert ([one.id for one in made.created], error.code) == (["a"], "instance.duplicate_in_batch")
    [listed] = naps.list()
    listed.terminate()
    assert made.created[0].status().status == "terminated"
    assert [event.type for event in listed.subscribe()][-1] == "workflow_terminated"
    assert naps.delete_batch(["a"]).deleted == ["a"]


@pytest.mark.parametrize(("facade", "inner"), [(SyncInstance, WorkflowInstance), (SyncWorkflow, Workflow)])
def test_a_facade_has_every_method_and_argument_of_what_is_behind_it(facade: type, inner: type):
    for name, method in vars(inner).items():
        if not name.startswith("_") and callable(method):
            behind, before = inspect.signature(method), inspect.signature(getattr(facade, name))
            assert list(before.parameters.values()) == list(behind.parameters.values()), name


def test_a_step_in_a_thread_may_use_it_and_the_engines_loop_may_not(es: SyncEverstep):
    Asks.es = es
    found, refusal = es.workflow(Asks).create(id="a").result("10 seconds")
    assert found == "a"
    assert "block the engine's own event loop" in refusal


def test_what_keeps_the_engine_from_starting_is_raised_where_it_is_used():
    with pytest.raises(ConfigError, match="CURRENCY"):
        SyncEverstep([Order], database=MEMORY).workflow(Order)


def test_a_workflow_it_does_not_run_is_refused(es: SyncEverstep):
    with pytest.raises(WorkflowNotFoundError):
        es.workflow("nope")


def test_after_its_end_it_is_not_started_by_accident(es: SyncEverstep):
    nap = es.workflow(Nap).create(id="a")
    es.close()
    with pytest.raises(EngineStoppedError, match=r"call start\(\)"):
        nap.status()


def test_who_waits_for_a_result_while_it_stops_is_told(es: SyncEverstep):
    nap = es.workflow(Nap).create(id="a")
    told: list[BaseException] = []

    def wait() -> None:
        try:
            nap.result()
        except EngineStoppedError as error:
            told.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not es._es.control._engine.watchers.watched():
        pass
    es.close()
    waiting.join(10)
    assert len(told) == 1


LIFE = """
from test_flask_life import Greet
from everstep import SyncEverstep
es = SyncEverstep([Greet], database="sqlite:///state.db")
print(es.workflow(Greet).get_or_create(id="a").result("1 minute"))
"""
WORKFLOW = """
from everstep import WorkflowEntrypoint
class Greet(WorkflowEntrypoint):
    async def run(self, event, step):
        return await step.do("greet", lambda: "hello")
"""


def test_a_process_ends_by_itself_and_gives_everything_back(tmp_path: Path):
    (tmp_path / "test_flask_life.py").write_text(WORKFLOW)
    (tmp_path / "life.py").write_text(LIFE)
    for _ in range(2):
        ran = subprocess.run(
            [sys.executable, "-W", "error", "life.py"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "hello\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_is_told_to_start_its_own(es: SyncEverstep):
    es.workflow(Nap)
    es._process += 1  # as it looks from a child: a process with threads is not forked in a test
    with pytest.raises(RuntimeError, match="start it in each process"):
        es.workflow(Nap)
    es._process -= 1
