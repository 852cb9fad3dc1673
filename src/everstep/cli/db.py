"""`everstep db`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from everstep.cli.error_reporting import report_errors, validated_by

if TYPE_CHECKING:
    from everstep.config import Project

_database = click.option("--database", metavar="URL", help="Another database than the settings name.")
_environment = click.option("--env", "environment", metavar="NAME", help="With the settings under env.NAME.")


@click.group("db")
def command() -> None:
    """Look at the database's schema, bring it up to date, or move the state to PostgreSQL."""


@command.command("status")
@_database
@_environment
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@report_errors
def status(database: str | None, environment: str | None, as_json: bool) -> None:
    """Show which version the schema has, and which one this release writes."""
    import asyncio

    import orjson  # quicker to load when they are needed

    from everstep.store.admin.migrate import state_of

    state = asyncio.run(state_of(_url(database, environment)))
    if as_json:
        click.echo(orjson.dumps({"version": state.version, "latest": state.latest}).decode())
    elif state.version == state.latest:
        click.echo(f"schema {state.version}, up to date")
    else:
        click.echo(f"schema {state.version} of {state.latest}; everstep db migrate brings it up to date")


@command.command("migrate")
@_database
@_environment
@report_errors
def migrate(database: str | None, environment: str | None) -> None:
    """Bring the schema up to date. Workers of the release before may go on meanwhile.

    Every start does this by itself; here it is for databases whose tables somebody else may make.
    """
    import asyncio

    from everstep.store.admin.migrate import migrate

    state = asyncio.run(migrate(_url(database, environment)))
    click.echo(f"schema {state.version}, up to date")


@command.command("copy")
@click.argument("source", metavar="FROM", callback=validated_by("database_url"))
@click.argument("target", metavar="TO", callback=validated_by("database_url"))
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@report_errors
def copy(source: str, target: str, as_json: bool) -> None:
    """Copy a stopped SQLite state to an empty PostgreSQL database.

    FROM is sqlite:///path/to/state.db, relative to the project's directory, TO is postgresql://user@host/database.
    Instances go on there where they were; all of it arrives, or nothing. FROM is left as it is and must not be run
    again. A terminal shows how far it is.
    """
    import asyncio

    import orjson  # quicker to load when they are needed

    from everstep.cli.progress import shown_progress
    from everstep.store.admin.migrate import copy_to_postgres

    with shown_progress() as progress:
        moved = asyncio.run(copy_to_postgres(source, target, _project(None, None).root, progress))
    if as_json:
        click.echo(orjson.dumps({"rows": moved.rows, "at_work": moved.running}).decode())
        return
    for table, count in moved.rows.items():
        click.echo(f"{table:<10} {count:>12,}")
    if moved.running:
        click.echo(f"{moved.running:,} instances were at work when the process ended: the first worker takes them over")
    click.echo("copied and counted; from now on only the new database must be run", err=True)


@command.command("print-sql")
@_database
@_environment
@report_errors
def print_sql(database: str | None, environment: str | None) -> None:
    """Print the migrations, in order, for people who run them by hand.

    Each one is a transaction that also writes the version down. A new database needs all of them, another one those
    from the version on that everstep db status says.
    """
    from everstep.store.admin.migrate import scripts_of

    for script in scripts_of(_url(database, environment)):
        click.echo(script)


def _url(database: str | None, environment: str | None) -> str:
    return _project(database, environment).config.database


def _project(database: str | None, environment: str | None) -> Project:
    from everstep.config import load_project

    overrides = {} if database is None else {"database": database}
    return load_project(Path.cwd(), environment=environment, overrides=overrides, environ=os.environ)
