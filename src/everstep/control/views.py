"""What is seen of instances from outside: their status, their steps, and lists of them. Moves nothing."""

from __future__ import annotations

import copy
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from msgspec import Struct, structs

from everstep.control.lifecycle import LifecycleOperations, run_detached
from everstep.control.status import instance_status, shown_steps, step_infos, type_of
from everstep.core.journal import StepRecord
from everstep.core.suggest import did_you_mean
from everstep.core.types import STATUSES, InstanceLink, InstanceStatus, StepInfo, StepPage, StepType
from everstep.store.protocol import InstanceRecord
from everstep.threads import run_beside_loop


class StepWindow(Struct, frozen=True):
    """Which steps of an instance are looked at: up to `limit` from one on; or before it, with `newest_first`.

    Attributes:
        limit: At most so many; None for all.
        cursor: The number of the step that the window begins behind; None for the first, or the newest, one.
        newest_first: Whether it reaches back.
    """

    limit: int | None = None
    cursor: int | None = None
    newest_first: bool = False

    def places(self, steps: Sequence[StepRecord]) -> range:
        """Return the places of the window's steps among all of them."""
        number: Callable[[StepRecord], int] = lambda step: step.seq  # noqa: E731  # a key
        if self.newest_first:
            end = len(steps) if self.cursor is None else bisect_left(steps, self.cursor, key=number)
            return range(0 if self.limit is None else max(0, end - self.limit), end)
        start = 0 if self.cursor is None else bisect_right(steps, self.cursor, key=number)
        return range(start, len(steps) if self.limit is None else min(len(steps), start + self.limit))


class InstanceView(NamedTuple):
    """An instance, some of its steps in the order they started, and how many there are before and after these."""

    instance: InstanceRecord
    status: InstanceStatus
    steps: list[StepInfo]
    earlier: int
    later: int

    def next_cursor(self, window: StepWindow) -> int | None:
        """Return the cursor of the window after the one that was asked for, None after the last."""
        more = self.earlier if window.newest_first else self.later
        if not more or not self.steps:
            return None
        return self.steps[0 if window.newest_first else -1].seq


class StepName(NamedTuple):
    """What a step is called: its number, its type, and its name with how many times it came."""

    seq: int
    type: StepType
    name: str


class InstanceViews(LifecycleOperations):
    """What a `LocalControl` tells of instances."""

    @run_detached
    async def status(self, workflow: str, id: str, *, steps: bool = False) -> InstanceStatus:
        if not steps:
            instance = await self._find(workflow, id)
            return await self._status(instance, (await self._shown(instance))[0], traceback=False)
        view = await self.look(workflow, id, StepWindow())
        return structs.replace(view.status, steps=view.steps)

    @run_detached
    async def steps(
        self, workflow: str, id: str, *, limit: int, cursor: str | None, newest_first: bool = False
    ) -> StepPage:
        check_page("steps", limit, cursor)
        window = StepWindow(limit, None if cursor is None else int(cursor), newest_first)
        view = await self.look(workflow, id, window)
        following = view.next_cursor(window)
        steps = view.steps[::-1] if newest_first else view.steps
        return StepPage(steps, None if following is None else str(following))

    @run_detached
    async def look(
        self, workflow: str, id: str, window: StepWindow | None, *, chars: int | None = None
    ) -> InstanceView:
        """Return an instance with the steps of a window, or with none.

        Results of more than `chars` characters of stored text are `CutText`, their beginnings: all of them may have a
        gigabyte. What is not in the window is not read.
        """
        instance = await self._find(workflow, id)
        everything = window is not None and window.limit is None and window.cursor is None
        shown, read = await self._shown(instance, values=everything, chars=chars)
        status = await self._status(instance, shown, traceback=True)
        if window is None:
            return InstanceView(instance, status, [], len(shown), 0)
        places = window.places(shown)
        seen = shown[places.start : places.stop]
        if seen and not read:
            seen = shown_steps(
                await self._engine.store.steps(instance.pk, first=seen[0].seq, last=seen[-1].seq, chars=chars)
            )
        infos = await self._infos(instance, seen, chars)
        return InstanceView(instance, status, infos, places.start, len(shown) - places.stop)

    @run_detached
    async def step_names(self, workflow: str, id: str) -> list[StepName]:
        """Return what the steps of an instance are called, in the order they started."""
        shown, _ = await self._shown(await self._find(workflow, id))
        return [StepName(step.seq, type_of(step), f"{step.name}-{step.count}") for step in shown]

    @run_detached
    async def records(
        self, workflow: str, *, status: str | None = None, limit: int = 25, cursor: int | None = None
    ) -> list[InstanceRecord]:
        """Return instances of a workflow without their values, newest first, from below the pk `cursor`."""
        self._engine.registry[workflow]
        return await self._engine.store.page(workflow, status=status, limit=limit, cursor=cursor)

    @run_detached
    async def page(
        self, workflow: str, *, status: str | None, tag: str | None, limit: int, cursor: str | None
    ) -> tuple[list[str], str | None]:
        _check_filter(status, tag)
        check_page("list", limit, cursor)
        self._engine.registry[workflow]
        found = await self._engine.store.page(
            workflow, status=status, tag=tag, limit=limit + 1, cursor=None if cursor is None else int(cursor)
        )
        more = len(found) > limit
        return [one.id for one in found[:limit]], str(found[limit - 1].pk) if more else None

    async def parents_of(self, instances: Iterable[InstanceRecord]) -> dict[int, InstanceLink]:
        """Return which instances started these, by their pk, where some did."""
        pks = sorted({one.parent for one in instances if one.parent is not None})
        found = await self._engine.store.lines(pks) if pks else []
        return {one.pk: InstanceLink(one.workflow, one.id) for one in found}

    async def _shown(
        self, instance: InstanceRecord, *, values: bool = False, chars: int | None = None
    ) -> tuple[list[StepRecord], bool]:
        """Return every step that views show, and whether with its values: in memory they are there anyway."""
        execution, store = self._engine.cache.get(instance.pk), self._engine.store
        if execution is not None:
            return shown_steps(execution.journal.steps()), True
        recorded = await (store.steps(instance.pk, chars=chars) if values else store.outline(instance.pk))
        return shown_steps(recorded), values

    async def _status(
        self, instance: InstanceRecord, shown: Sequence[StepRecord], *, traceback: bool
    ) -> InstanceStatus:
        parents = await self.parents_of([instance])
        now = self._engine.clock.now()
        parent = parents.get(instance.parent or 0)
        return instance_status(instance, shown, now=now, traceback=traceback, parent=parent)

    async def _infos(self, instance: InstanceRecord, steps: Sequence[StepRecord], chars: int | None) -> list[StepInfo]:
        if not steps:
            return []
        attempts = await self._engine.store.attempts(instance.pk, first=steps[0].seq, last=steps[-1].seq)
        # Every value is decoded: ten thousand would keep the loop from everything else. Copies, because the steps of an
        # instance in memory go on changing.
        copies = [copy.copy(step) for step in steps]
        return await run_beside_loop(partial(step_infos, instance, copies, attempts, chars=chars))


def _check_filter(status: object, tag: object) -> None:
    """Raise TypeError and ValueError for what `list()` was asked to let through and cannot be."""
    for what, given in (("status", status), ("tag", tag)):
        if not (given is None or isinstance(given, str)):
            raise TypeError(f"{what} of list() is one text, or None for all, got {given!r}")
    if status is not None and status not in STATUSES:
        raise ValueError(f"there is no status {status!r}{did_you_mean(str(status), STATUSES)}; one of {STATUSES}")


def check_page(method: str, limit: object, cursor: object) -> None:
    """Raise TypeError and ValueError for a limit and a cursor of a method's pages that cannot be."""
    if not (cursor is None or isinstance(cursor, str)):
        raise TypeError(f"cursor of {method}() is one text, or None for all, got {cursor!r}")
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise TypeError(f"limit of {method}() is a whole number, got {limit!r}")
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    if cursor is not None and not str(cursor).isdecimal():
        raise ValueError(f"cursor {cursor!r} is not one that {method}() gave")
