"""`Everstep`: an engine inside any process, as an async context manager."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from typing_extensions import TypeVar

from everstep.core.durations import lease_ms
from everstep.core.list_argument import list_argument
from everstep.engine.runtime.clock import Clock
from everstep.engine.runtime.interpreter import owned_interpreter
from everstep.engine.runtime.options import EngineOptions
from everstep.engine.runtime.registry import WorkflowDefinition, WorkflowRegistry, define
from everstep.sdk.entrypoint import DEFAULT_DATABASE, WorkflowEntrypoint
from everstep.sdk.env import Env, set_default_env
from everstep.sdk.workflow_binding import Workflow, bindings
from everstep.store.admin.open import open_store
from everstep.store.protocol import Store
from everstep.telemetry.bus import Telemetry
from everstep.telemetry.log_records import log_records

if TYPE_CHECKING:
    from everstep.control.control import LocalControl

ParamsT = TypeVar("ParamsT", default=Any)


class Everstep:
    """Runs workflows inside this process.

    Args:
        workflows: The workflow classes.
        database: Where state is kept: `"sqlite:///path/to/state.db"`, or `"sqlite:///:memory:"` for state that is gone
            afterwards. One engine at a time uses a SQLite file. `"postgresql://user@host/database"` is shared by any
            number of processes.
        env: Vars and secrets; bindings of all workflows are added under their names in upper snake case.
        lease: How long the instances of a process that fell silent stay its own before another one takes them over:
            from 2 seconds to 1 day.
        owns_process: Whether the process is there for the engine only. Then the interpreter is settled for it: shorter
            turns of its threads and rarer garbage collections, worth a fifth when a thousand instances are at work.
        direct: Another URL of the same PostgreSQL database, past a pooler in transaction mode, for notifications.
        root: The directory that a relative path of `database` is in; the current one when omitted.
        version: What identifies this state of the code, shown as `version` of an instance's status.
        clock: For tests of the engine, as are `options` and `store`.

    Raises:
        TypeError: for workflows that are no list, and for an env that is no dict; its values are never shown.
        ValueError: for a lease that is shorter or longer.
        ConfigError: on entering, if a declared member of an environment is missing; all are named.
        DatabaseInUseError: on entering, if another engine runs on this SQLite file, here or in another process.

    Example:
        >>> async def main():
        ...     async with Everstep([Hello], database="sqlite:///:memory:") as es:
        ...         instance = await es.workflow(Hello).create(params={"name": "Ada"})
        ...         print(await instance.result())
    """

    def __init__(  # noqa: PLR0913  # all but the first are named, and may be left out
        self,
        workflows: Sequence[type[WorkflowEntrypoint[Any, Any]] | WorkflowDefinition],
        *,
        database: str = DEFAULT_DATABASE,
        env: Mapping[str, Any] | None = None,
        root: Path | None = None,
        version: str | None = None,
        clock: Clock | None = None,
        options: EngineOptions | None = None,
        store: Store | None = None,
        lease: str = "15 seconds",
        direct: str | None = None,
        owns_process: bool = False,
    ) -> None:
        if not (env is None or isinstance(env, Mapping)):
            raise TypeError(f"env is a dict of vars and secrets by name, got {type(env).__name__}")
        given = list_argument(workflows, "Everstep takes a list of workflow classes")
        definitions = [one if isinstance(one, WorkflowDefinition) else define(one) for one in given]
        self.registry = WorkflowRegistry(definitions, version=version)
        self.telemetry = Telemetry()
        self._values = dict(env or {})
        self._store = (
            store if store is not None else open_store(database, root, lease_ms=lease_ms(lease), direct=direct)
        )
        self._clock = clock
        self._options = options
        self._owns_process = owns_process
        self._running: AsyncExitStack | None = None
        self._env: Env | None = None
        self._deputy: Everstep | None = None
        self.database = database
        self.recovered = 0

    @property
    def control(self) -> LocalControl:
        """What can be asked of instances. Raises RuntimeError outside `async with`."""
        if self._deputy is not None:
            return self._deputy.control
        if self._running is None:
            raise RuntimeError("the engine is not running: use it inside `async with Everstep(...) as es:`")
        return self._control

    @property
    def env(self) -> Env:
        """The environment as an app without a declared one sees it. Raises RuntimeError before `async with`."""
        if self._deputy is not None:
            return self._deputy.env
        if self._env is None:
            raise RuntimeError("env has no bindings yet: use it inside `async with Everstep(...) as es:`")
        return self._env

    @property
    def values(self) -> dict[str, Any]:
        """Every member of the environment by name: bindings, vars and secrets."""
        return self._values if self._deputy is None else self._deputy.values

    def defer_to(self, deputy: Everstep) -> None:
        """Let another engine of this process do the work of this one, which then starts nothing in `async with`.

        `everstep dev` runs a program's workflows with an engine of its own, while the program's handlers ask theirs.

        Args:
            deputy: The engine that runs, of the same process.
        """
        self._deputy = deputy

    def workflow(self, workflow: str | type[WorkflowEntrypoint[Any, ParamsT]]) -> Workflow[ParamsT]:
        """Return the binding of a workflow, by its class or its name. Raises WorkflowNotFoundError."""
        registry = self.registry if self._deputy is None else self._deputy.registry
        return Workflow(self.control, registry.resolve(workflow).name)

    async def __aenter__(self) -> Self:
        if self._deputy is not None:
            return self
        # Only where an engine runs: they take longer to load than all the rest.
        from everstep.control.control import LocalControl
        from everstep.engine.engine import Engine

        async with AsyncExitStack() as stack:
            await self._store.open()
            stack.push_async_callback(self._store.close)
            engine = Engine(
                self._store, self.registry, clock=self._clock, telemetry=self.telemetry, options=self._options
            )
            self._control = LocalControl(engine)
            self._bind()
            before = set_default_env(self._env)
            stack.callback(set_default_env, before)
            stack.enter_context(log_records(self.telemetry))
            self.recovered = await engine.start()
            stack.push_async_callback(engine.stop)
            if self._owns_process:
                stack.enter_context(owned_interpreter())
            self._running = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        running, self._running = self._running, None
        if running is not None:
            await running.aclose()

    def _bind(self) -> None:
        names = {definition.binding: definition.name for definition in self.registry}
        self._values |= bindings(self._control, names)
        self.registry.bind_env(self._values)
        self._env = Env()
        vars(self._env).update(self._values)


def lifespan(
    es: Everstep, inner: Callable[[Any], AbstractAsyncContextManager[Any]] | None = None
) -> Callable[[Any], AbstractAsyncContextManager[Any]]:
    """Make an ASGI app's lifespan that runs the engine around the app's own.

    Args:
        es: The engine to run while the app does.
        inner: The app's own lifespan, if it has one.

    Example:
        >>> from starlette.applications import Starlette
        >>> def build(es):
        ...     return Starlette(lifespan=lifespan(es))
    """

    @contextlib.asynccontextmanager
    async def around(app: Any) -> AsyncIterator[Any]:
        async with es:
            if inner is None:
                yield None
            else:
                async with inner(app) as state:
                    yield state

    return around
