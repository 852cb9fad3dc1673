"""What `everstep` offers, where it comes from, and what using it loads."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import everstep

NAMES = [
    "AttemptInfo",
    "AttemptInterruptedError",
    "BatchError",
    "ConfigError",
    "CreateBatchResult",
    "DatabaseInUseError",
    "DeleteBatchResult",
    "DuplicateInBatchError",
    "EngineStoppedError",
    "Env",
    "ErrorInfo",
    "Everstep",
    "EverstepError",
    "InstanceExistsError",
    "InstanceLink",
    "InstanceLostError",
    "InstanceNotFoundError",
    "InstancePage",
    "InstanceStateError",
    "InstanceStatus",
    "InstanceTerminatedError",
    "InvalidNameError",
    "InvalidOptionError",
    "InvalidParamsError",
    "LeaseLostError",
    "NonDeterminismError",
    "NonRetryableError",
    "NotSerializableError",
    "Request",
    "Response",
    "Retries",
    "RetriesDict",
    "RetryContext",
    "RetryDelayError",
    "RollbackContext",
    "RollbackInProgressError",
    "RollbackMissingError",
    "RollbackStatus",
    "Schedule",
    "SchemaVersionError",
    "StepConfig",
    "StepConfigDict",
    "StepContext",
    "StepError",
    "StepEvent",
    "StepInfo",
    "StepLimitError",
    "StepPage",
    "StorageLimitError",
    "StoreConflictError",
    "StoreError",
    "StoreUnavailableError",
    "StoredValueError",
    "SubscriptionEvent",
    "SyncEverstep",
    "SyncInstance",
    "SyncWorkflow",
    "ValueTooLargeError",
    "WaitingFor",
    "WorkerEntrypoint",
    "Workflow",
    "WorkflowCodeError",
    "WorkflowEntrypoint",
    "WorkflowEvent",
    "WorkflowInstance",
    "WorkflowNotFoundError",
    "WorkflowStep",
    "WorkflowTimeoutError",
    "current_step",
    "env",
    "lifespan",
]

RAISES = {
    "Everstep": "ConfigError DatabaseInUseError",
    "Everstep.workflow": "WorkflowNotFoundError",
    "SyncEverstep": "ConfigError DatabaseInUseError RuntimeError",
    "SyncEverstep.run": "EngineStoppedError",
    "SyncEverstep.workflow": "WorkflowNotFoundError",
    "Workflow.create": "InstanceExistsError InvalidOptionError InvalidParamsError NotSerializableError ValueError",
    "Workflow.create_batch": "TypeError ValueError",
    "Workflow.delete_batch": "TypeError ValueError",
    "Workflow.get": "InstanceNotFoundError",
    "Workflow.get_or_create": "ValueError InvalidParamsError NotSerializableError",
    "Workflow.list": "TypeError ValueError",
    "WorkflowEntrypoint.run_once": "RuntimeError ConfigError DatabaseInUseError",
    "WorkflowInstance.delete": "InstanceNotFoundError",
    "WorkflowInstance.pause": "InstanceStateError",
    "WorkflowInstance.restart": "InstanceNotFoundError InvalidOptionError",
    "WorkflowInstance.result": "WorkflowTimeoutError InstanceTerminatedError",
    "WorkflowInstance.resume": "InstanceStateError",
    "WorkflowInstance.send_event": "InstanceStateError NotSerializableError ValueError",
    "WorkflowInstance.status": "InstanceNotFoundError",
    "WorkflowInstance.subscribe": "InstanceNotFoundError TypeError ValueError",
    "WorkflowInstance.terminate": "InstanceStateError",
    "WorkflowStep.do": "TypeError ValueError",
    "WorkflowStep.run_workflow": "InstanceTerminatedError",
    "WorkflowStep.sleep": "TypeError ValueError",
    "WorkflowStep.sleep_until": "TypeError ValueError",
    "WorkflowStep.wait_for_event": "WorkflowTimeoutError TypeError ValueError",
    "current_step": "RuntimeError",
}
"""What the documentation of a callable has to say that it raises."""

SOURCE = ast.parse(Path(everstep.__file__).read_text(encoding="utf-8"))


def test_the_public_names_are_these() -> None:
    assert everstep.__all__ == NAMES


def test_the_public_names_are_sorted() -> None:
    assert everstep.__all__ == sorted(everstep.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_can_be_imported(name: str) -> None:
    assert getattr(everstep, name) is not None


def test_every_error_of_the_page_can_be_imported() -> None:
    page = (Path(__file__).parents[1] / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+Error)`", page, re.MULTILINE)
    assert len(listed) > 20
    assert [name for name in listed if name not in everstep.__all__] == []


def test_dir_lists_the_public_names() -> None:
    assert set(everstep.__all__) <= set(dir(everstep))


def test_an_unknown_name_is_an_attribute_error_that_says_it() -> None:
    with pytest.raises(AttributeError, match="'everstep' has no attribute 'Workflw'"):
        everstep.Workflw  # noqa: B018  # looking it up is the test


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"env", "Request"}))  # a value, and Starlette's own class
def test_every_name_has_a_docstring_of_its_own(name: str) -> None:
    assert (vars(everstep)[name] if name in vars(everstep) else getattr(everstep, name)).__doc__


@pytest.mark.parametrize("name", ["Everstep", "Workflow", "WorkflowEntrypoint", "WorkflowInstance", "WorkflowStep"])
def test_every_public_method_has_a_docstring(name: str) -> None:
    methods = {method: it for method, it in vars(getattr(everstep, name)).items() if not method.startswith("_")}
    assert [method for method, it in methods.items() if callable(it) and not inspect.getdoc(it)] == []


@pytest.mark.parametrize("name", RAISES)
def test_the_docstring_says_what_is_raised(name: str) -> None:
    documented: object = everstep
    for part in name.split("."):
        documented = getattr(documented, part)
    text = inspect.getdoc(documented) or ""
    _, _, raised = text.partition("Raises")
    assert [error for error in RAISES[name].split() if error not in raised] == []


def test_every_error_has_a_code_of_its_own() -> None:
    errors = [it for name in NAMES if isinstance(it := getattr(everstep, name), type) and issubclass(it, Exception)]
    codes = [error.code for error in errors]
    assert len(set(codes)) == len(codes) > 10


def test_type_checkers_and_the_lazy_table_find_names_in_the_same_places() -> None:
    checked = {alias.name: one.module for one in _type_checking_imports() for alias in one.names}
    assert checked == everstep._HOME_OF


def test_the_lazy_table_has_every_public_name_and_no_other() -> None:
    assert sorted(everstep._HOME_OF) == everstep.__all__


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_the_one_of_its_home(name: str) -> None:
    assert getattr(everstep, name) is getattr(importlib.import_module(everstep._HOME_OF[name]), name)


HEAVY = ["apsw", "click", "httpx", "rich", "sqlite3", "starlette", "uvicorn", "watchfiles"]


def test_importing_the_package_and_a_workflows_names_loads_nothing_heavy() -> None:
    assert _loaded("import everstep; everstep.WorkflowEntrypoint, everstep.WorkflowStep, everstep.Env") == []


def test_importing_the_package_alone_loads_none_of_its_own_modules() -> None:
    code = "import sys, everstep; print(*[name for name in sys.modules if name.startswith('everstep.')])"
    assert _output(code) == ""


def test_importing_request_loads_starlette() -> None:
    assert "starlette" in _loaded("from everstep import Request")


def _loaded(code: str) -> list[str]:
    return _output(f"import sys\n{code}\nprint(*[name for name in {HEAVY} if name in sys.modules])").split()


def _output(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def _type_checking_imports() -> list[ast.ImportFrom]:
    [block] = [one for one in SOURCE.body if isinstance(one, ast.If)]
    assert isinstance(block.test, ast.Name)
    assert block.test.id == "TYPE_CHECKING"
    return [one for one in block.body if isinstance(one, ast.ImportFrom)]
