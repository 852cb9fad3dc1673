"""`everstep config`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from everstep.cli.error_reporting import report_errors


@click.group("config")
def command() -> None:
    """Show the settings and where each comes from."""


@command.command("show")
@click.option("--env", "environment", metavar="NAME", help="With the settings under env.NAME.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@report_errors
def show(environment: str | None, as_json: bool) -> None:
    """Show every setting in force, with the file and line, variable or default it comes from.

    Secrets are masked.
    """
    import orjson  # quicker to load when it is needed

    from everstep.config import describe, load_project

    project = load_project(Path.cwd(), environment=environment, environ=os.environ)
    rows = describe(project)
    if as_json:
        settings = [{"key": key, "value": value, "source": source} for key, value, source in rows]
        click.echo(orjson.dumps(settings, default=str).decode())
        return
    width = max((len(key) for key, _, _ in rows), default=0)
    for key, value, source in rows:
        click.echo(f"{key:<{width}}  {value}  ({source})")
    for warning in project.warnings:
        click.echo(f"warning: {warning}", err=True)
