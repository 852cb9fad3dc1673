"""How failures look on the command line: one message, no traceback, and the exit code that says which kind."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

import click

P = ParamSpec("P")


def report_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Turn an `EverstepError` of a command into its message on stderr and exit code 1."""

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        from everstep.core.errors import EverstepError

        try:
            command(*args, **kwargs)
        except EverstepError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(1)

    return guarded


def validated_by(rule: str) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """Make a callback that refuses a value as the configuration's rule of that name would, with exit code 2."""

    def check(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
        if value is not None:
            from everstep.config.values import rules  # only where something was given

            try:
                getattr(rules, rule)(value)
            except ValueError as error:
                raise click.BadParameter(str(error)) from None
        return value

    return check
