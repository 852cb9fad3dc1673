"""Everstep's errors as answers of a Starlette or FastAPI app."""

from __future__ import annotations

from typing import Any

from everstep.core.errors import EverstepError
from everstep.server.http_api.errors import problem_response


async def _answer(_: Any, error: Any) -> Any:
    return problem_response(error)


exception_handlers: dict[Any, Any] = {EverstepError: _answer}
"""For `Starlette(exception_handlers=…)` and `FastAPI(exception_handlers=…)`.

Example:
    >>> from starlette.applications import Starlette
    >>> app = Starlette(exception_handlers=exception_handlers)
"""
