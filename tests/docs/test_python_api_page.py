"""The reference of the Python API is what the docstrings say today, and they say enough."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import everstep

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("python_api", ROOT / "docs/python_api.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["python_api"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_made_from_todays_docstrings(script: Any) -> None:
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "run `python docs/python_api.py`"


def test_every_name_but_an_error_has_its_place(script: Any) -> None:
    headings = re.findall(r"^### (.*)$", script.page(), re.MULTILINE)
    values = {name: getattr(everstep, name) for name in everstep.__all__}
    errors = {name for name, value in values.items() if isinstance(value, type) and issubclass(value, Exception)}

    assert sorted(headings) == sorted(set(everstep.__all__) - errors)


def test_every_link_within_the_page_leads_to_a_heading(script: Any) -> None:
    page = script.page()
    titles = re.findall(r"^#{2,3} (.*)$", page, re.MULTILINE)
    anchors: list[str] = []
    for title in titles:
        anchor = title.lower().replace(" ", "-")
        anchors.append(f"{anchor}-1" if anchor in anchors else anchor)

    assert set(re.findall(r"\(#([\w-]+)\)", page)) <= set(anchors)


def test_every_field_is_described(script: Any) -> None:
    assert re.findall(r"^\| `(\w+)` \| .* \|  \|$", script.page(), re.MULTILINE) == []


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("WorkflowEntrypoint.run_once", "database env id"),
        ("WorkflowStep.run_workflow", "workflow params id InstanceTerminatedError"),
        ("Workflow.create", "id params retention tags"),
        ("Workflow.get_or_create", "keeps the params"),
        ("Workflow.list", "status tag limit cursor"),
        ("Workflow.delete_batch", "1 to 100"),
        ("WorkflowInstance.subscribe", "cursor filter event_id"),
        ("WorkflowInstance.send_event", "type payload"),
    ],
)
def test_a_call_says_what_its_arguments_mean(script: Any, call: str, says: str) -> None:
    section = script.page().split(f"#### {call}\n")[1].split("\n#")[0]

    assert [word for word in says.split() if word not in section] == []


@pytest.mark.parametrize("name", ["Everstep", "Workflow", "WorkflowEntrypoint", "WorkflowInstance", "WorkflowStep"])
def test_every_parameter_of_a_call_is_in_its_docstring(name: str) -> None:
    cls = getattr(everstep, name)
    calls = {f"{name}.{one}": vars(cls)[one] for one in vars(cls) if not one.startswith("_")}
    calls = {one: getattr(call, "__func__", call) for one, call in calls.items()} | {"Everstep": everstep.Everstep}
    without = {
        f"{one}({parameter})"
        for one, call in calls.items()
        if callable(call)
        for parameter in inspect.signature(call).parameters
        if parameter not in ("self", "cls", "args", "kwargs")
        and not re.search(rf"\b{parameter}\b", inspect.getdoc(call) or "")
    }

    assert without - {"WorkflowEntrypoint.run(event)", "WorkflowEntrypoint.run(step)"} == set()
