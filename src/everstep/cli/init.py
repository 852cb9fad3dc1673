"""`everstep init`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from importlib.abc import Traversable
from pathlib import Path

import click

from everstep.cli.failures import keeps_rule, one_message

_PROJECT = ("everstep.toml", "src/index.py")
"""What makes the project. The one belongs to the other: beside somebody else's it would not run."""


@click.command("init")
@click.argument("directory", default=".", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", callback=keeps_rule("app_name"), help="The app's name.  [the directory's]")
@one_message
def command(directory: Path, name: str | None) -> None:
    """Make a new project in DIRECTORY, the current one by default.

    Files that exist are kept as they are. Where there is an everstep.toml or a src/index.py, nothing is made.
    """
    from everstep.core.errors import ConfigError

    name = name or re.sub(r"[^a-z0-9-]+", "-", directory.resolve().name.lower()).strip("-") or "app"
    files = dict(_template_files(resources.files("everstep.cli") / "templates" / "hello"))
    kept = sorted(path for path in files if (directory / path).exists())
    if taken := [path for path in _PROJECT if path in kept]:
        raise ConfigError(
            f"{directory} has {' and '.join(taken)} already; nothing was written. Choose another directory"
        )
    for path in files.keys() - kept:
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(files[path].replace("{{name}}", name), encoding="utf-8")
    _tell(directory, name, files, kept)


def _template_files(folder: Traversable, prefix: str = "") -> list[tuple[str, str]]:
    """Read a template: `dot_` stands for a leading dot, `.txt` at the end is dropped."""
    files: list[tuple[str, str]] = []
    for entry in folder.iterdir():
        name = entry.name.replace("dot_", ".", 1) if entry.name.startswith("dot_") else entry.name
        if entry.is_dir():
            files += _template_files(entry, f"{prefix}{name}/")
        else:
            files.append((prefix + name.removesuffix(".txt"), entry.read_text(encoding="utf-8")))
    return files


def _tell(directory: Path, name: str, files: Mapping[str, str], kept: list[str]) -> None:
    click.echo(f"Made {name} in {directory}:", err=True)
    for path in sorted(files):
        click.echo(f"  {path}{' (kept as it was)' if path in kept else ''}", err=True)
    if ".gitignore" in kept:
        ignored = (directory / ".gitignore").read_text(encoding="utf-8", errors="replace").splitlines()
        if missing := [line for line in files[".gitignore"].splitlines() if line not in ignored]:
            click.echo(f"\nAdd to .gitignore: {' '.join(missing)}", err=True)
    steps = [] if directory.resolve() == Path.cwd() else [f"cd {directory}"]
    click.echo("\nNext:", err=True)
    for step in [*steps, "everstep dev"]:
        click.echo(f"  {step}", err=True)
