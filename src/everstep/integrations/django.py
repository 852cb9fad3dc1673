"""Everstep's errors as answers of a Django app."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import JsonResponse

from everstep.core.errors import EverstepError
from everstep.server.http_api.errors import problem_body, status_of


class EverstepErrors:
    """A middleware for views of both kinds: `"everstep.integrations.django.EverstepErrors"` in `MIDDLEWARE`."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self._get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        """Hand the request on; Django calls `process_exception` with what a view raises."""
        return self._get_response(request)

    def process_exception(self, _: Any, error: Exception) -> JsonResponse | None:
        """Answer with an Everstep error; any other is Django's."""
        return JsonResponse(problem_body(error), status=status_of(error)) if isinstance(error, EverstepError) else None
