"""One try of one step: calls the user's function wherever it has to run, and takes its time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from types import CodeType, CoroutineType
from typing import Any

from msgspec import Struct

from everstep.api.current import running_step
from everstep.api.declared import StepCall
from everstep.core.durations import format_duration
from everstep.core.errors import WorkflowTimeoutError
from everstep.core.types import StepContext
from everstep.engine.deadlines import Deadlines

_COROUTINE = inspect.CO_COROUTINE


class Attempt(Struct, frozen=True):
    """One try: the call, the task it runs in, its context for those who ask, its time, and what keeps a stream.

    A stream is read within the attempt's time.
    """

    call: StepCall
    task: asyncio.Task[Any]
    context: Callable[[], StepContext]
    timeout_ms: int
    keep: Callable[[Any], Awaitable[Any]]


class Attempts:
    """Runs attempts: coroutines on the loop, plain functions in worker threads.

    Args:
        deadlines: Where timeouts are kept.
        threads: How many plain functions run at once; further ones wait their turn before their time starts.
    """

    def __init__(self, deadlines: Deadlines, *, threads: int) -> None:
        self._deadlines = deadlines
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="everstep-step")
        self._slots = asyncio.Semaphore(threads)

    def run(self, attempt: Attempt) -> Coroutine[Any, Any, Any]:
        """Run one attempt, in the current task, and return what the function returned.

        Raises:
            WorkflowTimeoutError: when it took too long; a coroutine was cancelled, a thread's late end changes nothing.
            BaseException: whatever the function raised.
        """
        return self._in_turn(attempt) if _runs_in_thread(attempt.call.fn) else self._timed(attempt)

    def close(self) -> None:
        """Let go of the threads; those still busy end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _in_turn(self, attempt: Attempt) -> Any:
        async with self._slots:
            return await self._timed(attempt, in_thread=True)

    async def _timed(self, attempt: Attempt, *, in_thread: bool = False) -> Any:
        task, call = attempt.task, attempt.call
        cancelled_before = task.cancelling()
        deadline = self._deadlines.start(task, attempt.timeout_ms)
        token = running_step.set(attempt.context)
        try:
            result = await self._in_thread(attempt) if in_thread else _bound(call, attempt.context)()
            if type(result) is CoroutineType or inspect.isawaitable(result):
                result = await result
            return await attempt.keep(result) if hasattr(result, "__aiter__") else result
        except asyncio.CancelledError:
            if not deadline.expired or task.cancelling() > cancelled_before + 1:
                raise
            raise WorkflowTimeoutError(
                f"attempt {attempt.context().attempt} of step {call.name!r} timed out after "
                f"{format_duration(attempt.timeout_ms)}"
            ) from None
        finally:
            running_step.reset(token)
            deadline.clear()
            if deadline.expired:  # whatever the function made of it, the cancellation was not the workflow's
                task.uncancel()

    async def _in_thread(self, attempt: Attempt) -> Any:
        # A copy: context variables of the workflow are seen by the function, and what it sets goes with its thread.
        function, variables = _bound(attempt.call, attempt.context), copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, lambda: variables.run(_without_stop_iteration, function)
        )


def _runs_in_thread(fn: Callable[..., Any]) -> bool:
    """Whether `fn` may block: a plain function does, a coroutine function does not, a lambda is trusted not to."""
    code = getattr(fn, "__code__", None)
    if code is not None:
        return not code.co_flags & _COROUTINE and code.co_name != "<lambda>" and not inspect.iscoroutinefunction(fn)
    if isinstance(fn, partial):
        return _runs_in_thread(fn.func)
    return not inspect.iscoroutinefunction(fn) and not inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def _bound(call: StepCall, context: Callable[[], StepContext]) -> Callable[[], Any]:
    """Bind the arguments, giving `ctx` to a parameter of that name that got none."""
    if not _takes_ctx(call.fn):
        return partial(call.fn, *call.args, **call.kwargs) if call.args or call.kwargs else call.fn
    if "ctx" in call.kwargs:
        return partial(call.fn, *call.args, **call.kwargs)
    signature = inspect.signature(call.fn)
    others = [parameter for parameter in signature.parameters.values() if parameter.name != "ctx"]
    try:
        bound = signature.replace(parameters=others).bind(*call.args, **call.kwargs)
    except TypeError:  # one argument too many for the others: `ctx` was given by position
        return partial(call.fn, *call.args, **call.kwargs)
    whole = inspect.BoundArguments(signature, bound.arguments | {"ctx": context()})
    return partial(call.fn, *whole.args, **whole.kwargs)


def _without_stop_iteration(function: Callable[[], Any]) -> Any:
    """Call a function; a StopIteration cannot pass through a future, and becomes a RuntimeError as in a coroutine."""
    try:
        return function()
    except StopIteration as error:
        raise RuntimeError("the step's function raised StopIteration") from error


def _takes_ctx(fn: Callable[..., Any]) -> bool:
    code: CodeType | None = getattr(fn, "__code__", None)
    if code is not None:
        return "ctx" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    try:
        return "ctx" in inspect.signature(fn).parameters
    except (TypeError, ValueError):  # builtins without a signature
        return False
