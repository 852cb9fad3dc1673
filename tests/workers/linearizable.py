"""Whether what concurrent clients were answered can be explained by one order of their operations.

The search of Wing and Gong with Lowe's memory of where it has been: an operation may come next if none that is left had
ended before it began. An operation whose outcome is unknown may have happened at any time since it began, or never.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Operation:
    """What a client asked for, and what it was answered; unknown outcomes have no end."""

    what: str
    argument: Any
    answer: Any
    began: float
    ended: float = float("inf")

    @property
    def known(self) -> bool:
        return self.answer != UNKNOWN


class Model(Protocol):
    """How one thing behaves when nothing happens at the same time."""

    initial: Hashable

    def after(self, state: Any, operation: Operation) -> Iterable[Hashable]:
        """Return the states that `operation`, with its answer, may lead to from `state`; none if it cannot happen."""
        ...


def is_linearizable(history: Sequence[Operation], model: Model) -> bool:
    """Say whether there is an order of a history's operations that explains every answer."""
    operations = sorted(history, key=lambda one: one.began)
    to_explain = sum(1 << number for number, one in enumerate(operations) if one.known)
    been: set[tuple[int, Hashable]] = set()
    to_visit: list[tuple[int, Hashable]] = [(0, model.initial)]
    while to_visit:
        done, state = to_visit.pop()
        if done & to_explain == to_explain:
            return True
        if (done, state) in been:
            continue
        been.add((done, state))
        left = [(number, one) for number, one in enumerate(operations) if not done >> number & 1]
        first_end = min(one.ended for _, one in left)
        for number, one in left:
            if one.began > first_end:
                break
            to_visit += [(done | 1 << number, then) for then in model.after(state, one)]
    return False


@dataclass(frozen=True)
class InstanceState:
    """An instance as its clients see it: whether it is there, the events sent to it, and how it ended."""

    status: str = "missing"
    events: tuple[Any, ...] = ()


class InstanceModel:
    """An instance that waits for `enough` events and returns their payloads in the order they came.

    It completes by itself some time after the last of them, unless it is terminated before.
    """

    initial = InstanceState()

    def __init__(self, enough: int) -> None:
        self._enough = enough

    def after(self, state: InstanceState, operation: Operation) -> Iterable[InstanceState]:
        """Return what may come of an operation, now or after the instance went on by itself."""
        for before in self._by_itself(state):
            answer, then = self._answered(before, operation)
            if not operation.known or operation.answer == answer:
                yield then

    def _by_itself(self, state: InstanceState) -> Iterable[InstanceState]:
        yield state
        if state.status == "live" and len(state.events) >= self._enough:
            yield InstanceState("complete", state.events[: self._enough])

    @staticmethod
    def _answered(state: InstanceState, operation: Operation) -> tuple[Any, InstanceState]:
        match operation.what, state.status:
            case "create", "missing":
                return "done", InstanceState("live")
            case "create", _:
                return "exists", state
            case "status", "complete":
                return ("complete", state.events), state
            case "status", status:
                return status, state
            case _, "missing":
                return "missing", state
            case "terminate", "live":
                return "done", InstanceState("terminated")
            case "send", "live":
                return "done", InstanceState("live", (*state.events, operation.argument))
        return "refused", state
