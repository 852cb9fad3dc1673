"""Loads the user's program: imports `main`, finds the workflows and the web side in it. Runs nothing of it."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from msgspec import Struct

from everstep.config import Project, WorkflowConfig
from everstep.core.errors import ConfigError
from everstep.core.suggest import did_you_mean
from everstep.embedded import Everstep
from everstep.engine.runtime.registry import WorkflowDefinition, define
from everstep.sdk.entrypoint import WorkerEntrypoint, WorkflowEntrypoint
from everstep.sync import SyncEverstep


class UserProgram(Struct):
    """What was found in the user's `main`.

    Attributes:
        workflows: The workflows, configured or discovered.
        web: A `WorkerEntrypoint` class, a `fetch` function, an ASGI callable, or None.
        engines: What the program would run its workflows with in a process of its own.
        version: A hash of the program's own source files.
        notes: What the user should know.
    """

    workflows: list[WorkflowDefinition]
    web: Any
    engines: list[Everstep | SyncEverstep]
    version: str
    notes: list[str]


class BrokenProgramError(ConfigError):
    """The user's module failed to import; the message is the user's own traceback."""


def load_program(project: Project) -> UserProgram:
    """Import the project's `main` and find what it defines.

    Raises:
        ConfigError: when `main` is not set or not there, or a configured class is not in it.
        BrokenProgramError: when importing it fails.
    """
    main = project.config.main
    if not main:
        raise ConfigError(
            f"nothing to run: from {project.root} upward, no everstep.toml, pyproject.toml or wrangler file says what "
            "`main` is. Run `everstep init` for a new project, or name the file: everstep dev app.py"
        )
    module = _import_main(project.root, main)
    notes: list[str] = []
    engines = [one for one in vars(module).values() if isinstance(one, (Everstep, SyncEverstep))]
    if project.config.workflows:
        workflows = list(_configured(project, module, notes))
    else:
        workflows = list(_registered(engines) if engines else _discovered(module))
    web = _web_side(module)
    if web is None:
        notes.append(
            f"{main} has no `Default` entrypoint, `fetch`, `app` or `application`: only the inspector and the API "
            "answer"
        )
    if not workflows:
        notes.append(f"no workflows found in {main}")
    if project.config.triggers.crons:
        notes.append("triggers.crons has schedules, and this release does not run them")
    return UserProgram(workflows, web, engines, _version(project.root), notes)


def _import_main(root: Path, main: str) -> ModuleType:
    name, folder = _module_of(root, main)
    for path in (str(root), str(folder)):
        if path not in sys.path:
            sys.path.insert(0, path)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        if isinstance(error, ModuleNotFoundError) and error.name is not None and name.startswith(error.name):
            raise ConfigError(f"main is {main!r}, and there is no module {error.name!r} under {root}") from None
        hint = _import_hint(error, root, folder)
        raise BrokenProgramError(f"{main} failed to import:\n\n{_user_traceback(error)}{hint}") from None


def _import_hint(error: BaseException, root: Path, folder: Path) -> str:
    """Say how a module of the program's own is imported, where that is why an import failed."""
    if not isinstance(error, ImportError) or folder == root or not folder.is_relative_to(root):
        return ""
    package = ".".join(folder.relative_to(root).parts)
    if "no known parent package" in str(error):
        return (
            f"\n\n{package} is no package: write `from {package}.module import name`, or add an empty "
            f"{folder.relative_to(root)}/__init__.py"
        )
    if error.name in sys.stdlib_module_names and (folder / f"{error.name}.py").is_file():
        return f"\n\n`{error.name}` is the standard library's: write `from {package}.{error.name} import name`"
    return ""


def _module_of(root: Path, main: str) -> tuple[str, Path]:
    """Return the dotted name to import, and the folder it is found in."""
    if not (main.endswith(".py") or "/" in main):
        source = root / "src"
        return main, source if source.is_dir() else root
    path = (root / main).resolve()
    if not path.is_file():
        near = [str(found.relative_to(root)) for found in _python_files(root)]
        raise ConfigError(f"main is {main!r}, and there is no such file under {root}{did_you_mean(main, near)}")
    parts = [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts), folder


def _user_traceback(error: BaseException) -> str:
    """Write an exception with the frames from the user's own code on; how the import came about says nothing."""
    frames = error.__traceback__
    while frames is not None and _is_machinery(frames):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error.with_traceback(frames), frames)).rstrip()


def _is_machinery(frame: TracebackType) -> bool:
    file = frame.tb_frame.f_code.co_filename
    return file == __file__ or "importlib" in file


def _configured(project: Project, module: ModuleType, notes: list[str]) -> Iterator[WorkflowDefinition]:
    problems: list[str] = []
    for workflow in project.config.workflows:
        if workflow.script_name and workflow.script_name != project.config.name:
            notes.append(f"workflow {workflow.name!r} belongs to the app {workflow.script_name!r}: not run here")
            continue
        if workflow.crons:
            notes.append(f"workflow {workflow.name!r} has schedules, and this release does not run them")
        try:
            yield _find_class(workflow, module, project)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))


def _find_class(workflow: WorkflowConfig, module: ModuleType, project: Project) -> WorkflowDefinition:
    found = getattr(module, workflow.class_name, None)
    if found is None:
        known = [cls.__name__ for cls in _workflow_classes(module)]
        hint = did_you_mean(workflow.class_name, known)
        raise ConfigError(
            f"workflow {workflow.name!r} has the class_name {workflow.class_name!r}, which {project.config.main} "
            f"does not define{hint}; workflow classes there: {', '.join(known) or 'none'}"
        )
    definition = define(found, workflow.name, workflow.binding)
    limits, kept = workflow.limits, workflow.default_retention
    definition.step_limit = limits.steps or definition.step_limit
    definition.concurrency = limits.concurrency
    definition.durability = workflow.durability or definition.durability
    if kept.success_ms is not None:
        definition.success_retention_ms = kept.success_ms
    if kept.error_ms is not None:
        definition.error_retention_ms = kept.error_ms
    return definition


def _registered(engines: Sequence[Everstep | SyncEverstep]) -> Iterator[WorkflowDefinition]:
    """The workflows that the program's own engines run, each once."""
    found = {definition.cls: definition for engine in engines for definition in engine.registry}
    return iter(found.values())


def _discovered(module: ModuleType) -> Iterator[WorkflowDefinition]:
    return (define(cls) for cls in _workflow_classes(module))


def _workflow_classes(module: ModuleType) -> list[type[WorkflowEntrypoint[Any, Any]]]:
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, WorkflowEntrypoint) and value is not WorkflowEntrypoint
    ]


def _web_side(module: ModuleType) -> Any:
    default = getattr(module, "Default", None)
    if default is not None:
        if not (inspect.isclass(default) and issubclass(default, WorkerEntrypoint)):
            raise ConfigError("`Default` must be a subclass of WorkerEntrypoint with `async def fetch(self, request)`")
        return default
    for name in ("fetch", "app", "application"):  # the last is Django's
        value = getattr(module, name, None)
        if callable(value):
            _check_asgi(name, value)
            return value
    return None


def _check_asgi(name: str, value: Any) -> None:
    try:
        takes = list(inspect.signature(value).parameters)
    except (TypeError, ValueError):  # a callable that does not say
        return
    if takes == ["environ", "start_response"]:
        raise ConfigError(
            f"`{name}` is a WSGI app, and `everstep dev` serves ASGI apps. Run it with a server for WSGI (flask run, "
            "gunicorn) and let it use SyncEverstep; for Django, name the module with get_asgi_application()"
        )


def module_files(root: Path) -> set[Path]:
    """Return the source files of the modules under `root` that have been imported by now."""
    files = {
        Path(file)
        for module in list(sys.modules.values())
        if (file := getattr(module, "__file__", None)) and file.endswith(".py")
    }
    return {file for file in files if file.is_relative_to(root) and "site-packages" not in file.parts}


def _version(root: Path) -> str:
    """Hash the program's own modules, by content: equal code has an equal version."""
    digest = hashlib.sha256()
    for file in sorted(module_files(root)):
        digest.update(str(file.relative_to(root)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _python_files(root: Path) -> list[Path]:
    return [*root.glob("*.py"), *root.glob("src/*.py"), *root.glob("src/*/*.py")]
