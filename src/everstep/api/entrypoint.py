"""The classes users subclass: workflows, and the web side of an app."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Generic, get_args, get_origin, get_type_hints

from typing_extensions import TypeVar

from everstep.api.env import Env
from everstep.api.step import WorkflowStep
from everstep.core.errors import ConfigError
from everstep.core.names import kebab_case
from everstep.core.types import WorkflowEvent

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

EnvT = TypeVar("EnvT", bound=Env, default=Any)
ParamsT = TypeVar("ParamsT", default=Any)


class ExecutionContext:
    """What an entrypoint may ask of its surroundings; `self.ctx`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Future[Any]] = set()

    def wait_until(self, awaitable: Coroutine[Any, Any, Any]) -> None:
        """Let `awaitable` go on after the response was sent. It is not durable: for that, create a workflow."""
        task = asyncio.ensure_future(awaitable)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Entrypoint(Generic[EnvT]):
    env: EnvT
    ctx: ExecutionContext

    def __init__(self, ctx: ExecutionContext, env: EnvT) -> None:
        self.ctx = ctx
        self.env = env


class WorkflowEntrypoint(_Entrypoint[EnvT], Generic[EnvT, ParamsT]):
    """A workflow: subclass it and write `run`.

    `WorkflowEntrypoint[ShopEnv, OrderParams]` declares the environment, checked at start, and the type of
    `event.payload`; both may be left out.

    Example:
        >>> class Hello(WorkflowEntrypoint[Env, dict]):
        ...     async def run(self, event: WorkflowEvent[dict], step: WorkflowStep) -> str:
        ...         return await step.do("greet", lambda: f"hello {event.payload['name']}")
    """

    async def run(self, event: WorkflowEvent[ParamsT], step: WorkflowStep) -> Any:
        """Do the work, step by step. Runs again from the top whenever the instance is resumed."""
        raise NotImplementedError(f"{type(self).__name__} must define `async def run(self, event, step)`")

    @classmethod
    def run_once(
        cls,
        params: Any = None,
        *,
        id: str | None = None,
        env: Mapping[str, Any] | None = None,
        database: str | None = None,
    ) -> Any:
        """Run one instance to its end in this process and return its output; needs no configuration.

        State is kept in `.everstep/`. With an `id`, a run that was killed is picked up where it was, and one that is
        complete returns its output again.

        Raises:
            RuntimeError: inside a running event loop; use `async with Everstep(...)` there.
            Exception: what the instance ended with.
        """
        # Through the package's public names: the engine is a rung above this one, and loading it takes a moment.
        from everstep import Everstep

        async def run() -> Any:
            async with Everstep([cls], database=database or DEFAULT_DATABASE, env=env) as es:
                instance = await es.workflow(cls).get_or_create(id=id, params=params)
                return await instance.result()

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(run())
        raise RuntimeError(
            f"{cls.__name__}.run_once() blocks, and an event loop is running: use async with Everstep(…)"
        )


class WorkerEntrypoint(_Entrypoint[EnvT], Generic[EnvT]):
    """The web side of an app: a subclass named `Default` with `fetch`, and `scheduled` if it has schedules.

    Example:
        >>> class Default(WorkerEntrypoint):
        ...     async def fetch(self, request):
        ...         return Response.json({"ok": True})
    """

    async def fetch(self, request: Request) -> Response:
        """Answer a request."""
        raise NotImplementedError(f"{type(self).__name__} must define `async def fetch(self, request)`")


DEFAULT_DATABASE = "sqlite:///.everstep/state.db"


def workflow_name(cls: type[WorkflowEntrypoint[Any, Any]]) -> str:
    """Return the name of a workflow class: its own in kebab case."""
    return kebab_case(cls.__name__)


def declared_env(cls: type[_Entrypoint[Any]]) -> type[Env]:
    """Return the environment class an entrypoint declares, or `Env`."""
    declared = _type_arguments(cls)[0:1]
    return declared[0] if declared and isinstance(declared[0], type) and issubclass(declared[0], Env) else Env


def declared_params(cls: type[WorkflowEntrypoint[Any, Any]]) -> Any:
    """Return the declared type of a workflow's params, or `Any`."""
    arguments = _type_arguments(cls)
    return arguments[1] if len(arguments) == 2 and not isinstance(arguments[1], TypeVar) else Any


def declared_output(cls: type[WorkflowEntrypoint[Any, Any]]) -> Any:
    """Return the declared type of what a workflow's `run` returns, or `Any`."""
    try:
        return get_type_hints(cls.run).get("return", Any)
    except (NameError, TypeError):  # annotations that only a type checker can resolve
        return Any


def check_entrypoint(cls: object) -> type[WorkflowEntrypoint[Any, Any]]:
    """Return `cls` if it is a workflow class with a `run` of its own, else raise `ConfigError`."""
    if not (isinstance(cls, type) and issubclass(cls, WorkflowEntrypoint)):
        raise ConfigError(f"{getattr(cls, '__name__', cls)!r} is not a workflow: subclass WorkflowEntrypoint")
    if cls.run is WorkflowEntrypoint.run:
        raise ConfigError(f"workflow {cls.__name__} has no `async def run(self, event, step)`")
    if not asyncio.iscoroutinefunction(cls.run):
        raise ConfigError(f"workflow {cls.__name__}: `run` must be `async def`")
    return cls


def _type_arguments(cls: type) -> tuple[Any, ...]:
    for ancestor in cls.__mro__:
        for base in getattr(ancestor, "__orig_bases__", ()):
            origin = get_origin(base)
            if isinstance(origin, type) and issubclass(origin, _Entrypoint) and origin is not _Entrypoint:
                return get_args(base)
    return ()
