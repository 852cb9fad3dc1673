"""Everstep's errors as answers of a Flask app."""

from __future__ import annotations

from typing import Any

from everstep.core.errors import EverstepError
from everstep.server.http_api.errors import problem_body, status_of


def answer_errors(app: Any) -> None:
    """Have a Flask app, or one of its blueprints, answer Everstep's errors with their status.

    Example:
        >>> from flask import Flask
        >>> answer_errors(Flask(__name__))
    """
    app.register_error_handler(EverstepError, _answer)


def _answer(error: EverstepError) -> tuple[dict[str, Any], int]:
    return problem_body(error), status_of(error)
