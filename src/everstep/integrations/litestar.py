"""Everstep's errors as answers of a Litestar app."""

from __future__ import annotations

from typing import Any

from litestar import Response

from everstep.core.errors import EverstepError
from everstep.server.http_api.errors import problem_body, status_of


def _answer(_: Any, error: Any) -> Response[Any]:
    return Response(problem_body(error), status_code=status_of(error), media_type="application/json")


exception_handlers: dict[Any, Any] = {EverstepError: _answer}
"""For `Litestar(exception_handlers=…)`.

Example:
    >>> from litestar import Litestar
    >>> app = Litestar([], exception_handlers=exception_handlers)
"""
