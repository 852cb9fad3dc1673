"""One try of one step: calls the user's function wherever it has to run, and takes its time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from types import CodeType, CoroutineType
from typing import Any

from everstep.api.current import Place
from everstep.api.declared import StepCall
from everstep.core.durations import format_duration
from everstep.core.errors import WorkflowTimeoutError
from everstep.core.journal import StepRecord
from everstep.core.step_policy import StepPolicy
from everstep.core.types import StepContext, StepIdentity
from everstep.engine.execution.execution import Execution
from everstep.engine.runtime.load import Load
from everstep.engine.steps import streams
from everstep.engine.steps.timeouts import EXACT_BELOW_MS, Deadline, Deadlines
from everstep.store.protocol import InstanceRecord

_COROUTINE = inspect.CO_COROUTINE
_PLAIN = frozenset({dict, list, str, int, float, bool, type(None)})
"""What most functions return, and what can neither be awaited nor iterated over asynchronously."""


class Attempt(Place):
    """One try of a step while it is in flight, in the task that asked for it.

    `deadline` is the end of its time. Attempts that may take long and are over at once never get one.
    """

    __slots__ = ("call", "deadline", "number", "policy", "run", "task")

    record: StepRecord

    def __init__(
        self, run: Execution, record: StepRecord, call: StepCall, policy: StepPolicy, task: asyncio.Task[Any]
    ) -> None:
        super().__init__(record, over=False)
        self.run = run
        self.call = call
        self.policy = policy
        self.task = task
        self.number = record.attempt
        self.deadline: Deadline | None = None

    def context(self) -> StepContext:
        return context_of(self.run.instance, self.record, self.number, self.policy)

    def end(self) -> None:
        """Let go of the instance: the context of its own task holds the attempt for as long as it is the latest."""
        self.over = True
        del self.run, self.task, self.call

    @property
    def takes_time(self) -> bool:
        """Whether its time begins when it lasts: a short time is exact, and in a thread it begins with the turn."""
        return self.policy.timeout_ms >= EXACT_BELOW_MS and not _runs_in_thread(self.call.fn)


def context_of(instance: InstanceRecord, record: StepRecord, attempt: int, policy: StepPolicy) -> StepContext:
    """Return what an attempt's function may know of it."""
    identity = StepIdentity(record.name, record.count)
    return StepContext(identity, attempt, policy.as_config(), instance.id, instance.workflow)


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
        self._threads = threads
        self._in_threads = 0

    def run(self, attempt: Attempt) -> Coroutine[Any, Any, Any]:
        """Run one attempt, in the current task, and return what the function returned.

        A stream is read within the attempt's time.

        Raises:
            WorkflowTimeoutError: when it took too long; a coroutine was cancelled, a thread's late end changes nothing.
            BaseException: whatever the function raised.
        """
        if _runs_in_thread(attempt.call.fn):
            return self._in_turn(attempt)
        if attempt.policy.timeout_ms < EXACT_BELOW_MS:
            self._deadlines.start(attempt)
        return self._timed(attempt)

    def lasts(self, attempt: Attempt) -> None:
        """Count the time of an attempt from its beginning, as it is not over at once."""
        if attempt.takes_time:
            self._deadlines.start(attempt, began_at=attempt.record.attempt_at)

    def close(self) -> None:
        """Let go of the threads; those still busy end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def load(self) -> Load:
        """How many run in threads, and wait for their turn."""
        running = min(self._in_threads, self._threads)
        return Load(running, self._threads, self._in_threads - running)

    async def _in_turn(self, attempt: Attempt) -> Any:
        self._in_threads += 1
        try:
            async with self._slots:
                if (lease := attempt.run.host.lease) is not None:
                    await lease.lease_confirmed()  # its turn may have come late
                attempt.run.check_alive()
                self._deadlines.start(attempt)
                return await self._timed(attempt, in_thread=True)
        finally:
            self._in_threads -= 1

    async def _timed(self, attempt: Attempt, *, in_thread: bool = False) -> Any:
        task, call = attempt.task, attempt.call
        cancelled_before = task.cancelling()
        try:
            if in_thread:
                result = await self._in_thread(attempt)
            elif _takes_ctx(call.fn):
                result = _bound(call, attempt.context)()
            else:
                result = call.fn(*call.args, **call.kwargs)
            kind = type(result)
            if kind is CoroutineType or (kind not in _PLAIN and inspect.isawaitable(result)):
                result = await result
            if type(result) not in _PLAIN and hasattr(result, "__aiter__"):
                result = await streams.keep(attempt.run, attempt.record, result)
            return result
        except asyncio.CancelledError:
            expired = attempt.deadline is not None and attempt.deadline.expired
            if not expired or task.cancelling() > cancelled_before + 1:
                raise
            raise WorkflowTimeoutError(
                f"attempt {attempt.number} of step {call.name!r} timed out after "
                f"{format_duration(attempt.policy.timeout_ms)}"
            ) from None
        finally:
            if attempt.deadline is not None:
                attempt.deadline.clear()
                if attempt.deadline.expired:  # whatever the function made of it, it was not the workflow's cancellation
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
