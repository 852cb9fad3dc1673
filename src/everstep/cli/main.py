"""The `everstep` command: finds the command asked for and loads only that one."""

from __future__ import annotations

import importlib
from typing import Any

import click

_COMMANDS = {
    "config": ("everstep.cli.config", "Show the settings and where each comes from."),
    "db": ("everstep.cli.db", "Look at the database's schema, bring it up to date, or move it to PostgreSQL."),
    "dev": ("everstep.cli.dev", "Run the app here, reloading on change."),
    "init": ("everstep.cli.init", "Make a new project."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they run, so that `--help` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(_COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][1]) for name in self.list_commands(ctx)])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            from everstep.core.suggest import did_you_mean

            ctx.fail(f"there is no command {args[0]!r}{did_you_mean(args[0], _COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="everstep", prog_name="everstep", message="%(prog)s %(version)s")
def main() -> None:
    """Durable execution for Python.

    `everstep init shop` makes a project, `everstep dev` runs it at http://127.0.0.1:8787 with its inspector at
    /__workflows.
    """
