"""How failures look on the command line: one message, no traceback, and the exit code that says which kind."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

import click

P = ParamSpec("P")


def one_message(command: Callable[P, None]) -> Callable[P, None]:
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
