"""How many instances may be at work: of the engine, and of each workflow that has a limit of its own."""

from __future__ import annotations

from collections import Counter

from everstep.engine.runtime.registry import WorkflowRegistry
from everstep.engine.scheduling.cache import InstanceCache


class Slots:
    """Slots for instances at work; those acquired in advance are taken by instances that are about to start.

    Args:
        cache: The executions in memory.
        registry: The workflows, with their limits.
        limit: How many instances may be at work in all.
    """

    def __init__(self, cache: InstanceCache, registry: WorkflowRegistry, limit: int) -> None:
        self._cache = cache
        self._registry = registry
        self._limit = limit
        self._acquired: Counter[str] = Counter()
        self.closed = False
        """Whether no slot is given out any more: the engine stops."""

    def acquire(self, workflow: str, slots: int = 1) -> bool:
        """Take slots for instances of a workflow that are about to start, if there are that many."""
        if self.closed or self.free(workflow) < slots:
            return False
        self._acquired[workflow] += slots
        return True

    def release(self, workflow: str, slots: int = 1) -> None:
        """Give slots back, taken by instances or not needed after all."""
        self._acquired[workflow] -= slots

    def free(self, workflow: str) -> int:
        """How many more instances of a workflow may be at work."""
        limit = self._registry[workflow].concurrency
        if limit is None:
            return self.free_total
        return min(self.free_total, limit - self._cache.running_of(workflow) - self._acquired[workflow])

    @property
    def free_total(self) -> int:
        """How many more instances may be at work."""
        return self._limit - self._cache.running
