"""The interface of the engine to its executions, so that executions and steps know little of the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from everstep.engine.runtime.clock import Clock
from everstep.engine.runtime.registry import WorkflowDefinition
from everstep.engine.runtime.watchers import Watchers
from everstep.sdk.step import RunsAsChild
from everstep.store.protocol import InstanceChange, Store
from everstep.telemetry.bus import Telemetry


class Invoker(Protocol):
    """Calls functions of steps, wherever they have to run."""

    def begin(self, attempt: Any) -> None:
        """Begin to count the time of an attempt, where that is short."""
        ...

    def run_in_thread(self, attempt: Any) -> Coroutine[Any, Any, Any]:
        """Call an attempt's function in a thread, and return what it returned."""
        ...

    def begin_timeout(self, attempt: Any) -> None:
        """Count the time of an attempt that is not over at once."""
        ...


class Starts(Protocol):
    """Writes the start of attempts that last."""

    def track(self, attempt: Any) -> None:
        """Note an attempt."""
        ...

    def untrack(self, attempt: Any) -> None:
        """Forget an attempt."""
        ...


class Lease(Protocol):
    """The engine's lease among others on the same store."""

    @property
    def lease_uncertain(self) -> bool:
        """Whether others may have this engine's instances by now."""
        ...

    async def lease_confirmed(self) -> None:
        """Wait until the lease is certain again."""
        ...


class Host(Protocol):
    """The engine, as its executions see it."""

    store: Store
    clock: Clock
    loop: asyncio.AbstractEventLoop
    telemetry: Telemetry
    watchers: Watchers

    @property
    def attempts(self) -> Invoker:
        """The caller of steps' functions."""
        ...

    @property
    def start_recorder(self) -> Starts:
        """The writer of the start of attempts that last."""
        ...

    @property
    def lease(self) -> Lease | None:
        """This engine among others on the same store; None where it is alone."""
        ...

    def evict(self, pk: int) -> None:
        """Have an instance leave memory now, attempts in flight included."""
        ...

    def parked(self, execution: Any, due: int) -> None:
        """Note that an execution does nothing before `due`; it may leave memory now."""
        ...

    def unparked(self, execution: Any) -> None:
        """Note that an execution is at work again."""
        ...

    def wait_written(self, execution: Any) -> None:
        """Go on with an execution whose code is to hear of settlements that are on disk."""
        ...

    def returned(self, execution: Any, change: InstanceChange, error: BaseException | None) -> None:
        """End an instance whose code has returned or raised."""
        ...

    def collected(self, execution: Any) -> None:
        """Run the rollback handlers of an instance whose code has been replayed to collect them."""
        ...

    def fail(self, execution: Any, error: BaseException) -> None:
        """End the instance as errored, whatever its code would do next."""
        ...

    def fail_nondeterministic(self, execution: Any, error: BaseException) -> None:
        """Stop the instance, its journal as it is, because its code contradicts it."""
        ...

    def workflow_name(self, workflow: type[RunsAsChild] | str) -> str:
        """Return the name of a workflow of this program. Raises WorkflowNotFoundError."""
        ...

    def encode_params(self, workflow: str, params: Any) -> str | None:
        """Check params against what a workflow declares, and encode them."""
        ...

    def output_type(self, workflow: str) -> Any:
        """Return what a workflow declares to return."""
        ...

    def definition(self, workflow: str) -> WorkflowDefinition:
        """Return what is known of a workflow of this program."""
        ...

    async def create_child(self, execution: Any, workflow: str, id: str, params: str | None) -> None:
        """Create an instance whose parent is that of `execution`. Raises InstanceExistsError."""
        ...

    def check_write(self, written: asyncio.Future[Any]) -> None:
        """Look at the outcome of a write that nobody waited for."""
        ...
