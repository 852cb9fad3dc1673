"""Bindings: how an app creates instances of a workflow and works with them. What happens is up to a `Control`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic

from msgspec import Struct
from typing_extensions import TypeVar

from everstep.core.call_forms import NamesInSnakeCase, arguments_by_name
from everstep.core.durations import Duration, duration_ms
from everstep.core.errors import DuplicateInBatchError, EverstepError
from everstep.core.names import check_instance_id
from everstep.core.types import BatchError, InstanceStatus, Status, StepPage, SubscriptionEvent
from everstep.sdk.batch_options import checked_batch, checked_options
from everstep.sdk.control import Control, Retention

T = TypeVar("T")
ParamsT = TypeVar("ParamsT", default=Any)


class WorkflowInstance(NamesInSnakeCase):
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

        With `steps`, the whole output of every step is in memory at once, up to 1 GiB: `steps()` has them by pages.
        Without, no output of a step is read.

        Raises:
            InstanceNotFoundError: if it was deleted.
        """
        return await self._control.status(self._workflow, self._id, steps=steps)

    async def steps(self, *, limit: int = 100, cursor: str | None = None, newest_first: bool = False) -> StepPage:
        """Return its steps by pages, oldest first or newest first, as `status(steps=True)` has them all.

        Args:
            limit: At most so many.
            cursor: The `cursor` of the page before.
            newest_first: Begin with the step that started last.

        Raises:
            InstanceNotFoundError: if it was deleted.
            TypeError: for an argument of the wrong kind, ValueError: for an impossible one.

        Example:
            >>> async def failed(instance: WorkflowInstance) -> list[str]:
            ...     names, cursor, more = [], None, True
            ...     while more:
            ...         page = await instance.steps(cursor=cursor)
            ...         names += [step.name for step in page.steps if step.status == "errored"]
            ...         cursor, more = page.cursor, page.cursor is not None
            ...     return names
        """
        return await self._control.steps(
            self._workflow, self._id, limit=limit, cursor=cursor, newest_first=newest_first
        )

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

    @arguments_by_name
    async def terminate(self, *, rollback: bool = False) -> None:
        """Stop it for good, at once; with `rollback`, its steps' rollback handlers are called first.

        Raises:
            InstanceStateError: if it has ended.
        """
        await self._control.terminate(self._workflow, self._id, rollback=rollback)

    @arguments_by_name
    async def restart(self, *, from_step: str | None = None, count: int = 1, type: str | None = None) -> None:
        """Start it again with the same id and params, from the beginning or from a step, whatever its status.

        Args:
            from_step: The name of a step. What started before it is kept with its result; it and everything after it is
                forgotten, timers, events and rollbacks included.
            count: Which step of that name.
            type: `"do"`, `"sleep"` or `"waitForEvent"`, where a name was used for several; `"do"` when omitted.

        Raises:
            InstanceNotFoundError: if there is no such instance.
            InstanceStateError: with the code instance.cannot_restart, if its history has no such step.
            InvalidOptionError: if no step can be of this type or count, or if one of them is given without `from_step`.
        """
        await self._control.restart(self._workflow, self._id, from_step=from_step, count=count, type=type)

    async def delete(self) -> None:
        """Forget it altogether. Called from inside the instance, its code stops there.

        Raises:
            InstanceNotFoundError: if there is no such instance.
        """
        await self._control.delete(self._workflow, self._id)

    def subscribe(self, *, cursor: int = 0, filter: Iterable[str] | None = None) -> AsyncIterator[SubscriptionEvent]:
        """Follow what happens to it: numbered events from the first above `cursor`, history first, then live.

        Ends after the terminal event, also when `filter` leaves that one out. Numbers rise over restarts: with the last
        number of one run as `cursor`, every event of the next one comes.

        Args:
            cursor: The `event_id` of the last event that was seen; 0 begins with the first.
            filter: Event types to be told of, such as `["step_completed", "workflow_completed"]`; None for all.

        Raises:
            InstanceNotFoundError: on the first event, if there is no such instance.
            TypeError: for a filter that is text, a mapping or no collection.
            ValueError: for a negative cursor, and for event types that do not exist.

        Example:
            >>> async def follow(instance: WorkflowInstance) -> None:
            ...     async for event in instance.subscribe(filter=["step_completed"]):
            ...         print(event.event_id, event.step_name, event.output)
        """
        return self._control.subscribe(self._workflow, self._id, cursor=cursor, filter=filter)

    @arguments_by_name
    async def send_event(self, *, type: str, payload: Any = None) -> None:
        """Send it an event, with a payload of up to 1 MiB; one that comes before its wait is kept.

        Raises:
            InstanceStateError: if it has ended.
            NotSerializableError: if the payload cannot be stored.
            ValueError: if the type is not 1 to 100 characters of A-Z, a-z, 0-9, _, - and .
        """
        await self._control.send_event(self._workflow, self._id, type=type, payload=payload)

    def __repr__(self) -> str:
        return f"<WorkflowInstance {self._workflow}/{self._id}>"


InstanceT = TypeVar("InstanceT", default=WorkflowInstance)


class CreateBatchResult(Struct, Generic[InstanceT], frozen=True):
    """What `create_batch` did.

    Attributes:
        created: The instances that were created, in the order of the batch.
        errors: An error for each that was not.
    """

    created: Sequence[InstanceT]
    errors: Sequence[BatchError]


class DeleteBatchResult(Struct, frozen=True):
    """What `delete_batch` did.

    Attributes:
        deleted: The ids that were deleted, in the order of the batch.
        errors: An error for each that was not.
    """

    deleted: Sequence[str]
    errors: Sequence[BatchError]


class InstancePage(Struct, Generic[InstanceT], frozen=True):
    """Some instances; a page is iterable and has a length.

    Attributes:
        instances: The instances, newest first.
        cursor: Where the next page begins; None after the last.
    """

    instances: Sequence[InstanceT]
    cursor: str | None

    def __iter__(self) -> Iterator[InstanceT]:
        return iter(self.instances)

    def __len__(self) -> int:
        return len(self.instances)


class Workflow(NamesInSnakeCase, Generic[ParamsT]):
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

    @arguments_by_name
    async def create(
        self,
        *,
        id: str | None = None,
        params: ParamsT | None = None,
        retention: Retention | None = None,
        tags: Iterable[str] = (),
    ) -> WorkflowInstance:
        """Create an instance; when this returns, it is on disk and will run.

        Args:
            id: 1 to 100 characters of A-Z, a-z, 0-9, _ and -, not starting with -; given out when omitted.
            params: What `event.payload` will be; checked against the declared type.
            retention: How long it is kept after its end: a duration, or a dict with `success_retention` (complete and
                terminated) and `error_retention`.
            tags: Words to find it by, with `list(tag=...)`.

        Raises:
            InstanceExistsError: if the id is taken, however many callers race; nothing is changed.
            ValueError: if the id or a tag is not allowed.
            InvalidOptionError: if the retention or the tags are not what they should be.
            InvalidParamsError: if the params do not fit the declared type.
            NotSerializableError: if they cannot be stored.
        """
        return self._handle(
            await self._control.create(self._name, id=id, params=params, retention=retention, tags=tags)
        )

    @arguments_by_name
    async def get_or_create(self, *, id: str | None = None, params: ParamsT | None = None) -> WorkflowInstance:
        """Return the instance with this id, created with `params` if there is none yet.

        One that exists keeps the params it was created with, whatever its status, so asking again is safe.

        Raises:
            ValueError: if the id is not allowed.
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

    async def create_batch(self, batch: Iterable[Mapping[str, Any]]) -> CreateBatchResult:
        """Create up to 100 instances, each described as for `create`; what fails for one leaves the others alone.

        Raises:
            TypeError: for a batch that is text, a mapping or no collection; nothing is created then.
            ValueError: for an empty batch, one of more than 100, and unknown keys; nothing is created then.

        Example:
            >>> async def start(binding: Workflow[dict]) -> int:
            ...     result = await binding.create_batch([{"id": "a"}, {"id": "b", "params": {"n": 1}}])
            ...     return len(result.created)
        """
        options = [checked_options(one) for one in checked_batch(batch, "create_batch takes a list of dicts")]
        for one in options:
            self._control.check_options(
                self._name, id=one.get("id"), retention=one.get("retention"), tags=one.get("tags", ())
            )
        seen: set[str] = set()
        created: list[WorkflowInstance] = []
        errors: list[BatchError] = []
        for index, (one, answer) in enumerate(zip(options, await self._create_all(options, seen), strict=True)):
            if isinstance(answer, EverstepError):
                errors.append(BatchError(index, one.get("id"), answer.code, str(answer)))
            else:
                created.append(answer)
        return CreateBatchResult(created, errors)

    async def delete_batch(self, ids: Iterable[str]) -> DeleteBatchResult:
        """Delete 1 to 100 instances, at work or ended; those that do not exist are reported, each at its place.

        Raises:
            TypeError: for ids that are one text, a mapping or no collection; nothing is deleted then.
            ValueError: for an empty batch, one of more than 100, and ids that are not allowed; nothing is deleted then.
        """
        checked = [check_instance_id(id) for id in checked_batch(ids, "delete_batch takes a list of ids")]
        deleted: list[str] = []
        errors: list[BatchError] = []
        for index, id in enumerate(checked):
            if id in deleted:  # deleted once, told at each of its places
                deleted.append(id)
                continue
            try:
                await self._control.delete(self._name, id)
                deleted.append(id)
            except EverstepError as error:
                errors.append(BatchError(index, id, error.code, str(error)))
        return DeleteBatchResult(deleted, errors)

    @arguments_by_name
    async def list(
        self, *, status: Status | None = None, tag: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> InstancePage:
        """Return instances, newest first.

        Args:
            status: Only those in this status.
            tag: Only those with this tag.
            limit: At most so many, 1 or more.
            cursor: The `cursor` of the page before; None for the first page.

        Raises:
            TypeError: for an argument of the wrong kind.
            ValueError: for a status that does not exist, a limit below 1, a cursor of another call.
        """
        ids, next_cursor = await self._control.page(self._name, status=status, tag=tag, limit=limit, cursor=cursor)
        return InstancePage([self._handle(id) for id in ids], next_cursor)

    async def _create_all(self, options: Sequence[Mapping[str, Any]], seen: set[str]) -> Sequence[Any]:
        async def create(one: Mapping[str, Any]) -> WorkflowInstance:
            id = one.get("id")
            if id is not None and id in seen:
                raise DuplicateInBatchError(f"the id {id!r} stands twice in this batch")
            seen.add(id or "")
            return await self.create(**one)

        answers = await asyncio.gather(*(create(one) for one in options), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, EverstepError):
                raise answer
        return answers

    def _handle(self, id: str) -> WorkflowInstance:
        return WorkflowInstance(self._control, self._name, id)

    def __repr__(self) -> str:
        return f"<Workflow {self._name}>"


def bindings(control: Control, names: Mapping[str, str]) -> dict[str, Workflow[Any]]:
    """Make the bindings of an app: `{"ORDER_PIPELINE": "order-pipeline"}` → objects."""
    return {binding: Workflow(control, name) for binding, name in names.items()}
