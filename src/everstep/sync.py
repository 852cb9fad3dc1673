"""`SyncEverstep`: an engine in a thread of its own, for code without an event loop: Flask, WSGI, scripts."""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, cast

from typing_extensions import TypeVar as TypeVarWithDefault

from everstep.core.errors import EngineStoppedError
from everstep.core.types import Status, SubscriptionEvent
from everstep.embedded import Everstep
from everstep.engine.runtime.registry import WorkflowRegistry
from everstep.own_loop import run_on_own_loop
from everstep.sdk.control import Retention
from everstep.sdk.entrypoint import DEFAULT_DATABASE, WorkflowEntrypoint
from everstep.sdk.workflow_binding import CreateBatchResult, InstancePage, Workflow, WorkflowInstance

ParamsT = TypeVarWithDefault("ParamsT", default=Any)
InnerT = TypeVar("InnerT")
P = ParamSpec("P")
T = TypeVar("T")


class _Runs(Protocol):
    def __call__(self, coroutine: Coroutine[Any, Any, T], /) -> T: ...


class _Facade(Generic[InnerT]):
    """Something of the asynchronous API, whose methods are called on the engine's loop and waited for."""

    def __init__(self, inner: InnerT, run: _Runs) -> None:
        self._inner = inner
        self._run = run

    def __repr__(self) -> str:
        return f"<sync {self._inner!r}>"


def _waited_for(
    method: Callable[Concatenate[InnerT, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[_Facade[InnerT], P], T]:
    """Make a method of a facade that calls this one and waits for what it returns."""

    @functools.wraps(method)
    def call(self: _Facade[InnerT], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(method(self._inner, *args, **kwargs))

    return cast("Callable[Concatenate[_Facade[InnerT], P], T]", call)


class SyncInstance(_Facade[WorkflowInstance]):
    """A `WorkflowInstance` whose methods return when it is done; they take and raise the same."""

    @property
    def id(self) -> str:
        """The instance's id."""
        return self._inner.id

    status = _waited_for(WorkflowInstance.status)
    steps = _waited_for(WorkflowInstance.steps)
    result = _waited_for(WorkflowInstance.result)
    pause = _waited_for(WorkflowInstance.pause)
    resume = _waited_for(WorkflowInstance.resume)
    terminate = _waited_for(WorkflowInstance.terminate)
    restart = _waited_for(WorkflowInstance.restart)
    delete = _waited_for(WorkflowInstance.delete)
    send_event = _waited_for(WorkflowInstance.send_event)

    def subscribe(self, *, cursor: int = 0, filter: Iterable[str] | None = None) -> Iterator[SubscriptionEvent]:
        """Follow what happens to it, as `WorkflowInstance.subscribe` does."""
        following = self._inner.subscribe(cursor=cursor, filter=filter)

        async def following_event() -> SubscriptionEvent | None:
            return await anext(following, None)

        while (event := self._run(following_event())) is not None:
            yield event


class SyncWorkflow(_Facade[Workflow[ParamsT]], Generic[ParamsT]):
    """A binding whose methods return when it is done; they take and raise the same as those of `Workflow`."""

    @property
    def name(self) -> str:
        """The workflow's name."""
        return self._inner.name

    delete_batch = _waited_for(Workflow.delete_batch)

    def create(
        self,
        *,
        id: str | None = None,
        params: ParamsT | None = None,
        retention: Retention | None = None,
        tags: Iterable[str] = (),
    ) -> SyncInstance:
        """Create an instance; when this returns, it is on disk and will run."""
        return self._instance(self._run(self._inner.create(id=id, params=params, retention=retention, tags=tags)))

    def get_or_create(self, *, id: str | None = None, params: ParamsT | None = None) -> SyncInstance:
        """Return the instance with this id, created with `params` if there is none yet."""
        return self._instance(self._run(self._inner.get_or_create(id=id, params=params)))

    def get(self, id: str) -> SyncInstance:
        """Return the instance with this id. Raises InstanceNotFoundError if there is none."""
        return self._instance(self._run(self._inner.get(id)))

    def create_batch(self, batch: Iterable[Mapping[str, Any]]) -> CreateBatchResult[SyncInstance]:
        """Create up to 100 instances; what fails for one leaves the others alone."""
        made = self._run(self._inner.create_batch(batch))
        return CreateBatchResult([self._instance(one) for one in made.created], made.errors)

    def list(
        self, *, status: Status | None = None, tag: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> InstancePage[SyncInstance]:
        """Return instances, newest first."""
        page = self._run(self._inner.list(status=status, tag=tag, limit=limit, cursor=cursor))
        return InstancePage([self._instance(one) for one in page.instances], page.cursor)

    def _instance(self, instance: WorkflowInstance) -> SyncInstance:
        return SyncInstance(instance, self._run)


class SyncEverstep:
    """Runs workflows in a thread of this process, for code that has no event loop.

    The engine starts at the first use, at `start()`, or at `with`, and ends with the process, at `close()`, or at the
    end of `with`. Any number of threads may use it. Started before a process forks it belongs to the parent: a server
    that forks its workers (gunicorn with `preload_app`) starts one in each of them.

    Args:
        workflows: The workflow classes.
        database: Where state is kept, as for `Everstep`. Several processes need PostgreSQL.
        env: Vars and secrets.
        lease: How long the instances of a process that fell silent stay its own.
        direct: Another URL of the same PostgreSQL database, past a pooler in transaction mode, for notifications.

    Raises:
        RuntimeError: on use in a coroutine on the engine's loop, which it would block, and in a forked child.
        ConfigError: on starting, if a declared member of an environment is missing; all are named.
        DatabaseInUseError: on starting, if another process runs an engine on this database.

    Example:
        >>> def main():
        ...     with SyncEverstep([Hello], database="sqlite:///:memory:") as es:
        ...         print(es.workflow(Hello).create(params={"name": "Ada"}).result("1 minute"))
    """

    def __init__(
        self,
        workflows: Sequence[type[WorkflowEntrypoint[Any, Any]]],
        *,
        database: str = DEFAULT_DATABASE,
        env: Mapping[str, Any] | None = None,
        lease: str = "15 seconds",
        direct: str | None = None,
    ) -> None:
        self._es = Everstep(workflows, database=database, env=env, lease=lease, direct=direct)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._process = 0
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def start(self) -> Self:
        """Start the engine, unless it runs; return once it does, and raise what keeps it from starting."""
        with self._lock:
            self._closed = False
        self._start_at_first_use()
        return self

    def close(self) -> None:
        """Let attempts finish for a moment, give every instance back and end the thread."""
        with self._lock:
            if self._stop is None:
                return
            thread, self._thread, self._closed = self._thread, None, True
            if thread is None or self._process != os.getpid():
                return
            atexit.unregister(self.close)
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join()

    @property
    def registry(self) -> WorkflowRegistry:
        """The workflows, by name."""
        return self._es.registry

    @property
    def database(self) -> str:
        """Where state is kept."""
        return self._es.database

    @property
    def values(self) -> dict[str, Any]:
        """Every member of the environment by name."""
        return self._es.values

    def defer_to(self, deputy: Everstep) -> None:
        """Let an engine that runs on the running loop do the work of this one, which then starts and ends nothing."""
        self._es.defer_to(deputy)
        self._loop, self._thread, self._process = asyncio.get_running_loop(), threading.current_thread(), os.getpid()

    def workflow(self, workflow: str | type[WorkflowEntrypoint[Any, ParamsT]]) -> SyncWorkflow[ParamsT]:
        """Return the binding of a workflow, by its class or its name. Raises WorkflowNotFoundError."""
        self._start_at_first_use()
        return SyncWorkflow(self._es.workflow(workflow), self.run)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of the asynchronous API on the engine's loop, and return what it returns.

        Raises:
            EngineStoppedError: if the engine stops meanwhile.
        """
        try:
            loop = self._start_at_first_use()
            if self._thread is threading.current_thread():
                raise RuntimeError(
                    "this would block the engine's own event loop: await the binding of `self.env` there"
                )
        except BaseException:
            coroutine.close()
            raise
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        try:
            return future.result()
        except CancelledError:
            raise EngineStoppedError("the engine stopped meanwhile") from None
        except BaseException:  # Ctrl-C in this thread: nobody waits for it any more
            future.cancel()
            raise

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start_at_first_use(self) -> asyncio.AbstractEventLoop:
        if self._thread is None:  # most often it runs, and needs no lock
            with self._lock:
                if self._closed:
                    raise EngineStoppedError("the engine was closed: call start() to have it run again")
                if self._thread is None:
                    self._start()
        if self._process != os.getpid():
            raise RuntimeError(
                f"the engine was started in process {self._process}, which forked this one, and a fork has no threads: "
                "start it in each process (gunicorn: without preload_app)"
            )
        assert self._loop is not None
        return self._loop

    def _start(self) -> None:
        started: Future[None] = Future()
        thread = threading.Thread(target=self._serve, args=(started,), name="everstep", daemon=True)
        thread.start()
        started.result()
        self._thread, self._process = thread, os.getpid()
        atexit.register(self.close)

    def _serve(self, started: Future[None]) -> None:
        async def serve() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            async with self._es:
                started.set_result(None)
                await self._stop.wait()

        try:
            run_on_own_loop(serve())
        except BaseException as error:  # its place is the thread that waits for the start
            if started.done():
                raise
            started.set_exception(error)
