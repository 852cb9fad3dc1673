"""Errors as HTTP answers: which status each has, and the JSON body that carries its code and message."""

from __future__ import annotations

from typing import Any

from everstep.core.errors import (
    DatabaseInUseError,
    DuplicateInBatchError,
    EverstepError,
    InstanceExistsError,
    InstanceLostError,
    InstanceNotFoundError,
    InstanceStateError,
    InstanceTerminatedError,
    InvalidNameError,
    InvalidOptionError,
    InvalidParamsError,
    LeaseLostError,
    NotSerializableError,
    StoreUnavailableError,
    ValueTooLargeError,
    WorkflowNotFoundError,
    WorkflowTimeoutError,
)
from everstep.sdk.response import Response


class BadRequestError(EverstepError, ValueError):
    """A request that cannot be understood: bad JSON, an unknown key, a name that is not allowed."""

    code = "request.invalid"


class RequestTooLargeError(EverstepError, ValueError):
    """A request with a larger body than any that could be stored."""

    code = "request.too_large"


class NoRouteError(EverstepError):
    """There is nothing at this path."""

    code = "request.no_route"


class WrongMethodError(EverstepError):
    """What is at this path takes other methods."""

    code = "request.wrong_method"


class StepNotFoundError(EverstepError):
    """The instance has no step or attempt like the one that was asked for."""

    code = "step.not_found"


_STATUS: dict[type[EverstepError], int] = {
    BadRequestError: 400,
    InvalidNameError: 400,
    InvalidOptionError: 400,
    InvalidParamsError: 400,
    NotSerializableError: 400,
    WorkflowNotFoundError: 404,
    InstanceNotFoundError: 404,
    StepNotFoundError: 404,
    NoRouteError: 404,
    WrongMethodError: 405,
    InstanceExistsError: 409,
    DuplicateInBatchError: 409,
    InstanceStateError: 409,
    InstanceTerminatedError: 409,
    RequestTooLargeError: 413,
    ValueTooLargeError: 413,
    StoreUnavailableError: 503,
    DatabaseInUseError: 503,
    LeaseLostError: 503,
    InstanceLostError: 503,
    WorkflowTimeoutError: 504,
}
"""The errors a caller can do something about; a subclass has the status of its ancestor, every other one 500.

503 is for what passes: load balancers ask again. What the database refuses it will refuse again.
"""


def status_of(error: EverstepError) -> int:
    """Return the HTTP status of an error.

    Example:
        >>> status_of(InstanceNotFoundError("workflow 'order' has no instance 'o-1'"))
        404
    """
    return next((_STATUS[cls] for cls in type(error).__mro__ if cls in _STATUS), 500)


def problem_body(error: EverstepError) -> dict[str, Any]:
    """Return what an answer says of an error, for JSON.

    Example:
        >>> problem_body(InstanceNotFoundError("no such instance"))
        {'error': {'code': 'instance.not_found', 'message': 'no such instance'}}
    """
    return {"error": {"code": error.code, "message": str(error)}}


def problem_response(error: EverstepError) -> Response:
    """Answer with an error: `{"error": {"code": "instance.not_found", "message": "…"}}`.

    Example:
        >>> problem_response(InstanceNotFoundError("no such instance")).body
        b'{"error":{"code":"instance.not_found","message":"no such instance"}}'
    """
    return Response.json(problem_body(error), status=status_of(error))
