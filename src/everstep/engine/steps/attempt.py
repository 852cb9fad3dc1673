"""One attempt of one step: calls the user's function wherever it has to run, and takes its time."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from functools import partial
from types import CodeType
from typing import Any

from everstep.core.durations import format_duration
from everstep.core.errors import WorkflowTimeoutError
from everstep.core.journal import StepRecord
from everstep.core.policy.step_policy import StepPolicy
from everstep.core.types import StepContext, StepIdentity
from everstep.engine.execution.execution import Execution
from everstep.engine.steps import streams
from everstep.engine.steps.outcome import Failed
from everstep.engine.steps.step_execution import StepExecution
from everstep.engine.steps.thread_turns import ThreadLimiter
from everstep.engine.steps.timeouts import EXACT_BELOW_MS, Deadline, Deadlines
from everstep.sdk.step_decorator import StepCall
from everstep.sdk.step_scope import StepScope
from everstep.store.protocol import InstanceRecord
from everstep.threads import DaemonThreads

_COROUTINE = inspect.CO_COROUTINE
PLAIN = frozenset({dict, list, str, int, float, bool, type(None)})
"""The types that most functions return, which can neither be awaited nor iterated over asynchronously."""


class Attempt(StepScope):
    """One attempt of a step while it is in flight, in a task of its own.

    `deadline` is the end of its time. Attempts that may take long and are over at once never get one. `inner_counts`
    counts the steps that its function asks for, by kind and name; `inner_open` are those that have not ended.
    """

    __slots__ = ("deadline", "inner_counts", "inner_open", "number", "step", "task")

    record: StepRecord

    def __init__(self, step: StepExecution) -> None:
        super().__init__(step.record, over=False)
        self.step = step
        self.number = step.record.attempt
        self.deadline: Deadline | None = None
        self.inner_counts: dict[str, int] | None = None
        self.inner_open: set[Any] | None = None
        self.task: asyncio.Task[Any] | None = None

    def track(self, task: asyncio.Task[Any]) -> None:
        """Look after an attempt that is not over at once: its start may have to be written, and its time counts."""
        self.task = task
        execution = self.step.execution
        execution.own_in_flight().attempts[self.record.seq] = task
        execution.host.start_recorder.track(self)

    def context(self) -> StepContext:
        return context_of(self.step.execution.instance, self.record, self.number, self.step.policy)

    def end(self) -> None:
        """Let go of the task: the context of the step holds the attempt for as long as it is the latest."""
        if self.over:
            return
        self.over = self.step.over = True
        if self.deadline is not None:
            self.deadline.clear()
        for inner in list(self.inner_open or ()):  # once the outer step is recorded nobody asks for them
            inner.abandon()
        self.step.attempt = None
        if self.task is not None:
            execution = self.step.execution
            execution.in_flight.attempts.pop(self.record.seq, None)
            execution.host.start_recorder.untrack(self)
            self.task = None

    def expire(self) -> None:
        """End the attempt because its time is over: its step goes on, whatever the function does meanwhile."""
        task, step = self.task, self.step
        if self.over or task is None:
            return
        error = WorkflowTimeoutError(
            f"attempt {self.number} of step {step.name!r} timed out after {format_duration(step.policy.timeout_ms)}"
        )
        self.end()
        task.cancel()
        step.run(Failed(error))

    @property
    def takes_time(self) -> bool:
        """Whether its time begins when it lasts: a short time is exact, and in a thread it begins with the turn."""
        return self.step.policy.timeout_ms >= EXACT_BELOW_MS and not runs_in_thread(self.step.call.fn)


def context_of(instance: InstanceRecord, record: StepRecord, attempt: int, policy: StepPolicy) -> StepContext:
    """Return what an attempt's function may know of it."""
    return StepContext(
        StepIdentity(record.name, record.count),
        attempt,
        policy.as_config(),
        instance.id,
        instance.workflow,
        idempotency_key(instance, record),
    )


def idempotency_key(instance: InstanceRecord, record: StepRecord) -> str:
    """Name a step of an instance between two restarts, from what is on disk before its function is called.

    `parent` tells steps of the same name apart that are parts of
    different steps.
    """
    parts = (
        instance.workflow,
        instance.id,
        instance.created_at,
        instance.restarts,
        record.kind,
        record.parent,
        record.name,
        record.count,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


class Attempts:
    """Calls functions of steps: coroutines on the application's loop, plain functions in worker threads.

    Args:
        deadlines: Where timeouts are kept.
        threads: How many plain functions run at once; further ones wait their turn before their time starts.
        lost_threads: How many threads that are lost to functions which hang are replaced.

    Attributes:
        turns: The turns of plain functions at threads.
    """

    def __init__(self, deadlines: Deadlines, *, threads: int, lost_threads: int) -> None:
        self._deadlines = deadlines
        self._pool = DaemonThreads("everstep-step", most=threads + lost_threads)
        self.turns = ThreadLimiter(most=threads, most_lost=lost_threads)

    def run_in_thread(self, attempt: Attempt) -> Coroutine[Any, Any, Any]:
        """Call the attempt's function in a thread, in its turn, and return what it returned."""
        return self._in_turn(attempt)

    def begin(self, attempt: Attempt) -> None:
        """Begin to count the time of an attempt whose time is short, and so exact."""
        if attempt.step.policy.timeout_ms < EXACT_BELOW_MS:
            self._arm_timeout(attempt)

    def begin_timeout(self, attempt: Attempt) -> None:
        """Count the time of an attempt from its beginning, as it is not over at once."""
        if attempt.takes_time and not attempt.over:
            self._arm_timeout(attempt, attempt.record.attempt_at)

    def close(self) -> None:
        """Let go of the threads; those still busy end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _arm_timeout(self, attempt: Attempt, began_at: int | None = None) -> None:
        attempt.deadline = self._deadlines.start(attempt.step.policy.timeout_ms, attempt.expire, began_at=began_at)

    async def _in_turn(self, attempt: Attempt) -> Any:
        step = attempt.step
        execution = step.execution
        await self.turns.acquire()
        try:
            if (lease := execution.host.lease) is not None:
                await lease.lease_confirmed()  # its turn may have come late
            execution.check_open()
            self._arm_timeout(attempt)
            # A copy: what the function sets of context variables goes with its thread.
            function, variables = _bound(step.call, attempt.context), copy_context()
            call = partial(variables.run, partial(_without_stop_iteration, function))
            result = await self.turns.call(self._pool, call, step.name)
        finally:
            self.turns.release()
        return await finished(execution, attempt.record, result)


def call_function(attempt: Attempt) -> Any:
    """Call an attempt's function; what it returns may have to be awaited."""
    call = attempt.step.call
    if takes_ctx(call.fn):
        return _bound(call, attempt.context)()
    return call.fn(*call.args, **call.kwargs)


async def finished(execution: Execution, record: StepRecord, result: Any) -> Any:
    """Await what a function returned, if that is awaitable, and store it, if it is a stream."""
    if type(result) not in PLAIN and inspect.isawaitable(result):
        result = await result
    if type(result) not in PLAIN and hasattr(result, "__aiter__"):
        result = await streams.store_stream(execution, record, result)
    return result


def runs_in_thread(fn: Callable[..., Any]) -> bool:
    """Whether `fn` may block: a plain function does, a coroutine function does not, a lambda is trusted not to."""
    code = getattr(fn, "__code__", None)
    if code is not None:
        return not code.co_flags & _COROUTINE and code.co_name != "<lambda>" and not inspect.iscoroutinefunction(fn)
    if isinstance(fn, partial):
        return runs_in_thread(fn.func)
    return not inspect.iscoroutinefunction(fn) and not inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def _bound(call: StepCall, context: Callable[[], StepContext]) -> Callable[[], Any]:
    """Bind the arguments, giving `ctx` to a parameter of that name that got none."""
    if not takes_ctx(call.fn):
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


def takes_ctx(fn: Callable[..., Any]) -> bool:
    """Whether a function has a parameter `ctx`."""
    code: CodeType | None = getattr(fn, "__code__", None)
    if code is not None:
        parameters = code.co_argcount + code.co_kwonlyargcount
        return parameters != 0 and "ctx" in code.co_varnames[:parameters]  # Python 3.11 makes a tuple each time
    try:
        return "ctx" in inspect.signature(fn).parameters
    except (TypeError, ValueError):  # builtins without a signature
        return False
