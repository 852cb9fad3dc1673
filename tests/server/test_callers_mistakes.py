"""What callers get wrong is told them as theirs, with the place, and leaves what is right alone."""

from __future__ import annotations

from typing import Any

import pytest
from serving import API, Server

from everstep import InvalidOptionError

CREATE = f"{API}/echo/instances"

NO_INSTANCE = [
    ({"tags": "x"}, "request.invalid", "tags must be a list of words"),
    ({"tags": {"a": 1}}, "request.invalid", "tags must be a list of words"),
    ({"tags": 0}, "request.invalid", "tags must be a list of words"),
    ({"tags": [5]}, "instance.invalid_option", "a tag must be a string, got int"),
    ({"tags": ["x" * 3000]}, "instance.invalid_tag", "use 1 to 256 characters"),
    ({"instance_retention": 5}, "request.invalid", "instance_retention must be a JSON object with success_retention"),
    ({"instance_retention": {"success_retention": "1 dayz"}}, "instance.invalid_option", "'1 dayz' is not a duration"),
    ({"instance_retention": {"success_retention": "99999999999 years"}}, "instance.invalid_option", "at most"),
    ({"instance_retention": {"error_retention": -5}}, "request.invalid", "instance_retention.error_retention must be"),
    ({"instance_retention": {"error_retention": 1e300}}, "request.invalid", "a whole number of milliseconds from 0"),
    ({"instance_retention": {"error_retention": 10**30}}, "request.invalid", "a whole number of milliseconds from 0"),
    ({"instance_retention": {"success_retention": True}}, "request.invalid", "got True"),
    ({"instance_retention": {"success_retention": [1]}}, "request.invalid", "got [1]"),
    ({"instance_id": 5}, "request.invalid", "an instance id must be a string"),
    ({"instance_idd": "x"}, "request.invalid", "unknown key 'instance_idd', did you mean 'instance_id'?"),
    (5, "request.invalid", "the body must be a JSON object"),
]


@pytest.mark.parametrize(("body", "code", "message"), NO_INSTANCE)
async def test_an_instance_that_cannot_be_asked_for_is_refused(server: Server, body: Any, code: str, message: str):
    status, error = await server.refusal("POST", CREATE, json=body)
    assert (status, error["code"], error["everstep_code"]) == (400, 10010, code)
    assert message in error["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"from": {"name": "nap", "type": "zz"}}, "type 'zz' of a step is one of do, sleep, waitForEvent, workflow"),
        ({"from": {"name": "nap", "count": "1"}}, "count of a step is a whole number from 1, got '1'"),
        ({"from": {"name": "nap", "count": True}}, "count of a step is a whole number from 1, got True"),
        ({"from": {"name": 5}}, "from.name is missing"),
        ({"from": {}}, "from.name is missing"),
        ({"from": {"count": 2}}, "from.name is missing"),
        ({"from": []}, "from must be a JSON object with name, count, type"),
    ],
)
async def test_a_step_to_restart_from_that_cannot_be_changes_nothing(server: Server, body: Any, message: str):
    url = await server.create("nap", "n-1")
    before = await server.reached("nap", "n-1", "waiting")
    status, error = await server.refusal("PATCH", f"{url}/status", json={"status": "restart", **body})
    assert status == 400
    assert message in error["message"]
    assert (await server.result(url))["start"] == before["start"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"status": "pause", "rollback": True}, "rollback goes with the status 'terminate', not with 'pause'"),
        ({"status": "restart", "rollback": True}, "rollback goes with the status 'terminate', not with 'restart'"),
        ({"status": "terminate", "from": {"name": "nap"}}, "from goes with the status 'restart', not with 'terminate'"),
    ],
)
async def test_what_only_another_action_understands_changes_nothing(server: Server, body: Any, message: str):
    url = await server.create("nap", "n-1")
    before = await server.reached("nap", "n-1", "waiting")
    status, error = await server.refusal("PATCH", f"{url}/status", json=body)
    assert (status, error["everstep_code"]) == (400, "request.invalid")
    assert message in error["message"]
    after = await server.result(url)
    assert (after["start"], after["status"]) == (before["start"], "waiting")


async def test_rollback_is_true_or_false(server: Server):
    url = await server.create("nap", "n-1")
    status, error = await server.refusal("PATCH", f"{url}/status", json={"status": "terminate", "rollback": "yes"})
    assert (status, error["message"]) == (400, "rollback must be true or false, got 'yes'")
    assert (await server.result(url))["status"] != "terminated"


async def test_what_is_wrong_with_one_of_a_batch_leaves_the_others_alone(server: Server):
    batch = [
        {"instance_id": "b-1"},
        5,
        {"instance_id": "b-2", "tags": [5]},
        {"instance_id": "b-3", "unknown": 1},
        {"instance_id": "b-1"},
        {"instance_id": "b-4"},
    ]
    await server.create("echo", "b-4")
    answer = await server.http.post(f"{CREATE}/batch", json=[*batch, {"instance_id": "b-5"}])
    assert answer.status_code == 200
    assert [one["id"] for one in answer.json()["result"]] == ["b-1", "b-5"]
    told = [(one["index"], one["id"], one["code"], one["everstep_code"]) for one in answer.json()["messages"]]
    assert told == [
        (1, None, 10010, "request.invalid"),
        (2, "b-2", 10010, "instance.invalid_option"),
        (3, "b-3", 10010, "request.invalid"),
        (4, "b-1", 10415, "instance.duplicate_in_batch"),
        (5, "b-4", 10405, "instance.already_exists"),
    ]
    assert answer.json()["messages"][1]["message"] == "2: a tag must be a string, got int"


async def test_a_defect_met_by_one_of_a_batch_is_told_beside_what_was_created(server: Server, monkeypatch, caplog):
    whole = server.es.control.create

    async def broken(workflow: str, *, id: str, **options: Any) -> str:
        if id == "b-2":
            raise KeyError("oops")
        return await whole(workflow, id=id, **options)

    monkeypatch.setattr(server.es.control, "create", broken)
    answer = await server.http.post(f"{CREATE}/batch", json=[{"instance_id": f"b-{number}"} for number in (1, 2, 3)])
    assert [one["id"] for one in answer.json()["result"]] == ["b-1", "b-3"]
    assert [(one["index"], one["everstep_code"]) for one in answer.json()["messages"]] == [(1, "internal")]
    assert "KeyError" in caplog.text


@pytest.mark.parametrize("options", [{"tags": "x"}, {"tags": 5}, {"tags": {"a": 1}}, {"tags": [5]}, {"retention": 5}])
async def test_in_python_it_is_a_type_error_and_a_value_error_with_a_code(server: Server, options: dict[str, Any]):
    with pytest.raises(InvalidOptionError) as caught:
        await server.es.workflow("echo").create(**options)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)
    assert caught.value.code == "instance.invalid_option"
