"""The control API: every route's shape, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from serving import API, Server

STATUSES = {
    "queued", "running", "waiting", "paused", "waitingForPause", "rollingBack", "complete", "errored", "terminated",
}  # fmt: skip


# Workflows


async def test_workflows_are_listed_with_counts_of_every_status(server: Server):
    await server.create("nap", "n-1")
    await server.reached("nap", "n-1", "waiting")

    answer = (await server.http.get(API)).json()

    assert (answer["success"], answer["errors"], answer["messages"]) == (True, [], [])
    by_name = {one["name"]: one for one in answer["result"]}
    assert list(by_name) == [
        "greet",
        "echo",
        "approval",
        "nap",
        "flaky",
        "nasty",
        "outputs",
        "family",
        "many",
        "nested",
    ]
    nap = by_name["nap"]
    assert nap["instances"] == {**dict.fromkeys(STATUSES, 0), "waiting": 1}
    assert (nap["id"], nap["class_name"], nap["script_name"]) == ("nap", "Nap", "shop")
    assert nap["created_on"] is None
    assert answer["result_info"] == {"count": 10, "page": 1, "per_page": 25, "total_count": 10}


async def test_workflows_are_searched_and_paged(server: Server):
    assert [one["name"] for one in await server.result(f"{API}?search=NA")] == ["nap", "nasty"]
    assert [one["name"] for one in await server.result(f"{API}?per_page=3&page=3")] == ["outputs", "family", "many"]
    assert await server.result(f"{API}?page=2") == []


async def test_one_workflow_is_shown(server: Server):
    shown = await server.result(f"{API}/greet")
    assert (shown["name"], set(shown["instances"])) == ("greet", STATUSES)


async def test_any_account_and_a_slash_at_the_end_are_accepted(server: Server):
    assert await server.result("/client/v4/accounts/0123456789abcdef/workflows/greet/instances/") == []


@pytest.mark.parametrize("path", ["", "/instances", "/instances/i-1", "/instances/i-1/step?name=a-1"])
async def test_an_unknown_workflow_is_not_found_with_the_nearest_name(server: Server, path: str):
    status, error = await server.refusal("GET", f"{API}/gret{path}")
    assert (status, error["code"], error["everstep_code"]) == (404, 10200, "workflow.not_found")
    assert "did you mean 'greet'?" in error["message"]


# Creating


async def test_params_are_a_json_encoded_string_or_a_value(server: Server):
    answer = await server.http.post(f"{API}/echo/instances", json={"instance_id": "a", "params": '{"total": 3}'})
    created = answer.json()["result"]
    assert created.pop("status") in {"running", "complete"}  # it may have ended meanwhile
    assert created == {"id": "a", "version_id": "v1", "workflow_id": "echo", "trigger_source": "api"}
    await server.create("echo", "b", {"total": 3})
    await server.create("echo", "c", [1])

    outputs = [(await server.reached("echo", id, "complete"))["output"] for id in "abc"]
    assert outputs == [{"total": 3}, {"total": 3}, [1]]


async def test_an_id_is_given_out_when_none_is_asked_for(server: Server):
    for request in ({"json": {}}, {}, {"json": {"instance_id": None, "params": None}}):
        answer = await server.http.post(f"{API}/echo/instances", **request)
        assert len(answer.json()["result"]["id"]) == 26


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ('{"params":\n {"a": }}', 400, "the body is not JSON: Expecting value at line 2, column 8"),
        (b'{"params": "\xff"}', 400, "the body is not UTF-8: byte 12 is 0xff"),
        ('{"params": "{oops"}', 400, "params (a JSON-encoded string) is not JSON: "),
        ('{"params": NaN}', 400, "NaN is no JSON value"),
        ('{"params": ' + "9" * 5000 + "}", 400, "the body is not JSON that can be read here"),
        ("[" * 100_000, 400, "nested too deeply"),
        ("[]", 400, "the body must be a JSON object with instance_id, params"),
        ('{"instance_ids": "a"}', 400, "unknown key 'instance_ids', did you mean 'instance_id'?"),
        ('{"instance_id": "a b"}', 400, "instance id 'a b' is not allowed: use 1 to 100 characters"),
        ('{"instance_id": 7}', 400, "an instance id must be a string, got int"),
        ('{"params": {"name": 7}}', 400, "name"),
        (json.dumps({"params": {"name": "x" * 1_100_000}}), 413, "bytes as JSON, more than the limit"),
        ('{"params": "' + "x" * (9 << 20) + '"}', 413, "the body has more than 8,388,608 bytes"),
    ],
)
async def test_what_cannot_be_created_is_refused_with_the_reason(server: Server, body: Any, status: int, message: str):
    answered, error = await server.refusal("POST", f"{API}/greet/instances", content=body)
    assert answered == status
    assert message in error["message"]
    assert await server.result(f"{API}/greet/instances") == []


async def test_an_id_that_is_taken_is_a_conflict(server: Server):
    await server.create("nap", "n-1")
    status, error = await server.refusal("POST", f"{API}/nap/instances", json={"instance_id": "n-1"})
    assert (status, error["code"], error["everstep_code"]) == (409, 10405, "instance.already_exists")


async def test_what_the_original_knows_but_has_no_effect_is_said(server: Server):
    body = {"location_hint": "weur", "instance_retention": {"success_retention": "1 day"}}
    answer = (await server.http.post(f"{API}/echo/instances", json=body)).json()
    assert [one["message"] for one in answer["messages"]] == [
        "location_hint has no effect here",
    ]  # fmt: skip


async def test_numbers_beyond_64_bits_keep_their_digits(server: Server):
    await server.create("echo", "big", {"n": 2**80})
    assert (await server.reached("echo", "big", "complete"))["output"] == {"n": 2**80}


# Listing


async def test_instances_are_listed_newest_first(server: Server):
    for number in range(3):
        await server.create("nap", f"n-{number}")
    await server.reached("nap", "n-0", "waiting")

    answer = (await server.http.get(f"{API}/nap/instances")).json()

    assert [one["id"] for one in answer["result"]] == ["n-2", "n-1", "n-0"]
    row = answer["result"][-1]
    assert set(row) == {
        "id", "status", "created_on", "started_on", "ended_on", "modified_on", "version_id", "workflow_id",
        "trigger_source", "parent",
    }  # fmt: skip
    assert (row["status"], row["ended_on"], row["trigger_source"]) == ("waiting", None, "api")
    assert row["created_on"].endswith("Z")
    info = answer["result_info"]
    assert (info["count"], info["per_page"], info["total_count"], info["cursor"]) == (3, 25, 3, None)
    assert set(info["status_counts"]) == STATUSES


async def test_instances_are_paged_by_cursor_and_by_page(server: Server):
    for number in range(5):
        await server.create("echo", f"e-{number}")
    url = f"{API}/echo/instances?per_page=2"

    cursors, by_cursor = [""], []
    while cursors[-1] is not None:
        answer = (await server.http.get(url + (f"&cursor={cursors[-1]}" if cursors[-1] else ""))).json()
        by_cursor.append([one["id"] for one in answer["result"]])
        cursors.append(answer["result_info"]["cursor"])
    by_page = [[one["id"] for one in await server.result(f"{url}&page={page}")] for page in (1, 2, 3, 4)]

    assert by_cursor == [["e-4", "e-3"], ["e-2", "e-1"], ["e-0"]]
    assert by_page == [*by_cursor, []]


async def test_a_status_filters_the_list_and_its_total(server: Server):
    await server.create("echo", "done")
    await server.reached("echo", "done", "complete")
    answer = (await server.http.get(f"{API}/echo/instances?status=complete")).json()
    assert [one["id"] for one in answer["result"]] == ["done"]
    assert answer["result_info"]["total_count"] == 1
    assert await server.result(f"{API}/echo/instances?status=errored") == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("per_page=101", "per_page must be from 1 to 100, got 101"),
        ("per_page=0", "per_page must be from 1 to 100, got 0"),
        ("per_page=two", "per_page must be a whole number, from 1 to 100, got 'two'"),
        ("cursor=abc", "cursor must be a whole number"),
        ("page=401", "page 401 is beyond the first 10000 instances: use cursor"),
        ("page=1&cursor=1", "page and cursor exclude each other"),
        ("status=compleet", "status must be one of queued, running, waiting"),
        ("status=compleet", "did you mean 'complete'?"),
        ("direction=asc", "direction must be one of desc"),
        ("date_start=2026-01-01", "date_start is not supported here"),
    ],
)
async def test_a_bad_query_is_refused(server: Server, query: str, message: str):
    status, error = await server.refusal("GET", f"{API}/echo/instances?{query}")
    assert (status, error["code"]) == (400, 10010)
    assert message in error["message"]


# One instance


async def test_a_complete_instance_shows_what_it_did(server: Server):
    await server.create("greet", "g-1", {"name": "Bob"})
    shown = await server.reached("greet", "g-1", "complete")

    assert set(shown) == {
        "id", "status", "params", "output", "error", "rollback", "queued", "start", "end", "success", "step_count",
        "steps", "trigger", "versionId", "current_step", "waiting_for", "wake_at", "elapsed_ms", "attempt",
        "parent", "children", "tags",
    }  # fmt: skip
    assert (shown["params"], shown["output"]) == ({"name": "Bob"}, {"greeting": "hello Bob"})
    assert (shown["success"], shown["trigger"], shown["versionId"]) == (True, {"source": "api"}, "v1")
    [step] = shown["steps"]
    [attempt] = step.pop("attempts")
    assert set(attempt) == {"attempt", "start", "end", "success", "error", "retry_at"}
    assert (attempt["success"], attempt["error"]) == (True, None)
    assert step["config"] == {
        "retries": {"limit": 5, "delay": "10 seconds", "backoff": "exponential"}, "timeout": "10 minutes",
    }  # fmt: skip
    assert (step["type"], step["name"], step["success"]) == ("step", "greet-1", True)
    assert (step["output"], step["seq"], step["status"]) == ({"greeting": "hello Bob"}, 1, "complete")


async def test_a_waiting_instance_shows_what_it_waits_for(server: Server):
    await server.create("approval", "a-1")
    shown = await server.reached("approval", "a-1", "waiting")

    assert shown["current_step"] == "wait-for-manager"
    assert shown["waiting_for"] == {"kind": "event", "step": "wait-for-manager", "type": "order.approval"}
    assert (shown["success"], shown["end"], shown["output"]) == (None, None, None)
    [step] = shown["steps"]
    assert (step["type"], step["finished"], step["event_type"]) == ("waitForEvent", False, "order.approval")
    assert (step["end"], step["wake_at"]) == (None, shown["wake_at"])


async def test_a_sleeping_instance_shows_when_it_wakes(server: Server):
    await server.create("nap", "n-1")
    [step] = (await server.reached("nap", "n-1", "waiting"))["steps"]
    assert (step["type"], step["name"], step["finished"], step["end"]) == ("sleep", "nap-1", False, None)
    assert step["wake_at"] > step["start"]
    assert not step.keys() & {"output", "config", "attempts", "success"}


async def test_a_retrying_instance_shows_its_attempts_and_the_next(server: Server):
    await server.create("flaky", "f-1")
    shown = await server.reached("flaky", "f-1", "waiting")
    assert (shown["current_step"], shown["attempt"]) == ("charge", 1)
    assert shown["waiting_for"]["kind"] == "retry"
    [step] = shown["steps"]
    [attempt] = step["attempts"]
    assert (step["success"], step["status"], attempt["success"]) == (None, "retrying", False)
    assert (attempt["error"]["name"], attempt["error"]["message"]) == ("ConnectionError", "503 from the bank")
    assert attempt["retry_at"] == step["wake_at"] == shown["wake_at"]


async def test_an_errored_instance_shows_its_error_with_the_traceback(server: Server):
    await server.create("nasty", "x-1")
    shown = await server.reached("nasty", "x-1", "errored")
    assert shown["success"] is False
    assert shown["error"]["name"] == "NonRetryableError"
    assert "fail_for_good" in shown["error"]["traceback"]
    assert shown["steps"][1]["success"] is False


async def test_sensitive_outputs_stay_hidden_and_long_ones_are_cut_and_marked(server: Server):
    url = await server.create("outputs", "o-1")
    steps = (await server.reached("outputs", "o-1", "complete"))["steps"]
    assert [step["name"] for step in steps] == ["secret-1", "long-1", "twice-1", "twice-2"]
    assert steps[0]["output"] == "[REDACTED]"
    assert steps[1]["output"] == '"' + "x" * 1023 + "[truncated output]"
    assert steps[1]["output_truncated"]

    assert "hunter2" not in (await server.http.get(url)).text
    assert (await server.result(f"{url}/step?name=secret-1&type=step"))["output"] == "[REDACTED]"
    assert (await server.result(f"{url}/step?name=secret-1&attempt=1"))["output"] == "[REDACTED]"
    whole = await server.result(f"{url}/step?name=long-1&type=step")
    assert whole == {"status": "complete", "error": None, "output": "x" * 5000}


async def test_steps_can_be_left_out_or_reversed(server: Server):
    url = await server.create("outputs", "o-1")
    await server.reached("outputs", "o-1", "complete")
    simple = await server.result(f"{url}?simple=true")
    assert (simple["steps"], simple["step_count"]) == ([], 4)
    assert [step["seq"] for step in (await server.result(f"{url}?order=desc"))["steps"]] == [4, 3, 2, 1]


@pytest.mark.parametrize(
    ("order", "pages"), [("asc", [[1, 2, 3], [4, 5, 6], [7, 8]]), ("desc", [[8, 7, 6], [5, 4, 3], [2, 1]])]
)
async def test_steps_come_by_pages_where_that_is_asked_for(server: Server, order: str, pages: list[list[int]]):
    url = await server.create("many", "m-1", 7)
    await server.reached("many", "m-1", "waiting")
    asked: str | None = f"{url}?order={order}&per_page=3"
    found = []
    while asked is not None:
        answer = (await server.http.get(asked)).json()
        found.append([step["seq"] for step in answer["result"]["steps"]])
        info = answer["result_info"]
        assert (info["count"], info["per_page"], info["total_count"]) == (len(found[-1]), 3, 8)
        asked = f"{url}?order={order}&per_page=3&cursor={info['cursor']}" if info["cursor"] else None
    assert found == pages

    rest = (await server.http.get(f"{url}?cursor=5")).json()
    assert [step["seq"] for step in rest["result"]["steps"]] == [6, 7, 8]
    assert rest["result_info"] == {"count": 3, "per_page": 100, "cursor": None, "total_count": 8}


async def test_all_steps_come_unless_a_page_is_asked_for(server: Server):
    url = await server.create("many", "m-1", 120)
    await server.reached("many", "m-1", "waiting")
    answer = (await server.http.get(url)).json()
    assert [step["seq"] for step in answer["result"]["steps"]] == list(range(1, 122))
    assert "result_info" not in answer


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("page=2", "page is not supported here"),
        ("per_page=0", "per_page must be from 1 to 1000"),
        ("per_page=1001", "per_page must be from 1 to 1000"),
        ("cursor=x", "cursor must be a whole number"),
    ],
)
async def test_a_page_of_steps_that_cannot_be_is_refused(server: Server, query: str, said: str):
    url = await server.create("echo", "e-1")
    status, error = await server.refusal("GET", f"{url}?{query}")
    assert (status, error["code"]) == (400, 10010)
    assert said in error["message"]


async def test_a_child_names_its_parent_in_lists(server: Server):
    await server.create("family", "f-1")
    await server.reached("family", "f-1", "errored")
    [child] = await server.result(f"{API}/echo/instances")
    assert child["parent"] == {"workflow": "family", "id": "f-1"}
    [parent] = await server.result(f"{API}/family/instances")
    assert parent["parent"] is None


async def test_a_step_is_addressed_by_name_type_and_attempt(server: Server):
    url = await server.create("approval", "a-1")
    await server.reached("approval", "a-1", "waiting")
    step = await server.result(f"{url}/step?name=wait-for-manager-1&type=waitForEvent")
    assert step == {"status": "waiting", "error": None, "output": None, "event_type": "order.approval"}

    url = await server.create("flaky", "f-1")
    await server.reached("flaky", "f-1", "waiting")
    attempt = await server.result(f"{url}/step?name=charge-1&attempt=1")
    assert (attempt["status"], attempt["error"]["message"]) == ("errored", "503 from the bank")


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("", 400, "name is missing"),
        ("?name=twice-3", 404, "no step 'twice-3' of type 'step', did you mean 'twice-"),
        ("?name=twice-1&type=sleep", 404, "no step 'twice-1' of type 'sleep'"),
        ("?name=twice-1&type=do", 400, "type must be one of step, sleep, waitForEvent, workflow, rollback, got 'do'"),
        ("?name=twice-1&attempt=2", 404, "step 'twice-1' has no attempt 2; it has 1"),
    ],
)
async def test_a_step_that_is_not_there_is_refused(server: Server, query: str, status: int, message: str):
    url = await server.create("outputs", "o-1")
    await server.reached("outputs", "o-1", "complete")
    answered, error = await server.refusal("GET", f"{url}/step{query}")
    assert answered == status
    assert message in error["message"]


async def test_an_unknown_instance_is_not_found_and_not_created(server: Server):
    status, error = await server.refusal("GET", f"{API}/greet/instances/nobody")
    assert (status, error["code"]) == (404, 10400)
    assert await server.result(f"{API}/greet/instances") == []


async def test_an_instance_id_that_cannot_be_is_refused(server: Server):
    status, error = await server.refusal("GET", f"{API}/greet/instances/a%20b")
    assert status == 400
    assert "instance id 'a b' is not allowed" in error["message"]


# Changing


async def test_an_instance_is_paused_resumed_restarted_and_terminated(server: Server):
    url = await server.create("nap", "n-1")
    await server.reached("nap", "n-1", "waiting")
    for action, after in [
        ("pause", "paused"),
        ("resume", "queued"),
        ("restart", "queued"),
        ("terminate", "terminated"),
    ]:
        answer = await server.http.patch(f"{url}/status", json={"status": action})
        result = answer.json()["result"]
        assert set(result) == {"status", "timestamp"}
        assert result["status"] in (after, "running", "waiting")
        assert result["timestamp"].endswith("Z")
    assert (await server.result(url))["success"] is False


async def test_what_has_ended_cannot_be_paused(server: Server):
    url = await server.create("echo", "e-1")
    await server.reached("echo", "e-1", "complete")
    status, error = await server.refusal("PATCH", f"{url}/status", json={"status": "pause"})
    assert (status, error["everstep_code"]) == (409, "instance.cannot_pause")
    assert "it is complete" in error["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"status": "stop"}, "status must be one of pause, resume, terminate, restart, got 'stop'"),
        ({"status": ["pause"]}, "status must be one of"),
        ({}, "status must be one of"),
        ({"action": "pause"}, "unknown key 'action'"),
        ({"status": "restart", "from": {"step": "a"}}, "step"),
    ],
)
async def test_a_change_that_is_not_understood_is_refused_and_not_made(server: Server, body: Any, message: str):
    url = await server.create("nap", "n-1")
    await server.reached("nap", "n-1", "waiting")
    status, error = await server.refusal("PATCH", f"{url}/status", json=body)
    assert status == 400
    assert message in error["message"]
    assert (await server.result(url))["status"] == "waiting"


async def test_a_restart_from_a_step_that_never_was_changes_nothing(server: Server):
    url = await server.create("nap", "n-1")
    await server.reached("nap", "n-1", "waiting")
    body = {"status": "restart", "from": {"name": "nowhere"}}
    status, error = await server.refusal("PATCH", f"{url}/status", json=body)
    assert (status, error["everstep_code"]) == (409, "instance.cannot_restart")
    assert (await server.reached("nap", "n-1", "waiting"))["status"] == "waiting"


async def test_instances_are_created_and_deleted_in_batches(server: Server):
    many = [{"instance_id": "b-1"}, {"instance_id": "b-2"}, {"instance_id": "b-1"}]
    made = (await server.http.post(f"{API}/echo/instances/batch", json=many)).json()
    gone = await server.http.post(f"{API}/echo/instances/batch/delete", json={"instances": ["b-1", "b-9"]})
    assert [one["id"] for one in made["result"]] == ["b-1", "b-2"]
    assert "b-1" in made["messages"][0]["message"]
    assert gone.json()["result"]["deleted"] == [{"id": "b-1"}]
    assert gone.json()["result"]["errors"][0]["code"] == 10400


async def test_a_deleted_instance_is_gone(server: Server):
    url = await server.create("echo", "d-1")
    assert (await server.http.delete(url)).json()["result"]["status"] == "ok"
    assert (await server.http.get(url)).status_code == 404


async def test_an_event_reaches_its_wait(server: Server):
    url = await server.create("approval", "a-1")
    await server.reached("approval", "a-1", "waiting")
    answer = await server.http.post(f"{url}/events/order.approval", json={"approved": True})
    result = answer.json()["result"]
    assert (result["instanceId"], result["timestamp"][-1]) == ("a-1", "Z")

    shown = await server.reached("approval", "a-1", "complete")
    assert shown["output"] == {"decision": {"approved": True}}
    assert (shown["steps"][0]["finished"], shown["steps"][0]["output"]) == (True, {"approved": True})


async def test_an_event_without_a_body_has_no_payload(server: Server):
    url = await server.create("approval", "a-1")
    assert (await server.http.post(f"{url}/events/order.approval")).status_code == 200
    assert (await server.reached("approval", "a-1", "complete"))["output"] == {"decision": None}


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("a-1/events/a%20b", "{}", 400, "event type 'a b' is not allowed"),
        ("a-1/events/order.approval", "{", 400, "the body is not JSON: "),
        ("nobody/events/order.approval", "{}", 404, "workflow 'approval' has no instance 'nobody'"),
    ],
)
async def test_an_event_that_cannot_be_sent_is_refused(server: Server, path: str, body: str, status: int, message: str):
    await server.create("approval", "a-1")
    answered, error = await server.refusal("POST", f"{API}/approval/instances/{path}", content=body)
    assert answered == status
    assert message in error["message"]


# Everything else


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/greet", "GET"),
        ("PUT", "/greet/instances", "GET, POST"),
        ("POST", "/greet/instances/a/status", "PATCH"),
        ("GET", "/greet/instances/a/events/x", "POST"),
    ],
)
async def test_a_wrong_method_names_the_right_ones(server: Server, method: str, path: str, allowed: str):
    status, error = await server.refusal(method, API + path)
    assert (status, error["code"]) == (405, 7001)
    assert error["message"].endswith(f"use {allowed}")
    assert (await server.http.request(method, API + path)).headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/client/v4/user/tokens/verify", "/client/v4/", f"{API}/greet/instances/a/b/c/d/e"])
async def test_an_unknown_route_is_not_found_in_the_same_envelope(server: Server, path: str):
    status, error = await server.refusal("GET", path)
    assert (status, error["code"]) == (404, 7000)


async def test_a_head_request_is_answered_like_a_get(server: Server):
    assert (await server.http.head(API)).status_code == 200


async def test_a_defect_is_answered_in_the_envelope_and_logged(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async def broken() -> None:
        raise KeyError("oops")

    monkeypatch.setattr(server.es.control, "counts", broken)
    status, error = await server.refusal("GET", API)
    assert (status, error["code"], error["everstep_code"]) == (500, 10001, "internal")
    assert "KeyError" in caplog.text
