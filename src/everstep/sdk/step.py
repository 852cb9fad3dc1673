"""The `step` object that `run` receives: its typed face. What the calls do is the engine's business."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeAlias, TypeVar, TypeVarTuple, cast, overload
from uuid import UUID

from everstep.core.call_forms import NamesInSnakeCase
from everstep.core.durations import Duration, bounded_ms
from everstep.core.limits import STEP_NAME_CHARS, WAIT_MS
from everstep.core.names import check_event_type, check_step_name
from everstep.core.policy.step_config import AnyStepConfig, StepConfig
from everstep.core.suggest import did_you_mean
from everstep.core.types import StepContext, StepEvent
from everstep.sdk.arguments import check_arguments
from everstep.sdk.step_decorator import DeclaredStep, StepCall, StepDecorator

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_SECONDS_UNTIL_5138 = 100_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


ValueKind: TypeAlias = Literal["now", "uuid", "random"]


class StepRunner(Protocol):
    """Carries out the calls of `WorkflowStep`. Implemented by the engine."""

    async def do(self, call: StepCall) -> Any:
        """Run a step, or return what it returned before."""
        ...

    async def sleep(self, name: str, duration_ms: int) -> None:
        """Sleep for a while."""
        ...

    async def sleep_until(self, name: str, wake_at: int) -> None:
        """Sleep until a moment, in milliseconds since 1970."""
        ...

    async def wait_for_event(self, name: str, type: str, timeout_ms: int, payload: Any) -> StepEvent[Any]:
        """Wait for an event of a type, its payload restored to the declared type."""
        ...

    async def run_workflow(self, name: str, workflow: type[RunsAsChild] | str, params: Any, id: str | None) -> Any:
        """Start a child workflow and wait for its result."""
        ...

    def value(self, kind: ValueKind) -> Any:
        """Return a recorded value."""
        ...


class RunsAsChild(Protocol):
    """A workflow class, as far as starting it is concerned."""

    async def run(self, event: Any, step: Any) -> Any:
        """Do the work."""
        ...


class _TakesKeywordCtx(Protocol[*Ts]):
    def __call__(self, *args: *Ts, ctx: StepContext) -> Any: ...


class WorkflowStep(NamesInSnakeCase):
    """The durable primitives of a workflow.

    A step is known by its kind, its name and how many times that name came before, so names must not depend on the
    clock or on chance. What runs outside steps runs again on every replay.
    """

    def __init__(self, runner: StepRunner) -> None:
        self._runner = runner
        self._declared: dict[str, DeclaredStep[Any]] = {}  # by name, the latest declaration

    # A `ctx` may be left out, so each form comes thrice: every parameter given, no first `ctx`, no last `ctx`.
    # A keyword-only `ctx` comes once: mypy infers no result there, so it is Any; the arguments are still checked.
    # Coroutine[None, None, T]: with Any in it, mypy gives up on `asyncio.gather` of steps of different types.
    @overload
    def do(
        self, name: str, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[None, None, T]: ...
    @overload
    def do(
        self, name: str, fn: Callable[Concatenate[StepContext, P], Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[None, None, T]: ...
    @overload
    def do(
        self, name: str, fn: Callable[[*Ts, StepContext], Awaitable[T]], /, *args: *Ts
    ) -> Coroutine[None, None, T]: ...
    @overload
    def do(self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[None, None, T]: ...
    @overload
    def do(
        self, name: str, fn: Callable[Concatenate[StepContext, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[None, None, T]: ...
    @overload
    def do(self, name: str, fn: Callable[[*Ts, StepContext], T], /, *args: *Ts) -> Coroutine[None, None, T]: ...
    @overload
    def do(self, name: str, fn: _TakesKeywordCtx[*Ts], /, *args: *Ts) -> Coroutine[None, None, Any]: ...
    @overload
    def do(
        self, name: str, config: AnyStepConfig, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[None, None, T]: ...
    @overload
    def do(
        self,
        name: str,
        config: AnyStepConfig,
        fn: Callable[Concatenate[StepContext, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[None, None, T]: ...
    @overload
    def do(
        self,
        name: str,
        config: AnyStepConfig,
        fn: Callable[[*Ts, StepContext], Awaitable[T]],
        /,
        *args: *Ts,
    ) -> Coroutine[None, None, T]: ...
    @overload
    def do(
        self, name: str, config: AnyStepConfig, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[None, None, T]: ...
    @overload
    def do(
        self,
        name: str,
        config: AnyStepConfig,
        fn: Callable[Concatenate[StepContext, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[None, None, T]: ...
    @overload
    def do(
        self, name: str, config: AnyStepConfig, fn: Callable[[*Ts, StepContext], T], /, *args: *Ts
    ) -> Coroutine[None, None, T]: ...
    @overload
    def do(
        self, name: str, config: AnyStepConfig, fn: _TakesKeywordCtx[*Ts], /, *args: *Ts
    ) -> Coroutine[None, None, Any]: ...
    @overload
    def do(self, fn: Callable[..., Coroutine[Any, Any, T]], /) -> DeclaredStep[T]: ...
    @overload
    def do(self, fn: Callable[..., T], /) -> DeclaredStep[T]: ...
    @overload
    def do(
        self, name: str | None = None, /, *, config: AnyStepConfig | None = None, concurrent: bool = False
    ) -> StepDecorator: ...
    def do(self, *args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]  # ParamSpec allows no wider signature
        """Run a step once, durably, with retries.

        Three forms: `await step.do(name, fn, *args, **kwargs)`, `await step.do(name, config, fn, *args, **kwargs)` and
        the decorator `@step.do("name", config={...}, concurrent=False)`.

        `fn` may be an `async def`, a `def` (it runs in a worker thread) or a lambda returning an awaitable. Arguments
        are handed to `fn` and not stored. A parameter named `ctx` that got no argument receives a `StepContext`.

        Returns:
            What `fn` returned, as the store gives it back, now and on every replay.

        Raises:
            TypeError: for a wrong kind of argument; it names the step.
            ValueError: for an impossible one; it names the step.
            Exception: the step's last error once no attempt is left, now and on every replay.

        Example:
            >>> async def run(event, step):
            ...     return await step.do("add", {"retries": {"limit": 2}}, lambda a, b: a + b, 1, 2)
        """
        if len(args) >= 2:
            return self._runner.do(_parse_call(args, kwargs))
        return self._decorator(*args, **kwargs)

    def sleep(self, name: str, duration: Duration) -> Coroutine[None, None, None]:
        """Sleep for a while, costing nothing meanwhile.

        The wake time is fixed when the sleep first begins. Pausing the instance stops the clock.

        Args:
            name: The step's name, by which a replay knows the sleep.
            duration: How long: `"1 hour"` or a timedelta, at most 365 days.

        Raises:
            TypeError: for a bare number, whose unit would be a guess.
            ValueError: for an impossible duration.

        Example:
            >>> async def run(event, step):
            ...     await step.sleep("cool off", "1 hour")
        """
        check_step_name(name)
        ms = bounded_ms(duration, WAIT_MS, what=f"duration of sleep {name!r}")
        return self._runner.sleep(name, ms)

    def sleep_until(self, name: str, when: datetime) -> Coroutine[None, None, None]:
        """Sleep until a moment. A past one returns at once.

        The moment is fixed when the sleep first begins; neither a replay nor a pause moves it.

        Args:
            name: The step's name, by which a replay knows the sleep.
            when: An aware datetime, at most 365 days ahead.

        Raises:
            TypeError: if `when` is no datetime.
            ValueError: if it is naive.

        Example:
            >>> async def run(event, step):
            ...     await step.sleep_until("tomorrow", step.now() + timedelta(days=1))
        """
        check_step_name(name)
        if not isinstance(when, datetime):
            cure = f"; write {_moment_form(when)}" if isinstance(when, (int, float)) else ""
            raise TypeError(f"sleep_until {name!r} takes an aware datetime, got {type(when).__name__}{cure}")
        if when.utcoffset() is None:
            raise ValueError(
                f"sleep_until {name!r} got the naive datetime {when.isoformat()}, whose moment depends on the machine; "
                "give it a time zone, e.g. datetime(..., tzinfo=UTC) or datetime.now(UTC)"
            )
        return self._runner.sleep_until(name, -((_EPOCH - when) // timedelta(milliseconds=1)))

    @overload
    def wait_for_event(
        self, name: str, type: str, *, timeout: Duration = "24 hours", payload: type[T]
    ) -> Coroutine[None, None, StepEvent[T]]: ...
    @overload
    def wait_for_event(
        self, name: str, type: str, *, timeout: Duration = "24 hours", payload: None = None
    ) -> Coroutine[None, None, StepEvent[Any]]: ...
    def wait_for_event(
        self, name: str, type: str, *, timeout: Duration = "24 hours", payload: Any = None
    ) -> Coroutine[None, None, StepEvent[Any]]:
        """Wait for an event of `type`; one sent before the wait counts.

        Args:
            name: The step's name.
            type: The event's type; dots are allowed.
            timeout: How long to wait, as a duration: more than 0, at most 365 days.
            payload: The type the payload is restored to.

        Raises:
            WorkflowTimeoutError: if none came in time.
            TypeError: for a timeout that is a bare number.
            ValueError: for an impossible one, or type.

        Example:
            >>> async def run(event, step):
            ...     decision = await step.wait_for_event("approval", "order.approval", timeout="24 hours")
            ...     return decision.payload
        """
        check_step_name(name)
        if isinstance(type, Mapping):
            raise TypeError(_arguments_in_a_dict(name, type))
        check_event_type(type)
        timeout_ms = bounded_ms(timeout, WAIT_MS, what=f"timeout of wait {name!r}")
        if timeout_ms == 0:
            raise ValueError(f"timeout of wait {name!r} must be longer than 0")
        return self._runner.wait_for_event(name, type, timeout_ms, payload)

    def run_workflow(
        self, name: str, workflow: type[RunsAsChild] | str, params: Any = None, *, id: str | None = None
    ) -> Coroutine[None, None, Any]:
        """Start a child workflow and wait for its result, without being in memory meanwhile.

        Args:
            name: The step's name.
            workflow: The child's class, or its name.
            params: What the child's `event.payload` will be.
            id: The child's id; given out when omitted.

        Returns:
            What the child returned.

        Raises:
            InstanceTerminatedError: if the child was terminated.
            Exception: the child's error.

        Example:
            >>> async def run(event, step):
            ...     return await step.run_workflow("ship", "ship-order", {"order": 1})
        """
        check_step_name(name)
        return self._runner.run_workflow(name, workflow, params, id)

    def now(self) -> datetime:
        """Return the time of day, aware and in UTC; a replay sees the same moment."""
        moment: datetime = self._runner.value("now")
        return moment

    def uuid(self) -> UUID:
        """Return a random UUID; a replay sees the same one."""
        made: UUID = self._runner.value("uuid")
        return made

    def random(self) -> float:
        """Return a random number from 0 up to 1; a replay sees the same one. Not for secrets."""
        drawn: float = self._runner.value("random")
        return drawn

    def _decorator(
        self,
        name: Any = None,
        /,
        *,
        config: AnyStepConfig | None = None,
        concurrent: bool = False,
        **unknown: Any,
    ) -> Any:
        if unknown:
            wrong = next(iter(unknown))
            raise TypeError(
                f"step {name!r} got no function, and the decorator has no option {wrong!r}"
                f"{did_you_mean(wrong, _DECORATOR_OPTIONS)}; it takes {' and '.join(_DECORATOR_OPTIONS)}"
            )
        if callable(name):
            return StepDecorator(self._declare, None, config, concurrent)(name)
        if name is not None:
            _check_name(name)
        return StepDecorator(self._declare, name, config, concurrent)

    def _declare(self, call: StepCall, concurrent: bool) -> DeclaredStep[Any]:
        declared = DeclaredStep[Any](self._runner.do, call, concurrent, earlier=dict(self._declared))
        self._declared[call.name] = declared
        return declared


_DECORATOR_OPTIONS = ("config", "concurrent")


def _parse_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> StepCall:
    """Sort out the two direct forms: `name, fn, *args` and `name, config, fn, *args`."""
    name, second = args[0], args[1]
    if not (type(name) is str and 0 < len(name) <= STEP_NAME_CHARS and name.isprintable()):
        name = _check_name(name)
    if callable(second) and not isinstance(second, StepConfig):
        check_arguments(name, second, args[2:], kwargs)
        return StepCall(name, None, second, args[2:], kwargs)
    if not (second is None or isinstance(second, (Mapping, StepConfig))):
        raise TypeError(f"step {name!r} needs a function after its name, got {_not_a_function(second)}")
    if len(args) < 3:
        raise TypeError(f"step {name!r} needs a function after its config: step.do(name, config, fn, *args)")
    if not callable(args[2]):
        raise TypeError(f"step {name!r} needs a function after its config, got {_not_a_function(args[2])}")
    check_arguments(name, args[2], args[3:], kwargs)
    return StepCall(name, cast("AnyStepConfig | None", second), args[2], args[3:], kwargs)


def _moment_form(number: float) -> str:
    """Write a number as the moment it stands for: seconds since 1970, or the milliseconds of the original."""
    return f"datetime.fromtimestamp({number!r}{' / 1000' if number > _SECONDS_UNTIL_5138 else ''}, UTC)"


def _arguments_in_a_dict(name: str, given: Mapping[str, Any]) -> str:
    timeout = f", timeout={given['timeout']!r}" if "timeout" in given else ""
    call = f"step.wait_for_event({name!r}, type={given.get('type', '…')!r}{timeout})"
    return f"wait_for_event {name!r} takes its type and timeout as arguments, not in a dict: write {call}"


def _check_name(name: object) -> str:
    if not isinstance(name, str) and inspect.isawaitable(name):
        raise TypeError(f"a step begins with its name, got {_not_a_function(name)}")
    return check_step_name(name)


def _not_a_function(value: object) -> str:
    """Name the kind of what was given for a function, and the cure: nearly always it is what a call returned."""
    if inspect.iscoroutine(value):
        value.close()  # or Python would warn that it was never awaited
    return f"{type(value).__name__}; give the function and its arguments, not its call: step.do(name, fn, *args)"
