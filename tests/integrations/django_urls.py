"""The views of the Django app of `test_errors.py`."""

from __future__ import annotations

from typing import Any

from django.urls import path

from .test_errors import fail


def plain(_: Any, what: str) -> None:
    fail(what)


async def on_the_loop(_: Any, what: str) -> None:
    fail(what)


urlpatterns = [path("plain/<what>", plain), path("async/<what>", on_the_loop)]
