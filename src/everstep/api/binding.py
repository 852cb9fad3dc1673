"""Bindings: how an app creates instances of a workflow and works with them. What happens is up to a `Control`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Protocol

from typing_extensions import TypeVar

from everstep.core.durations import Duration, duration_ms
from everstep.core.types import InstanceStatus

ParamsT = TypeVar("ParamsT", default=Any)


class Control(Protocol):
    """Everything that can be done to instances from outside: the one service behind bindings, HTTP and command line."""

    async def create(
        self, workflow: str, *, id: str | None, params: Any, exist_ok: bool = False, trigger: str = "binding"
    ) -> str:
        """Create an instance and return its id."""
        ...

    async def check_exists(self, workflow: str, id: str) -> None:
        """Raise `InstanceNotFoundError` unless the instance exists."""
        ...

    async def status(self, workflow: str, id: str, *, steps: bool = False) -> InstanceStatus:
        """Return the instance at this moment."""
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

    async def terminate(self, workflow: str, id: str) -> None:
        """Stop the instance for good."""
        ...

    async def restart(self, workflow: str, id: str) -> None:
        """Forget everything the instance did and start it again."""
        ...

    async def send_event(self, workflow: str, id: str, *, type: str, payload: Any) -> None:
        """Queue an event for the instance."""
        ...


class WorkflowInstance:
    """A handle on one instance. Every method that changes something returns once the change is on disk."""

    def __init__(self, control: Control, workflow: str, id: str) -> None:
        self._control = control
        self._workflow = workflow
        self._id = id

    @property
    def id(self) -> str:
        """The instance's id."""
        return self._id

    async def status(self, *, steps: bool = False) -> InstanceStatus:
        """Return where the instance is: status, current step, what it waits for; with `steps`, every step.

        Raises:
            InstanceNotFoundError: if it was deleted.
        """
        return await self._control.status(self._workflow, self._id, steps=steps)

    async def result(self, timeout: Duration | None = None) -> Any:  # noqa: ASYNC109  # a duration in words
        """Wait until the instance has ended and return its output.

        Args:
            timeout: How long to wait, as a duration (`"30 seconds"`, a timedelta); None waits for ever.

        Raises:
            WorkflowTimeoutError: if it has not ended in time.
            InstanceTerminatedError: if it was terminated.
            Exception: the error it ended with.
        """
        timeout_ms = None if timeout is None else duration_ms(timeout, what="timeout of result()")
        return await self._control.result(self._workflow, self._id, timeout_ms)

    async def pause(self) -> None:
        """Pause it: the attempt in flight finishes, sleeps and waits stop at once.

        Raises:
            InstanceStateError: if it has ended.
        """
        await self._control.pause(self._workflow, self._id)

    async def resume(self) -> None:
        """Let it go on where it was; sleeps and timeouts move by the time spent paused.

        Raises:
            InstanceStateError: if it has ended.
        """
        await self._control.resume(self._workflow, self._id)

    async def terminate(self) -> None:
        """Stop it for good, at once.

        Raises:
            InstanceStateError: if it has ended.
        """
        await self._control.terminate(self._workflow, self._id)

    async def restart(self) -> None:
        """Forget everything it did and start it again with the same id and params.

        Raises:
            InstanceNotFoundError: if it was deleted.
        """
        await self._control.restart(self._workflow, self._id)

    async def send_event(self, *, type: str, payload: Any = None) -> None:
        """Send it an event; one that comes before its wait is kept.

        Raises:
            InstanceStateError: if it has ended.
            NotSerializableError: if the payload cannot be stored.
            ValueError: if the type is not allowed.
        """
        await self._control.send_event(self._workflow, self._id, type=type, payload=payload)

    def __repr__(self) -> str:
        return f"<WorkflowInstance {self._workflow}/{self._id}>"


class Workflow(Generic[ParamsT]):
    """A binding: the way to create and find instances of one workflow.

    Example:
        >>> async def start(binding: Workflow[dict]) -> str:
        ...     instance = await binding.create(id="order-1", params={"total": 10})
        ...     return (await instance.status()).status
    """

    def __init__(self, control: Control, name: str) -> None:
        self._control = control
        self._name = name

    @property
    def name(self) -> str:
        """The workflow's name."""
        return self._name

    async def create(self, *, id: str | None = None, params: ParamsT | None = None) -> WorkflowInstance:
        """Create an instance; when this returns, it is on disk and will run.

        Args:
            id: 1 to 100 characters of A-Z, a-z, 0-9, _ and -, not starting with -; given out when omitted.
            params: What `event.payload` will be; checked against the declared type.

        Raises:
            InstanceExistsError: if the id is taken, however many callers race; nothing is changed.
            ValueError: if the id is not allowed.
            InvalidParamsError: if the params do not fit the declared type.
            NotSerializableError: if they cannot be stored.
        """
        return self._handle(await self._control.create(self._name, id=id, params=params))

    async def get_or_create(self, *, id: str | None = None, params: ParamsT | None = None) -> WorkflowInstance:
        """Return the instance with this id, created with `params` if there is none yet.

        Raises:
            InvalidParamsError: if the params do not fit the declared type.
            NotSerializableError: if they cannot be stored.
        """
        return self._handle(await self._control.create(self._name, id=id, params=params, exist_ok=True))

    async def get(self, id: str) -> WorkflowInstance:
        """Return the instance with this id.

        Raises:
            InstanceNotFoundError: if there is none.
        """
        await self._control.check_exists(self._name, id)
        return self._handle(id)

    def _handle(self, id: str) -> WorkflowInstance:
        return WorkflowInstance(self._control, self._name, id)

    def __repr__(self) -> str:
        return f"<Workflow {self._name}>"


def bindings(control: Control, names: Mapping[str, str]) -> dict[str, Workflow[Any]]:
    """Make the bindings of an app: `{"ORDER_PIPELINE": "order-pipeline"}` → objects."""
    return {binding: Workflow(control, name) for binding, name in names.items()}
