"""`everstep dev`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from everstep.cli.error_reporting import report_errors


@click.command("dev")
@click.argument("main", required=False)
@click.option("--port", default=8787, show_default=True, type=click.IntRange(0, 65535), help="0 takes any free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; 0.0.0.0 is all.")
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), help="Where state is kept.  [.everstep]")
@click.option("--var", "variables", multiple=True, metavar="KEY:VALUE", help="Set a var; may be given again.")
@click.option("--env", "environment", metavar="NAME", help="Use the settings under env.NAME.")
@click.option("--allow-host", "allowed_hosts", multiple=True, metavar="NAME", help="Answer this Host name as well.")
@click.option("--reload/--no-reload", default=True, help="Reload when a file of the program changes.  [reload]")
@click.option("--keys/--no-keys", default=True, help="Listen for single-key commands on a terminal.  [keys]")
@click.option("--verbose", is_flag=True, help="Write every line, however many there are.")
@click.option("--quiet", is_flag=True, help="Write no line for requests and steps.")
@report_errors
def command(main: str | None, variables: tuple[str, ...], environment: str | None, **options: Any) -> None:
    """Run the app here, reloading on change.

    Serves MAIN, or the `main` of everstep.toml, pyproject.toml or a wrangler file, with its workflows and the inspector
    at /__workflows. State is kept in .everstep/ and survives everything but being deleted.
    """
    from everstep.config import Project, load_project
    from everstep.server.dev.server import DevOptions, run_dev

    def load() -> Project:
        return load_project(Path.cwd(), environment=environment, overrides={"main": main}, environ=os.environ)

    run_dev(load, DevOptions(variables=dict(_variable(text) for text in variables), **options))


def _variable(text: str) -> tuple[str, str]:
    key, colon, value = text.partition(":")
    if not colon or not key.isidentifier():
        raise click.BadParameter(f"{text!r} is not KEY:VALUE", param_hint="--var")
    return key, value
