"""Programs as trees: a workflow that carries one out, and a plain interpreter that says how it must end.

A program is a list of nodes. Every step has a name of its own, so that its rows and side effects can be told apart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from everstep import NonRetryableError, WorkflowEntrypoint, WorkflowStep

WAIT_MINUTES = 60


@dataclass(frozen=True)
class Do:
    """A step: `failures` attempts fail, then it returns its name, or `dies`."""

    name: str
    failures: int = 0
    dies: bool = False
    hangs: bool = False
    spare: int = 3
    takes_ms: int = 0
    undo: Literal["none", "works", "fails"] = "none"

    @property
    def limit(self) -> int:
        return self.failures + self.spare


@dataclass(frozen=True)
class Sleep:
    name: str
    ms: int


@dataclass(frozen=True)
class Wait:
    """A wait for an event of a type of its own, which is sent or not."""

    name: str
    sent: bool
    type: str


@dataclass(frozen=True)
class Catch:
    body: tuple[Any, ...]


@dataclass(frozen=True)
class Parallel:
    branches: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Child:
    name: str
    body: tuple[Any, ...]


PROGRAMS: dict[str, tuple[Any, ...]] = {}
"""What instances carry out, by the name in their params."""


class Effects(Protocol):
    """Who is told what programs do to the world."""

    def began(self, instance: str, step: str, attempt: int) -> None: ...

    def ended(self, instance: str, step: str) -> None: ...


class Boom(Exception):  # noqa: N818  # a name that workflows show
    """A step's own error."""


def workflow(effects: Effects, *, retry_delay: str = "2 seconds") -> type[WorkflowEntrypoint[Any, Any]]:
    """Make the workflow whose instances carry out the program that their params name."""

    class Told(WorkflowEntrypoint[Any, Any]):
        async def run(self, event: Any, step: WorkflowStep) -> Any:
            work = _Work(event.instance_id, event.payload, step, effects, Told, retry_delay)
            return await work.block(PROGRAMS[event.payload])

    return Told


class _Work:
    """One life of one program."""

    def __init__(
        self,
        instance: str,
        program: str,
        step: WorkflowStep,
        effects: Effects,
        workflow: type[WorkflowEntrypoint],
        retry_delay: str,
    ) -> None:
        self._instance, self._program, self._retry_delay = instance, program, retry_delay
        self._step, self._effects, self._workflow = step, effects, workflow

    async def block(self, nodes: tuple[Any, ...]) -> list[Any]:
        return [await self._node(node) for node in nodes]

    async def _node(self, node: Any) -> Any:
        match node:
            case Do():
                return await self._do(node)
            case Sleep():
                return await self._step.sleep(node.name, f"{node.ms / 1000} seconds")
            case Wait():
                event = await self._step.wait_for_event(node.name, node.type, timeout=f"{WAIT_MINUTES} minutes")
                return event.type
            case Catch():
                try:
                    return await self.block(node.body)
                except Exception as error:
                    return f"caught {type(error).__name__}"
            case Parallel():
                ended = await asyncio.gather(*map(self.block, node.branches), return_exceptions=True)
                for one in ended:
                    if isinstance(one, BaseException):
                        raise one
                return ended
            case Child():
                id = f"{self._instance}-{node.name}"
                return await self._step.run_workflow(node.name, self._workflow, child_of(self._program, node), id=id)

    async def _do(self, node: Do) -> Any:
        async def work(ctx: Any) -> str:
            with self._effect(node.name, ctx.attempt):
                await asyncio.sleep(node.takes_ms / 1000)
                if ctx.attempt <= node.failures:
                    if node.hangs:
                        await asyncio.sleep(1e6)
                    raise Boom(node.name)
                if node.dies:
                    raise NonRetryableError(node.name)
                return node.name

        async def undo(context: Any) -> None:
            with self._effect(f"undo {node.name}", 0):
                await asyncio.sleep(node.takes_ms / 1000)
                if node.undo == "fails":
                    raise NonRetryableError(f"undo {node.name}")

        retries = {"limit": node.limit, "delay": self._retry_delay, "backoff": "constant"}
        config: dict[str, Any] = {"retries": retries, "timeout": "5 seconds"}
        if node.undo != "none":
            config |= {
                "rollback": undo,
                "rollback_config": {"retries": {**retries, "limit": 5}, "timeout": "5 seconds"},
            }
        return await self._step.do(node.name, config, work)

    def _effect(self, step: str, attempt: int) -> _Effect:
        return _Effect(self._effects, self._instance, step, attempt)


@dataclass
class _Effect:
    """Something done to the world, from its beginning to its end."""

    effects: Effects
    instance: str
    step: str
    attempt: int

    def __enter__(self) -> None:
        self.effects.began(self.instance, self.step, self.attempt)

    def __exit__(self, *_: object) -> None:
        self.effects.ended(self.instance, self.step)


def child_of(program: str, node: Child) -> str:
    """Return the name of a child's program, registered beside its parent's."""
    name = f"{program}/{node.name}"
    PROGRAMS.setdefault(name, node.body)
    return name


def nodes_of(program: tuple[Any, ...]) -> Iterator[Any]:
    """Every node of a program, those of its children left out."""
    for node in program:
        yield node
        for inner in _inner(node):
            yield from nodes_of(inner)


def _inner(node: Any) -> tuple[tuple[Any, ...], ...]:
    return node.branches if isinstance(node, Parallel) else (node.body,) if isinstance(node, Catch) else ()


# What must come of it


class _FailsError(Exception):
    """A program's error, by its name."""


@dataclass
class Expected:
    """How a program ends, and how many attempts of each of its steps an undisturbed run makes."""

    status: str = "complete"
    output: Any = None
    error: str | None = None
    rollback: str | None = None
    attempts: dict[str, int] = field(default_factory=dict)
    undone: dict[str, bool] = field(default_factory=dict)


def interpret(program: tuple[Any, ...]) -> Expected:
    """Say how a program must end, without engine, store or time."""
    expected = Expected()
    begun: list[Do] = []
    try:
        expected.output = [_value(node, expected, begun) for node in program]
    except _FailsError as error:
        expected.status, expected.error = "errored", str(error)
        _roll_back(begun, expected)
    return expected


def _value(node: Any, expected: Expected, begun: list[Do]) -> Any:
    match node:
        case Do():
            begun.append(node)
            expected.attempts[node.name] = node.failures + 1
            if node.dies:
                raise _FailsError("NonRetryableError")
            return node.name
        case Sleep():
            return None
        case Wait():
            if not node.sent:
                raise _FailsError("WorkflowTimeoutError")
            return node.type
        case Catch():
            try:
                return [_value(one, expected, begun) for one in node.body]
            except _FailsError as error:
                return f"caught {error}"
        case Parallel():
            return _gathered([_branch(branch, expected, begun) for branch in node.branches])
        case Child():
            child = interpret(node.body)
            if child.error is not None:
                raise _FailsError(child.error)
            return child.output


def _branch(branch: tuple[Any, ...], expected: Expected, begun: list[Do]) -> Any:
    try:
        return [_value(one, expected, begun) for one in branch]
    except _FailsError as error:
        return error


def _gathered(ended: list[Any]) -> list[Any]:
    for one in ended:
        if isinstance(one, _FailsError):
            raise one
    return ended


def _roll_back(begun: list[Do], expected: Expected) -> None:
    """Say which handlers run. After one that fails no other does: in which order branches began is anybody's guess."""
    handlers = [node for node in begun if node.undo != "none"]
    if handlers:
        expected.rollback = "failed" if any(node.undo == "fails" for node in handlers) else "complete"
        expected.undone = {node.name: expected.rollback == "complete" for node in handlers}
