"""The executions in memory: by key and by name, which of them are parked, and which instances are kept out."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator

from everstep.engine.execution.execution import Execution


class InstanceCache:
    """Executions in memory. Parked ones may leave it, the longest parked first.

    Args:
        max_parked: How many parked executions are kept.
    """

    def __init__(self, max_parked: int) -> None:
        self._max_parked = max_parked
        self._executions: dict[int, Execution] = {}
        self._by_id: dict[tuple[str, str], Execution] = {}
        self._parked: OrderedDict[int, Execution] = OrderedDict()
        self._barred: Counter[int] = Counter()
        self._turned_away: set[int] = set()
        self._running: Counter[str] = Counter()

    def get(self, pk: int) -> Execution | None:
        """Return the execution of an instance that is in memory."""
        return self._executions.get(pk)

    def all(self) -> list[Execution]:
        """Return every execution in memory."""
        return list(self._executions.values())

    def pk_of(self, workflow: str, id: str) -> int | None:
        """Return the key of an instance, if it is in memory and has not ended."""
        execution = self._by_id.get((workflow, id))
        return None if execution is None else execution.pk

    def add(self, execution: Execution) -> None:
        """Take an execution in, at work."""
        instance = execution.instance
        self._executions[instance.pk] = execution
        self._by_id[instance.workflow, instance.id] = execution
        self._running[instance.workflow] += 1

    def remove(self, pk: int) -> Execution | None:
        """Take an execution out."""
        execution = self._executions.pop(pk, None)
        if execution is not None:
            self._by_id.pop((execution.instance.workflow, execution.instance.id), None)
            if self._parked.pop(pk, None) is None:
                self._running[execution.instance.workflow] -= 1
        return execution

    def park(self, execution: Execution) -> None:
        """Note that an execution does nothing before its row is due."""
        if execution.pk not in self._executions:
            return
        if execution.pk not in self._parked:
            self._running[execution.instance.workflow] -= 1
        self._parked[execution.pk] = execution

    def unpark(self, execution: Execution) -> None:
        """Note that an execution is at work again."""
        if self._parked.pop(execution.pk, None) is not None:
            self._running[execution.instance.workflow] += 1

    def surplus(self) -> Iterator[int]:
        """The parked executions that are too many, the longest parked first, for as long as there are any."""
        while len(self._parked) > self._max_parked:
            yield next(iter(self._parked))

    @property
    def parked(self) -> int:
        """How many executions are parked."""
        return len(self._parked)

    @property
    def running(self) -> int:
        """How many executions are at work."""
        return len(self._executions) - len(self._parked)

    def running_of(self, workflow: str) -> int:
        """How many executions of a workflow are at work."""
        return self._running[workflow]

    # Keeping instances out

    def bar(self, *pks: int) -> None:
        """Keep instances out of memory until `unbar`."""
        self._barred.update(pks)

    def is_barred(self, pk: int) -> bool:
        """Whether an instance is kept out of memory."""
        return pk in self._barred

    def unbar(self, *pks: int) -> list[int]:
        """Take one `bar` back; return the instances that were turned away meanwhile and that nothing bars any more."""
        self._barred -= Counter(pks)
        free = [pk for pk in pks if pk in self._turned_away and pk not in self._barred]
        self._turned_away.difference_update(free)
        return free

    def turns_away(self, pk: int) -> bool:
        """Whether an instance is kept out of memory; one that is has to be made due once it no longer is."""
        if pk not in self._barred:
            return False
        self._turned_away.add(pk)
        return True
