"""Tasks, futures, timers and callbacks of a workflow's event loop: alike in every activation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from everstep.engine.execution.workflow_loop import WorkflowLoop


class LoopHost(Protocol):
    """The interface of an execution to its loop."""

    @property
    def now_ms(self) -> int:
        """The time as the code sees it, in milliseconds since 1970."""
        ...

    def pump_soon(self) -> None:
        """Something became ready, or an await of the outside ended, while the loop was not being pumped."""
        ...

    def timer_started(self, timer: WorkflowTimer, delay_ms: int) -> None:
        """The code began a timer."""
        ...

    def timer_cancelled(self, timer: WorkflowTimer) -> None:
        """The code cancelled a timer."""
        ...

    def outside_awaited(self) -> None:
        """The code begins to await something that no step records."""
        ...


class WorkflowTask(asyncio.Task[Any]):
    """A task whose hash is the number of its creation, so that sets of tasks iterate alike in every activation.

    The instance's own number is mixed in: asyncio keeps the tasks of all loops in one set.
    """

    __slots__ = ("context", "number")

    def __init__(
        self, coro: Any, *, loop: WorkflowLoop, number: int, context: Context, name: str | None, **options: Any
    ) -> None:
        self.number = number  # before the base class puts the task into sets
        self.context = context
        asyncio.Task.__init__(self, coro, loop=loop, name=name, context=context, **options)

    def get_coro(self) -> Any:
        """Return the code's own coroutine, for those who look where it stands."""
        coro = asyncio.Task.get_coro(self)
        return coro.coro if type(coro) is Bridge else coro

    @property
    def _coro(self) -> Any:
        """What asyncio shows of a task."""
        return self.get_coro()

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class WorkflowFuture(asyncio.Future[Any]):
    """A future whose hash is the number of its creation, for sets of bare futures."""

    __slots__ = ("number",)

    def __init__(self, *, loop: WorkflowLoop) -> None:
        # Counted apart from tasks: how many futures asyncio makes inside differs between its versions.
        loop.futures = self.number = loop.futures + 1
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class Ready(Struct, eq=False, order=False):
    """A callback that is ready to run: what code uses of `asyncio.Handle`, and no more."""

    callback: Callable[..., Any]
    args: tuple[Any, ...]
    context: Context
    is_cancelled: bool = False

    def cancel(self) -> None:
        """Do not call back."""
        self.is_cancelled = True

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.is_cancelled


class WorkflowTimer(asyncio.TimerHandle):
    """A timer of the code; `call` is what the execution keeps of it while it runs."""

    __slots__ = ("call",)

    def __init__(
        self,
        when: float,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        loop: WorkflowLoop,
        context: Context | None,
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self.call: Any = None

    def fire(self) -> None:
        """Call back in the loop, now."""
        self.call = None
        self._loop.call_soon(self._run_unless_cancelled)  # type: ignore[attr-defined]

    def _run_unless_cancelled(self) -> None:
        if not self.cancelled():
            self._run()


class Bridge(Coroutine[Any, Any, Any]):
    """A coroutine of the code that may await futures of the application's loop: its task waits for a stand-in.

    Without `__getattr__`, which would slow down every other attribute.
    """

    __slots__ = ("_loop", "coro")

    def __init__(self, coro: Any, loop: WorkflowLoop) -> None:
        self.coro = coro
        self._loop = loop

    def send(self, value: Any) -> Any:
        awaited = self.coro.send(value)
        if awaited is None or getattr(awaited, "_loop", self._loop) is self._loop:
            return awaited
        return self._loop.stand_in(awaited)

    def throw(self, *error: Any) -> Any:
        awaited = self.coro.throw(*error)
        if awaited is None or getattr(awaited, "_loop", self._loop) is self._loop:
            return awaited
        return self._loop.stand_in(awaited)

    def close(self) -> None:
        self.coro.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        awaited: Generator[Any, Any, Any] = self.coro.__await__()
        return awaited

    # What is asked of a coroutine by those who look at a task. Not `__getattr__`: it would slow every other attribute.
