"""`everstep dev`: the app, its workflows and the inspector in one process that survives its own reloads.

A reload replaces the process image: the instances are given back to the store, the listening socket is handed on, and
the new program starts clean. A program that does not load leaves the old state alone and waits for the next change.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import uvicorn
from msgspec import Struct, structs

from everstep.config import Project, load_secrets
from everstep.config.sources import FILE_NAMES
from everstep.core.errors import ConfigError
from everstep.core.redact import redact_url
from everstep.embedded import Everstep
from everstep.engine.runtime.options import EngineOptions
from everstep.own_loop import run_on_own_loop
from everstep.sdk.entrypoint import DEFAULT_DATABASE, WorkerEntrypoint, declared_env
from everstep.server.app import build_app, check_environments, with_access_log
from everstep.server.dev.accepting import say_why_not_accepted
from everstep.server.dev.console import Console, leave_out_doubles, show_warnings
from everstep.server.dev.forced_exit import ForcedExit
from everstep.server.dev.hotkeys import hotkeys
from everstep.server.dev.listener import listen, on_all_interfaces, pass_to_child, url_of
from everstep.server.program.asgi import AsgiApp, user_app
from everstep.server.program.loader import UserProgram, load_program, module_files
from everstep.store.admin.open import is_postgres

ExitReason: TypeAlias = Literal["stop", "reload"]

_RELOADED = "EVERSTEP_RELOADED"
OPEN_TO_ALL = (
    "listening on all interfaces: the API and the inspector ask for no password, and whoever reaches this port with a "
    "Host name that is allowed reads and changes everything; let only a proxy reach it"
)


class DevOptions(Struct, frozen=True):
    """What the command line chose."""

    host: str = "127.0.0.1"
    port: int = 8787
    state: Path | None = None
    variables: Mapping[str, str] = {}
    allowed_hosts: tuple[str, ...] = ()
    reload: bool = True
    keys: bool = True
    verbose: bool = False
    quiet: bool = False


def run_dev(load: Callable[[], Project], options: DevOptions) -> None:
    """Serve a project until it is stopped; on a change, replace this process by a new one.

    Args:
        load: Reads the project's configuration.
        options: What the command line chose.

    Raises:
        EverstepError: for whatever keeps it from starting; one message for the user.
    """
    console = Console(unlimited=options.verbose)
    show_warnings(console)
    listener = listen(options.host, options.port)
    try:
        ending = run_on_own_loop(_serve_or_wait(load, options, listener, console))
        if ending == "reload":
            _replace_process(listener)
    finally:
        listener.close()


async def _serve_or_wait(
    load: Callable[[], Project], options: DevOptions, listener: socket.socket, console: Console
) -> ExitReason:
    server = DevServer(options, listener, console)
    try:
        project = load()
        for warning in project.warnings:
            console.warn(warning)
        return await server.serve(project, load_program(project))
    except ConfigError as error:
        if not os.environ.get(_RELOADED):
            raise
        # Somebody is at work on it: what they have not finished yet must not take their instances' server away.
        console.say(f"\n{error}\n\nWaiting for a change; instances are kept.")
        return await server.wait_for_change(str(error))


class DevServer:
    """One life of the development server, from start to stop or reload."""

    def __init__(self, options: DevOptions, listener: socket.socket, console: Console) -> None:
        self._options = options
        self._listener = listener
        self._console = console
        self._root = Path.cwd()
        self._loaded = False
        self._ending: asyncio.Future[ExitReason] = asyncio.get_running_loop().create_future()
        self._last_resort = ForcedExit(console.warn)

    async def serve(self, project: Project, program: UserProgram) -> ExitReason:
        """Run the program until it is stopped or changes."""
        self._root, self._loaded = project.root, True
        secrets = load_secrets(project.root, project.env_name)
        given = {name: value for engine in program.engines for name, value in engine.values.items()}
        values = {**project.config.vars, **secrets, **given, **self._options.variables}
        self._check(program, values)
        database = self._database(project)
        es = Everstep(
            program.workflows,
            database=database,
            env=values,
            root=project.root,
            version=program.version,
            lease=project.config.lease,
            direct=project.config.database_direct if is_postgres(database) else None,  # which --state overrides
            options=EngineOptions(**structs.asdict(project.config.engine)),
            owns_process=True,
        )
        for engine in program.engines:
            engine.defer_to(es)
            if engine.database not in {database, DEFAULT_DATABASE}:
                program.notes.append(
                    f"the program's own {type(engine).__name__} keeps state in {_shown(engine.database, self._root)}: "
                    "not so under everstep dev, where `database` in the settings or --state says"
                )
        if not self._options.quiet:
            es.telemetry.subscribe(self._console.event)
            leave_out_doubles()
        async with es:
            app = build_app(es.control, user_app(program.web, es.values), allowed_hosts=self._options.allowed_hosts)
            self._banner(program, es, database, sorted(secrets))
            return await self._until_ended(with_access_log(app, self._log_request))

    async def wait_for_change(self, problem: str) -> ExitReason:
        """Answer every request with what is wrong, until a file changes."""

        async def broken(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                from starlette.responses import PlainTextResponse

                await PlainTextResponse(problem + "\n", 503)(scope, receive, send)

        return await self._until_ended(broken)

    async def _until_ended(self, app: AsgiApp) -> ExitReason:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="on",
            http="httptools",
            ws="none",
            timeout_graceful_shutdown=2,
            server_header=False,
        )
        server = _Server(config)
        # A socket of its own for each server: closing it leaves the queue of the one that is handed on open.
        serving = asyncio.ensure_future(server.serve(sockets=[self._listener.dup()]))
        with self._signals(), self._keys(), say_why_not_accepted(self._console.warn):
            watching = asyncio.ensure_future(self._watch())
            waiting: set[asyncio.Future[Any]] = {serving, self._ending}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            watching.cancel()
            server.should_exit = True
            await serving
        if not server.started:
            raise ConfigError("the app's own lifespan failed at start; its traceback is above")
        return self._ending.result() if self._ending.done() else "stop"

    def _end(self, ending: ExitReason) -> None:
        if ending == "stop":
            self._last_resort.asked_to_stop()
        if not self._ending.done():
            self._ending.set_result(ending)

    async def _watch(self) -> None:
        """End this life when a file of the program or of its configuration changes.

        Of a program that did not load nobody knows the modules: then every source file counts.
        """
        if not self._options.reload:
            return
        from watchfiles import DefaultFilter, awatch  # only here: it costs start-up time

        ignored = {*DefaultFilter.ignore_dirs, ".everstep"}
        if self._options.state is not None:
            ignored.add(self._options.state.name)

        is_source = self._is_of_program if self._loaded else _is_source

        class Sources(DefaultFilter):
            ignore_dirs = tuple(ignored)

            def __call__(self, change: Any, path: str) -> bool:
                return super().__call__(change, path) and is_source(Path(path))

        async for changes in awatch(self._root, watch_filter=Sources(), debounce=300, step=50):
            files = sorted({_relative(Path(path), self._root) for _, path in changes})
            self._console.say(f"{', '.join(files[:3])} changed: reloading")
            self._end("reload")
            return

    def _is_of_program(self, path: Path) -> bool:
        """Whether a file is read at the start: what steps write beside the program must not cut them off."""
        if path.parent == self._root and _is_configuration(path.name):
            return True
        return path.suffix == ".py" and path in module_files(self._root)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()

        def stop(*_: object) -> None:  # not a handler of the loop's, which is not called while the loop is blocked
            self._last_resort.asked_to_stop()
            loop.call_soon_threadsafe(self._end, "stop")

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def _keys(self) -> Iterator[None]:
        commands: dict[str, Callable[[], None]] = {
            "o": self._open_inspector,
            "r": lambda: self._end("reload"),
            "c": lambda: self._console.say("\x1b[2J\x1b[H"),
            "q": lambda: self._end("stop"),
            "x": lambda: self._end("stop"),
        }
        if not self._options.keys:
            yield
            return
        with hotkeys(commands) as listening:
            if listening:
                self._console.say("  [o] open the inspector  [r] reload  [c] clear  [q] quit\n")
            yield

    def _open_inspector(self) -> None:
        import webbrowser  # only when asked for

        webbrowser.open(f"{self._url}/__workflows")

    def _check(self, program: UserProgram, values: dict[str, Any]) -> None:
        classes = [declared_env(workflow.cls) for workflow in program.workflows]
        if isinstance(program.web, type) and issubclass(program.web, WorkerEntrypoint):
            classes.append(declared_env(program.web))
        names = [*values, *(workflow.binding for workflow in program.workflows)]
        check_environments(list(dict.fromkeys(classes)), names)

    def _database(self, project: Project) -> str:
        if self._options.state is not None:
            return f"sqlite:///{(self._options.state / 'state.db').absolute()}"
        return project.config.database

    def _log_request(self, method: str, path: str, status: int, took_ms: float) -> None:
        if not self._options.quiet:
            self._console.request(method, path, status, took_ms)

    @property
    def _url(self) -> str:
        return url_of(self._listener, self._options.host)

    def _banner(self, program: UserProgram, es: Everstep, database: str, secrets: list[str]) -> None:
        say = self._console.say
        say(f"Ready {'again ' if os.environ.get(_RELOADED) else ''}on {self._url}")
        say(f"  inspector  {self._url}/__workflows")
        for workflow in program.workflows:
            say(f"  workflow   {workflow.name} (class {workflow.cls.__name__}, env.{workflow.binding})")
        if secrets:
            say(f"  secrets    {', '.join(secrets)}")
        say(f"  state      {_shown(database, self._root)}")
        if es.recovered:
            say(f"  recovered  {es.recovered} instances that were running when the process ended")
        if on_all_interfaces(self._listener):
            self._console.warn(OPEN_TO_ALL)
        for note in program.notes:
            self._console.warn(note)


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: what to do at a signal is decided above."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _replace_process(listener: socket.socket) -> None:
    pass_to_child(listener)
    os.environ[_RELOADED] = "1"
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # this very command, again


def _is_configuration(name: str) -> bool:
    return name in FILE_NAMES or name.startswith((".dev.vars", ".env"))


def _is_source(path: Path) -> bool:
    return path.suffix == ".py" or _is_configuration(path.name)


def _shown(database: str, root: Path) -> str:
    if database.startswith("sqlite:///"):
        return _relative(Path(database.removeprefix("sqlite:///")), root)
    return redact_url(database)


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
