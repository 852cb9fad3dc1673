"""Which HTTP status an error has, and what its answer says."""

from __future__ import annotations

import json

import pytest

from everstep.core import errors
from everstep.core.errors import StoreUnavailableError
from everstep.server.http_api.errors import problem_response, status_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidParamsError("x"), 400),
        (errors.NotSerializableError("x"), 400),
        (errors.WorkflowNotFoundError("x"), 404),
        (errors.InstanceNotFoundError("x"), 404),
        (errors.InstanceExistsError("x"), 409),
        (errors.InstanceStateError("x", "instance.cannot_pause"), 409),
        (errors.InstanceTerminatedError("x"), 409),
        (errors.ValueTooLargeError("x"), 413),
        (errors.StoreError("the database refused a value"), 500),
        (errors.SchemaVersionError("x"), 500),
        (StoreUnavailableError("x"), 503),
        (errors.LeaseLostError("x"), 503),
        (errors.DatabaseInUseError("x"), 503),
        (errors.WorkflowTimeoutError("x"), 504),
        (errors.StepError("OSError", "x"), 500),
        (errors.NonDeterminismError("x"), 500),
        (errors.EverstepError("x"), 500),
    ],
)
def test_each_error_has_its_status(error: errors.EverstepError, status: int):
    assert status_of(error) == status


def test_an_answer_carries_code_and_message():
    response = problem_response(errors.InstanceStateError("instance 'a' is complete", "instance.cannot_pause"))
    assert response.status_code == 409
    assert response.media_type == "application/json"
    assert json.loads(response.body) == {
        "error": {"code": "instance.cannot_pause", "message": "instance 'a' is complete"}
    }
