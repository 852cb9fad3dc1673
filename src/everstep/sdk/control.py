"""Everything that can be done to instances from outside, as one protocol: behind bindings, HTTP and command line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Protocol, TypeAlias

from everstep.core.durations import Duration
from everstep.core.types import InstanceStatus, StepPage, SubscriptionEvent

Retention: TypeAlias = Duration | Mapping[str, Duration]
"""How long an ended instance is kept: one duration, or `success_retention` and `error_retention`."""


class Control(Protocol):
    """Everything that can be done to instances from outside: the one service behind bindings, HTTP and command line."""

    async def create(
        self,
        workflow: str,
        *,
        id: str | None,
        params: Any,
        retention: Retention | None = None,
        tags: Iterable[str] = (),
        exist_ok: bool = False,
        trigger: str = "binding",
    ) -> str:
        """Create an instance and return its id."""
        ...

    def check_options(self, workflow: str, *, id: object, retention: object, tags: object) -> None:
        """Raise for options of `create` that can never be right, whatever there is already."""
        ...

    async def page(
        self, workflow: str, *, status: str | None, tag: str | None, limit: int, cursor: str | None
    ) -> tuple[list[str], str | None]:
        """Return ids of instances, newest first, and the cursor of the next page."""
        ...

    async def delete(self, workflow: str, id: str) -> None:
        """Forget the instance altogether."""
        ...

    def subscribe(
        self, workflow: str, id: str, *, cursor: int, filter: Iterable[str] | None
    ) -> AsyncIterator[SubscriptionEvent]:
        """Follow what happens to the instance."""
        ...

    async def check_exists(self, workflow: str, id: str) -> None:
        """Raise `InstanceNotFoundError` unless the instance exists."""
        ...

    async def status(self, workflow: str, id: str, *, steps: bool = False) -> InstanceStatus:
        """Return the instance at this moment."""
        ...

    async def steps(self, workflow: str, id: str, *, limit: int, cursor: str | None, newest_first: bool) -> StepPage:
        """Return some steps of the instance, and the cursor of the next ones."""
        ...

    async def result(self, workflow: str, id: str, timeout_ms: int | None) -> Any:
        """Wait for the instance's end and return its output, or raise its error."""
        ...

    async def pause(self, workflow: str, id: str) -> None:
        """Pause the instance."""
        ...

    async def resume(self, workflow: str, id: str) -> None:
        """Resume the instance."""
        ...

    async def terminate(self, workflow: str, id: str, *, rollback: bool = False) -> None:
        """Stop the instance for good."""
        ...

    async def restart(
        self, workflow: str, id: str, *, from_step: str | None = None, count: int = 1, type: str | None = None
    ) -> None:
        """Forget what the instance did, all of it or from a step on, and start it again."""
        ...

    async def send_event(self, workflow: str, id: str, *, type: str, payload: Any) -> None:
        """Queue an event for the instance."""
        ...
