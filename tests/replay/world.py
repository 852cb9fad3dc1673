"""What lies outside an instance: the time, the effects of its steps, and what its code saw in each of its lives.

Step functions call `perform`, workflow code calls `say`. A step's function lasts until a moment that is fixed when it
is first called, so that an attempt made again after an interruption ends when the first one would have ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from functools import partial
from typing import Any, Literal

from msgspec import Struct

from engine.virtual import Held, VirtualClock
from everstep import current_step

AGAIN: Any = {"retries": {"limit": 100, "delay": 0}}
"""An attempt that is cut off is made again at once: an interruption changes no order."""
ONCE: Any = {"retries": {"limit": 0}}


class Effect(Struct, frozen=True):
    """One thing that a step's function did.

    Attributes:
        what: That it began, returned, raised, was cancelled; or that another step's function got its result.
        label: Which call it was, by its arguments; the engine does not know it.
        step: The step it ran in, as its name and count.
        key: The step's idempotency key, if it has one.
        life: The life of the instance in which it was called, counted from 1.
    """

    what: Literal["began", "returned", "raised", "cancelled", "got"]
    label: str
    step: tuple[str, int]
    key: str | None
    life: int


class Life:
    """One life of an instance, from the first line of its code until it ends or is interrupted."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.trace: list[str] = []
        self.interrupted = False
        self.outcome: tuple[str, Any] | None = None
        self.seen: tuple[str, ...] = ()

    def finish(self, what: str, value: Any) -> None:
        """Keep what the program came to, and what it saw until then."""
        self.outcome, self.seen = (what, value), tuple(self.trace)


_life: ContextVar[Life] = ContextVar("life")


class World:
    """Everything around one instance."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.lives: list[Life] = []
        self.effects: list[Effect] = []
        self.held = Held()
        self._began: dict[str, int] = {}

    def begin_life(self) -> Life:
        """Begin the next life, and let the code below know of it."""
        life = Life(self, len(self.lives) + 1)
        self.lives.append(life)
        _life.set(life)
        return life

    @property
    def over(self) -> bool:
        """Whether the program has come to its outcome in the present life."""
        return bool(self.lives) and not self.lives[-1].interrupted and self.lives[-1].outcome is not None

    def interrupt(self) -> None:
        """Take note that the present life is over: what its code does while it leaves counts no more."""
        for life in self.lives:
            life.interrupted = True

    def note(self, what: Any, label: str) -> None:
        """Note an effect of the step that runs here."""
        context = current_step()
        step = (context.step.name, context.step.count)
        # Without a key of its own an inner step is not told apart from one of the same name in another outer step.
        key = getattr(context, "idempotency_key", None)
        self.effects.append(Effect(what, label, step, key, _life.get().number))

    def began_at(self, label: str) -> int:
        """Return when a step's function was first called, in milliseconds."""
        return self._began.setdefault(label, self.clock.now())

    async def until(self, moment: int) -> None:
        """Wait until a moment of the virtual time, in a step's function."""
        if moment <= self.clock.now():
            return
        reached = asyncio.get_running_loop().create_future()
        timer = self.clock.call_at(moment, partial(_reach, reached))
        try:
            await reached
        finally:
            timer.cancel()


def _reach(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def say(*what: Any) -> None:
    """Note what workflow code sees."""
    _life.get().trace.append(" ".join(str(one) for one in what))


async def perform(
    label: str, value: Any = None, *, seconds: float = 0, error: Exception | None = None, down_for: float = 0
) -> Any:
    """Do something outside, in a step's function, and note it.

    Args:
        label: Which call this is; no two calls of a program have the same.
        value: What is returned.
        seconds: How long it takes from when it was first called.
        error: What is raised in the end.
        down_for: How many seconds after the first call every attempt fails.
    """
    world = _life.get().world
    world.note("began", label)
    began_at = world.began_at(label)
    try:
        await world.until(began_at + round(seconds * 1000))
    except asyncio.CancelledError:
        world.note("cancelled", label)
        raise
    if world.clock.now() < began_at + round(down_for * 1000):
        world.note("raised", label)
        raise ConnectionError(f"{label} is down")
    if error is not None:
        world.note("raised", label)
        raise error
    world.note("returned", label)
    return value


def job(label: str, value: Any = None, **how: Any) -> Callable[[], Coroutine[Any, Any, Any]]:
    """Make a step's function of `perform`."""

    async def call() -> Any:
        return await perform(label, value, **how)

    return call


def got(label: str) -> None:
    """Note that a step's function got the result of the step inside it which is labelled so."""
    _life.get().world.note("got", label)


def held_in_a_thread(label: str) -> Callable[[], str]:
    """Make a plain function that stands still in its thread until `let_threads_go`."""

    def call() -> str:
        world = _life.get().world
        world.note("began", label)
        world.held.wait()
        return label

    return call


def in_a_thread(label: str, value: Any = None) -> Callable[[], Any]:
    """Make a plain function that returns at once."""

    def call() -> Any:
        world = _life.get().world
        world.note("began", label)
        world.note("returned", label)
        return value

    return call


async def let_threads_go() -> None:
    """Let the functions go that stand still in threads."""
    _life.get().world.held.release()
