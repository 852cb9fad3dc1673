"""`everstep init`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from importlib.abc import Traversable
from pathlib import Path

import click

from everstep.cli.error_reporting import report_errors, validated_by

_TEMPLATES = {
    "hello": ["everstep dev"],
    "order-pipeline": [
        "cp .dev.vars.example .dev.vars",
        "pip install -r requirements-dev.txt",
        "python standins.py  # the payment, inventory and e-mail services, in a terminal of their own",
        "everstep dev",
    ],
}
"""The templates, and the commands that run a project made from each."""

_NAME = "{{name}}"
_EXAMPLES_NAME = "order-pipeline-shop"
"""The app's name in the example, which has to run as it is."""

_FORCED = "everstep/cli/templates/"


@click.command("init")
@click.argument("directory", default=".", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", callback=validated_by("app_name"), help="The app's name.  [the directory's]")
@click.option(
    "--template",
    type=click.Choice(list(_TEMPLATES)),
    default="hello",
    show_default=True,
    help="What the project begins with; order-pipeline is the tutorial's finished program.",
)
@report_errors
def command(directory: Path, name: str | None, template: str) -> None:
    """Make a new project in DIRECTORY, the current one by default.

    Files that exist are kept as they are. Where there is an everstep.toml or a module of the template in src/, nothing
    is made.
    """
    from everstep.core.errors import ConfigError

    name = name or re.sub(r"[^a-z0-9-]+", "-", directory.resolve().name.lower()).strip("-") or "app"
    files = _template_files(template)
    kept = sorted(path for path in files if (directory / path).exists())
    if taken := [path for path in kept if _is_program(path)]:
        raise ConfigError(
            f"{directory} has {' and '.join(taken)} already; nothing was written. Choose another directory"
        )
    for path in files.keys() - kept:
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(files[path].replace(_NAME, name).replace(_EXAMPLES_NAME, name), encoding="utf-8")
    _report(directory, name, files, kept, _TEMPLATES[template])


def _is_program(path: str) -> bool:
    """Whether a file makes the project: those belong together, and one of somebody else's would not run with them."""
    return path == "everstep.toml" or path.startswith("src/")


def _template_files(template: str) -> dict[str, str]:
    folder = resources.files("everstep.cli") / "templates" / template
    files = _files_in(folder)
    if "everstep.toml" not in files:
        files |= _files_of_checkout(template)
    return files


def _files_in(folder: Traversable, prefix: str = "") -> dict[str, str]:
    files: dict[str, str] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            files |= _files_in(entry, f"{prefix}{entry.name}/")
        else:
            files[_shown(prefix + entry.name)] = entry.read_text(encoding="utf-8")
    return files


def _files_of_checkout(template: str) -> dict[str, str]:
    """Read what only a wheel has in the template's folder from where the build takes it."""
    import tomllib

    root = Path(__file__).parents[3]
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    forced: dict[str, str] = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    within = f"{_FORCED}{template}/"
    return {
        _shown(target.removeprefix(within)): (root / source).read_text(encoding="utf-8")
        for source, target in forced.items()
        if target.startswith(within)
    }


def _shown(path: str) -> str:
    """Return the path in the project: in a template `dot_` stands for a leading dot, `.txt` at the end is dropped."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + re.sub(r"^dot_", ".", name).removesuffix(".txt")


def _report(directory: Path, name: str, files: Mapping[str, str], kept: list[str], commands: list[str]) -> None:
    click.echo(f"Made {name} in {directory}:", err=True)
    for path in sorted(files):
        click.echo(f"  {path}{' (kept as it was)' if path in kept else ''}", err=True)
    if ".gitignore" in kept:
        ignored = (directory / ".gitignore").read_text(encoding="utf-8", errors="replace").splitlines()
        if missing := [line for line in files[".gitignore"].splitlines() if line not in ignored]:
            click.echo(f"\nAdd to .gitignore: {' '.join(missing)}", err=True)
    steps = [] if directory.resolve() == Path.cwd() else [f"cd {directory}"]
    click.echo("\nNext:", err=True)
    for step in [*steps, *commands]:
        click.echo(f"  {step}", err=True)
