"""The classes users subclass: workflows, and the web side of an app."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, get_args, get_origin, get_type_hints

from typing_extensions import TypeVar

from everstep.core.errors import ConfigError
from everstep.core.names import kebab_case
from everstep.core.types import Durability, WorkflowEvent
from everstep.own_loop import run_on_own_loop
from everstep.sdk.env import Env
from everstep.sdk.step import WorkflowStep

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

    Attributes:
        env: Bindings, vars and secrets, as the declared class.
        ctx: `ctx.wait_until(coroutine)` lets a coroutine go on beside the code; it is not durable.
        durability: `"full"`: a step's result has reached the disk before the line after it runs. `"relaxed"`: it has
            reached the operating system. That outlives the process, `kill -9` included, and is several times as fast
            for steps in sequence; when the machine loses power, the results of the last moments may be gone, and their
            steps run again. What is asked from outside (`create`, events, pause, terminate) is never relaxed.

    Example:
        >>> class Hello(WorkflowEntrypoint[Env, dict]):
        ...     async def run(self, event: WorkflowEvent[dict], step: WorkflowStep) -> str:
        ...         return await step.do("greet", lambda: f"hello {event.payload['name']}")
    """

    durability: ClassVar[Durability] = "full"

    async def run(self, event: WorkflowEvent[ParamsT], step: WorkflowStep) -> Any:
        """Do the work, step by step. Runs again from the top whenever the instance is resumed."""
        raise NotImplementedError(f"{type(self).__name__} must define `async def run(self, event, step)`")

    @classmethod
    def run_once(
        cls,
        params: ParamsT | None = None,
        *,
        id: str | None = None,
        env: Mapping[str, Any] | None = None,
        database: str | None = None,
    ) -> Any:
        """Run one instance to its end in this process and return its output; needs no configuration.

        With an `id`, a run that was killed is picked up where it was, and one that is complete returns its output
        again.

        Args:
            params: What `event.payload` will be. An instance that exists keeps what it began with.
            id: The instance's id; a new one when omitted.
            env: Vars and secrets by name, as `self.env` shows them.
            database: `sqlite:///state.db` or `postgresql://…`; `sqlite:///.everstep/state.db` when omitted.

        Raises:
            RuntimeError: inside a running event loop; use `async with Everstep(...)` there.
            ConfigError: if a declared member of the environment is missing.
            DatabaseInUseError: if another process runs an engine on this database.
            Exception: what the instance ended with.

        Example:
            >>> def main():
            ...     print(Hello.run_once({"name": "Ada"}, id="first", env={"GREETING": "Hello"}))
        """
        from everstep.embedded import Everstep  # a rung above this one, and loading it takes a moment

        async def run() -> Any:
            where = database or DEFAULT_DATABASE
            async with Everstep([cls], database=where, env=env, owns_process=True) as es:
                instance = await es.workflow(cls).get_or_create(id=id, params=params)
                return await instance.result()

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise RuntimeError(
                f"{cls.__name__}.run_once() blocks, and an event loop is running: use async with Everstep(…)"
            )
        return run_on_own_loop(run())  # here, or what the instance ended with would be shown after the error above


class WorkerEntrypoint(_Entrypoint[EnvT], Generic[EnvT]):
    """The web side of an app: a subclass named `Default` with `fetch`. A `scheduled` is not called by this release.

    Attributes:
        env: Bindings, vars and secrets, as the declared class.
        ctx: `ctx.wait_until(coroutine)` lets a coroutine go on after the response was sent; it is not durable.

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
    declared = _type_argument(cls, EnvT)
    return declared if isinstance(declared, type) and issubclass(declared, Env) else Env


def declared_params(cls: type[WorkflowEntrypoint[Any, Any]]) -> Any:
    """Return the declared type of a workflow's params, or `Any`."""
    return _type_argument(cls, ParamsT)


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
    if inspect.isasyncgenfunction(cls.run):
        raise ConfigError(
            f"workflow {cls.__name__}: `run` has a `yield`, which makes it a generator; return the result, and await "
            "each step"
        )
    if not inspect.iscoroutinefunction(cls.run):
        raise ConfigError(f"workflow {cls.__name__}: `run` must be `async def`")
    signature = inspect.signature(cls.run)
    try:
        signature.bind("self", "event", "step")
    except TypeError:
        raise ConfigError(
            f"workflow {cls.__name__}: `run` is called with an event and a step; write `async def run(self, event, "
            f"step)`, not `async def run({', '.join(map(str, signature.parameters.values()))})`"
        ) from None
    second = list(signature.parameters)[1:2]
    if second == ["step"]:
        raise ConfigError(
            f"workflow {cls.__name__}: `run` gets the event first; write `async def run(self, event, step)`"
        )
    return cls


def _type_argument(cls: type[_Entrypoint[Any]], variable: Any) -> Any:
    """Return what `cls` gives for a type variable of its entrypoint, or `Any` if that is left open."""
    found = _followed(cls, variable)
    return Any if isinstance(found, TypeVar) else found


def _followed(cls: type, found: Any) -> Any:
    """Follow a type variable down from the entrypoint to `cls`, through the generic classes between them."""
    if cls in (WorkflowEntrypoint, WorkerEntrypoint):
        return found
    for base in vars(cls).get("__orig_bases__", cls.__bases__):
        origin = get_origin(base) or base
        if isinstance(origin, type) and issubclass(origin, _Entrypoint):
            given: dict[Any, Any] = dict(zip(getattr(origin, "__parameters__", ()), get_args(base), strict=False))
            above = _followed(origin, found)
            resolved = given.get(above, above) if isinstance(above, TypeVar) else above
            if not isinstance(resolved, TypeVar) or resolved in getattr(cls, "__parameters__", ()):
                return resolved
    return found
