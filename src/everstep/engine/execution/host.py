"""What a run asks of the engine around it, so that runs and steps know little of the rest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from everstep.api.step import RunsAsChild
from everstep.engine.runtime.clock import Clock
from everstep.engine.runtime.loop_ticks import Turns
from everstep.engine.runtime.watchers import Watchers
from everstep.store.protocol import Store
from everstep.telemetry.bus import Telemetry

if TYPE_CHECKING:
    from everstep.engine.execution.execution import Execution
    from everstep.engine.runtime.registry import WorkflowDefinition
    from everstep.engine.scheduling.lease import LeaseKeeper
    from everstep.engine.steps.attempt import Attempts
    from everstep.engine.steps.start_recorder import StartRecorder


class Host(Protocol):
    """The engine, as its runs see it."""

    store: Store
    clock: Clock
    loop: asyncio.AbstractEventLoop
    turns: Turns
    telemetry: Telemetry
    attempts: Attempts
    start_recorder: StartRecorder
    watchers: Watchers
    lease: LeaseKeeper | None
    """This engine among others on the same store; None where it is alone."""

    def evict(self, pk: int) -> None:
        """Put an instance away now, attempts in flight included."""
        ...

    def parked(self, run: Execution, due: int) -> None:
        """Note that `run` does nothing before `due`; it may be put away now."""
        ...

    def unparked(self, run: Execution) -> None:
        """Note that `run` is at work again."""
        ...

    async def fail(self, run: Execution, error: BaseException) -> None:
        """End the instance as errored, whatever its code would do next."""
        ...

    async def fail_nondeterministic(self, run: Execution, error: BaseException) -> None:
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

    async def create_child(self, run: Execution, workflow: str, id: str, params: str | None) -> None:
        """Create an instance whose parent is `run`. Raises InstanceExistsError."""
        ...

    def check_write(self, written: asyncio.Future[Any]) -> None:
        """Look at the outcome of a write that nobody waited for."""
        ...
