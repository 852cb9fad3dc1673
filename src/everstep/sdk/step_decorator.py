"""The decorator form of steps: declared with `@step.do(...)`, run when awaited or when a later step needs them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Protocol, TypeVar, overload

from msgspec import Struct, structs

from everstep.core.names import check_step_name
from everstep.core.policy.step_config import AnyStepConfig
from everstep.core.suggest import did_you_mean

T = TypeVar("T")


class StepCall(Struct, frozen=True):
    """One call of `step.do`, as the user wrote it."""

    name: str
    config: AnyStepConfig | None
    fn: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}


class _Declare(Protocol):
    def __call__(self, call: StepCall, concurrent: bool) -> DeclaredStep[Any]: ...


class StepDecorator:
    """What `step.do("name", …)` without a function gives."""

    def __init__(self, declare: _Declare, name: str | None, config: AnyStepConfig | None, concurrent: bool) -> None:
        self._declare = declare
        self._name = name
        self._config = config
        self._concurrent = concurrent

    @overload
    def __call__(self, fn: Callable[..., Coroutine[Any, Any, T]]) -> DeclaredStep[T]: ...
    @overload
    def __call__(self, fn: Callable[..., T]) -> DeclaredStep[T]: ...
    def __call__(self, fn: Callable[..., Any]) -> DeclaredStep[Any]:
        """Declare `fn` as a step; nothing runs until it is awaited or needed by one that is."""
        if not callable(fn):
            raise TypeError(f"@step.do({self._name!r}) decorates a function, got {type(fn).__name__}")
        name = check_step_name(self._name if self._name is not None else getattr(fn, "__name__", ""))
        return self._declare(StepCall(name, self._config, fn), self._concurrent)

    if not TYPE_CHECKING:  # a type checker has to go on refusing `await step.do("name")`

        def __await__(self) -> NoReturn:
            step, name = ("a step", "name") if self._name is None else (f"step {self._name!r}", repr(self._name))
            raise TypeError(
                f"{step} got no function: write await step.do({name}, fn, *args), or decorate one with "
                f"@step.do({name}), call it and await that"
            )


class DeclaredStep(Generic[T]):
    """A step declared with the decorator; call it and await it.

    Parameters other than `ctx` that got no argument take the results of the steps declared earlier under their names
    (Cloudflare's Python rule), one after the other, or together with `concurrent=True`. However many steps need the
    same one, it runs once.
    """

    def __init__(
        self,
        do: Callable[[StepCall], Coroutine[Any, Any, T]],
        call: StepCall,
        concurrent: bool,
        earlier: Mapping[str, DeclaredStep[Any]],
    ) -> None:
        self._do = do
        self._call = call
        self._concurrent = concurrent
        self._earlier = earlier
        self._latest: asyncio.Future[T] | None = None

    if not TYPE_CHECKING:  # a type checker has to go on refusing `await step.do(fn)`

        def __await__(self) -> NoReturn:
            name = self._call.name
            shown = "name" if name == "<lambda>" else repr(name)
            raise TypeError(
                f"a step that is run at once begins with its name: await step.do({shown}, fn, *args); "
                f"step {name!r} is only declared by this: call it, and await that"
            )

    async def __call__(self, *args: Any, **kwargs: Any) -> T:
        """Run the step, after the steps it depends on; steps that need it later take this result."""
        outcome = self._latest = asyncio.get_running_loop().create_future()
        try:
            value = await self._run(args, kwargs)
        except asyncio.CancelledError:
            self._latest = None
            outcome.cancel()
            raise
        except BaseException as error:
            outcome.set_exception(error)
            outcome.exception()  # seen: whoever awaits this call gets it too
            raise
        outcome.set_result(value)
        return value

    async def result(self) -> T:
        """Return this step's result as a dependency: run once, shared by everyone who needs it."""
        if self._latest is None:
            self._latest = asyncio.ensure_future(self._run((), {}))
        return await asyncio.shield(self._latest)

    async def _run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        needed = self._dependencies(args, kwargs)
        if self._concurrent:
            values = await asyncio.gather(*(step.result() for step in needed.values()))
        else:
            values = [await step.result() for step in needed.values()]
        filled = kwargs | dict(zip(needed, values, strict=True))
        return await self._do(structs.replace(self._call, args=args, kwargs=filled))

    def _dependencies(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, DeclaredStep[Any]]:
        signature = inspect.signature(self._call.fn)
        given = self._resolve_argument(signature, args, kwargs)
        needed: dict[str, DeclaredStep[Any]] = {}
        for parameter in signature.parameters.values():
            if parameter.name in given or parameter.name == "ctx" or parameter.kind in _VARIADIC:
                continue
            if parameter.name in self._earlier:
                needed[parameter.name] = self._earlier[parameter.name]
            elif parameter.default is parameter.empty:
                raise TypeError(
                    f"step {self._call.name!r} has a parameter {parameter.name!r} that got no argument and that no "
                    f"earlier step is named after{did_you_mean(parameter.name, self._earlier)}"
                )
        return needed

    def _resolve_argument(
        self, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Mapping[str, Any]:
        """Bind the arguments, past a `ctx` that is left out where they fit without it."""
        others = [parameter for parameter in signature.parameters.values() if parameter.name != "ctx"]
        try:
            return signature.replace(parameters=others).bind_partial(*args, **kwargs).arguments
        except TypeError:  # one more than fits: `ctx` is among them
            pass
        try:
            return signature.bind_partial(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"step {self._call.name!r}: {error}") from None


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
