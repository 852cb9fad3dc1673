"""The store on SQLite: one file, one writer, full durability. The statements are in `sql/sqlite.sql`."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import orjson

from everstep.core.errors import (
    InstanceExistsError,
    InstanceNotFoundError,
    InstanceStateError,
    NonDeterminismError,
    SchemaVersionError,
    StoreError,
)
from everstep.core.journal import AttemptRecord, StepRecord
from everstep.core.types import TERMINAL
from everstep.store.batches import Batches, Rows
from everstep.store.driver import Connection, StoreUnavailableError, connect
from everstep.store.group import GroupCommit
from everstep.store.lock import FileLock
from everstep.store.protocol import (
    Change,
    Claim,
    Claimed,
    EventRecord,
    InstanceRecord,
    NewInstance,
    SentEvent,
    Transition,
)
from everstep.store.queries import load_migrations, load_queries

T = TypeVar("T")

_INSTANCE_COLUMNS = InstanceRecord.__struct_fields__
_STEP_COLUMNS = StepRecord.__struct_fields__
_quoted = ", ".join(f'"{name}"' for name in _INSTANCE_COLUMNS)
_SQL = load_queries("sqlite.sql", instance=_quoted, step=", ".join(_STEP_COLUMNS))


class SqliteStore:
    """A `Store` in one SQLite file.

    Args:
        path: The database file, or None for one that is gone when the store is closed.
    """

    def __init__(self, path: Path | None) -> None:
        self._temporary = None if path is not None else tempfile.TemporaryDirectory(prefix="everstep-")
        self._path = path if path is not None else Path(self._temporary.name) / "state.db"  # type: ignore[union-attr]
        self._lock = FileLock(self._path)
        self._writer: Connection | None = None
        self._reader: Connection | None = None
        self._group: GroupCommit | None = None
        self._batches = Batches(_SQL)

    async def open(self) -> None:
        """Open the file, alone, and bring its schema up to date."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except OSError as error:
            raise StoreError(f"cannot open {self._path}: {error.strerror}; give the database another place") from error
        try:
            self._writer = connect(str(self._path))
            _migrate(self._writer, self._path)
            self._reader = connect(str(self._path), read_only=True)
        except BaseException:
            self._release()
            raise
        self._group = GroupCommit(self._commit, retryable=StoreUnavailableError)
        self._group.submit(_grow_wal)

    async def close(self) -> None:
        """Finish what was asked for and let go of the file."""
        if self._group is not None:
            await self._group.close()
            self._group = None
        self._release()

    async def recover(self, *, now: int) -> int:
        def recover(connection: Connection) -> int:
            connection.execute(_SQL["recover_pausing"])
            return len(connection.execute(_SQL["recover_running"], (now,)))

        return await self._submit(recover)

    async def release(self, *, now: int) -> None:
        await self._submit(lambda connection: connection.execute(_SQL["release_running"], (now,)))

    async def create(self, new: NewInstance) -> int:
        status, due_at, started_at = (
            ("running", None, new.created_at) if new.owned else ("queued", new.created_at, None)
        )
        row = (new.workflow, new.id, status, due_at, new.created_at, started_at, new.trigger, new.version, new.params)

        def create(connection: Connection) -> int:
            created = connection.execute(_SQL["create_instance"], row)
            if not created:
                raise InstanceExistsError(
                    f"an instance {new.id!r} of workflow {new.workflow!r} exists already; use another id, or get() it"
                )
            return created[0][0]  # type: ignore[no-any-return]  # a row of SQLite

        return await self._submit(create)

    def write(self, change: Change) -> asyncio.Future[None]:
        return self._submit(Rows(change))

    async def claim(self, workflows: Sequence[str], *, now: int, limit: int) -> Claim:
        names = _array(workflows)

        def claim(connection: Connection) -> Claim:
            due = [pk for (pk,) in connection.execute(_SQL["due_instances"], (now, names, limit))]
            pks = _array(due)
            rows = connection.execute(_SQL["claim_instances"], (now, pks)) if due else []
            by_pk = {row[0]: InstanceRecord(*row) for row in rows}
            instances = [by_pk[pk] for pk in due]
            steps = _grouped(connection.execute(_SQL["steps_of"], (pks,)), _step) if instances else {}
            events = _grouped(connection.execute(_SQL["events_of"], (pks,)), _event) if instances else {}
            next_due = connection.execute(_SQL["next_due"], (names,))
            return Claim(
                [Claimed(one, steps.get(one.pk, []), events.get(one.pk, [])) for one in instances],
                next_due[0][0] if next_due else None,
            )

        return await self._submit(claim)

    async def send_event(self, workflow: str, id: str, *, type: str, payload: str | None, now: int) -> SentEvent:
        def send_event(connection: Connection) -> SentEvent:
            instance = _live(connection, workflow, id, "take an event", "instance.cannot_receive")
            [(event_id,)] = connection.execute(_SQL["insert_event"], (instance.pk, type, payload, now))
            woken = connection.execute(_SQL["wake_for_event"], (instance.pk, now, type))
            return SentEvent(instance.pk, EventRecord(event_id, type, payload, now), bool(woken))

        return await self._submit(send_event)

    async def pause(self, workflow: str, id: str, *, now: int) -> Transition:
        def pause(connection: Connection) -> Transition:
            before = _live(connection, workflow, id, "be paused", "instance.cannot_pause")
            connection.execute(_SQL["pause_instance"], (before.pk, now))
            return _transition(connection, before)

        return await self._submit(pause)

    async def resume(self, workflow: str, id: str, *, now: int) -> Transition:
        def resume(connection: Connection) -> Transition:
            before = _existing(connection, workflow, id)
            if not _stopped_by_contradiction(before):
                before = _live(connection, workflow, id, "be resumed", "instance.cannot_resume")
            if before.paused_at is not None and not before.ended:
                paused_ms = max(0, now - before.paused_at)
                connection.execute(_SQL["shift_timers"], (before.pk, paused_ms, before.paused_at))
            connection.execute(_SQL["resume_instance"], (before.pk, now))
            return _transition(connection, before)

        return await self._submit(resume)

    async def terminate(self, workflow: str, id: str, *, now: int) -> Transition:
        def terminate(connection: Connection) -> Transition:
            before = _live(connection, workflow, id, "be terminated", "instance.cannot_terminate")
            connection.execute(_SQL["terminate_instance"], (before.pk, now))
            connection.execute(_SQL["cancel_open_steps"], (before.pk, now))
            return _transition(connection, before)

        return await self._submit(terminate)

    async def restart(self, workflow: str, id: str, *, now: int, version: str | None) -> Transition:
        def restart(connection: Connection) -> Transition:
            before = _existing(connection, workflow, id)
            for forget in ("forget_steps", "forget_attempts", "forget_events"):
                connection.execute(_SQL[forget], (before.pk,))
            connection.execute(_SQL["restart_instance"], (before.pk, now, version))
            return _transition(connection, before)

        return await self._submit(restart)

    async def find(self, workflow: str, id: str) -> InstanceRecord | None:
        rows = self._read("find_instance", (workflow, id))
        return InstanceRecord(*rows[0]) if rows else None

    async def page(self, workflow: str, *, status: str | None, limit: int, cursor: int | None) -> list[InstanceRecord]:
        rows = self._read("list_instances", (workflow, status, cursor, limit))
        return [InstanceRecord(*row) for row in rows]

    async def counts(self) -> dict[str, dict[str, int]]:
        counts: dict[str, dict[str, int]] = {}
        for workflow, status, count in self._read("count_instances", ()):
            counts.setdefault(workflow, {})[status] = count
        return counts

    async def unclaimable(self, workflows: Sequence[str]) -> dict[str, int]:
        return dict(self._read("unclaimable", (_array(workflows),)))

    async def steps(self, pk: int) -> list[StepRecord]:
        return [_step(row) for row in self._read("steps_of", (_array([pk]),))]

    async def attempts(self, pk: int) -> list[AttemptRecord]:
        return [AttemptRecord(*row) for row in self._read("attempts_of", (pk,))]

    def _read(self, query: str, arguments: Sequence[Any]) -> list[tuple[Any, ...]]:
        if self._reader is None:
            raise StoreError("the store is not open")
        return self._reader.execute(_SQL[query], arguments)

    def _submit(self, operation: Callable[[Connection], T] | Rows) -> asyncio.Future[T]:
        if self._group is None:
            raise StoreError("the store is not open")
        return self._group.submit(operation)

    def _commit(self, operations: Sequence[Any]) -> list[Any]:
        """Carry out a group in one transaction. One that cannot be carried out fails alone, not its group."""
        try:
            return self._in_transaction(operations, self._carry_out)
        except StoreUnavailableError:
            raise
        except Exception:
            if len(operations) == 1:
                raise
            return self._in_transaction(operations, self._carry_out_apart)

    def _in_transaction(
        self, operations: Sequence[Any], carry_out: Callable[[Connection, Sequence[Any]], list[Any]]
    ) -> list[Any]:
        assert self._writer is not None
        connection = self._writer
        try:
            connection.execute("begin immediate")
            answers = carry_out(connection, operations)
            connection.execute("commit")
        except BaseException:
            self._batches.clear()
            _roll_back(connection)
            raise
        return answers

    def _carry_out(self, connection: Connection, operations: Sequence[Any]) -> list[Any]:
        """Carry out operations in order; changes in a row are written together."""
        batches = self._batches
        answers: list[Any] = []
        for operation in operations:
            if type(operation) is Rows:
                if batches.follows(operation):
                    batches.write(connection)
                batches.add(operation)
                answers.append(None)
            else:
                batches.write(connection)
                answers.append(_answer_of(operation, connection))
        batches.write(connection)
        return answers

    def _carry_out_apart(self, connection: Connection, operations: Sequence[Any]) -> list[Any]:
        """Carry out operations in order, each undone by itself if it fails."""
        answers: list[Any] = []
        for operation in operations:
            connection.execute("savepoint operation")
            try:
                answers += self._carry_out(connection, (operation,))
            except StoreUnavailableError:
                raise
            except Exception as error:  # noqa: BLE001  # its waiter hears of it
                self._batches.clear()
                connection.execute("rollback to operation")
                answers.append(error)
            connection.execute("release operation")
        return answers

    def _release(self) -> None:
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()
        self._reader = self._writer = None
        self._lock.release()
        if self._temporary is not None:
            self._temporary.cleanup()


def open_store(url: str, root: Path | None = None) -> SqliteStore:
    """Make the store a database URL names: `sqlite:///relative.db`, `sqlite:////absolute.db`, `sqlite:///:memory:`.

    Args:
        url: The database URL.
        root: What relative paths are relative to; the working directory when omitted.

    Raises:
        StoreError: for a URL of another kind.
    """
    prefix, _, path = url.partition(":///")
    if prefix != "sqlite" or not path:
        raise StoreError(f"database {url!r} is not supported; use sqlite:///path/to/state.db or sqlite:///:memory:")
    if path == ":memory:":
        return SqliteStore(None)
    return SqliteStore((root or Path.cwd()) / path)


def _migrate(connection: Connection, path: Path) -> None:
    scripts = load_migrations("sqlite")
    [(version,)] = connection.execute("pragma user_version")
    if version > len(scripts):
        raise SchemaVersionError(
            f"{path} has schema {version}, newer than the {len(scripts)} this everstep knows; "
            "upgrade everstep, or use the release that wrote it"
        )
    for number in range(version, len(scripts)):
        connection.script(f"begin immediate; {scripts[number]}; pragma user_version = {number + 1}; commit")


def _grow_wal(connection: Connection) -> None:
    """Grow the write-ahead log to a steady size once, so that later commits overwrite it.

    A commit that makes the file longer also commits the file system's journal and takes half as long again
    (limits.md §1.2).
    """
    connection.execute("create table if not exists wal_reserve (bytes)")
    connection.execute("insert into wal_reserve values (zeroblob(4194304))")
    connection.execute("drop table wal_reserve")


def _answer_of(operation: Callable[[Connection], Any], connection: Connection) -> Any:
    """Carry out one verb; what it refuses is its own answer and leaves the group alone.

    Verbs check before they write, so a refusal has nothing to undo.
    """
    try:
        return operation(connection)
    except StoreError:
        raise
    except (InstanceExistsError, InstanceNotFoundError, InstanceStateError) as refusal:
        return refusal


def _roll_back(connection: Connection) -> None:
    try:
        connection.execute("rollback")
    except StoreError:
        pass  # SQLite rolled back by itself, as it does when the disk is full


def _existing(connection: Connection, workflow: str, id: str) -> InstanceRecord:
    rows = connection.execute(_SQL["find_instance"], (workflow, id))
    if not rows:
        raise InstanceNotFoundError(f"workflow {workflow!r} has no instance {id!r}")
    return InstanceRecord(*rows[0])


def _live(connection: Connection, workflow: str, id: str, what: str, code: str) -> InstanceRecord:
    instance = _existing(connection, workflow, id)
    if instance.status in TERMINAL:
        raise InstanceStateError(f"instance {id!r} of {workflow!r} cannot {what}: it is {instance.status}", code)
    return instance


def _stopped_by_contradiction(instance: InstanceRecord) -> bool:
    """Whether an instance ended only because its code contradicted its history: it may go on with other code."""
    return instance.error is not None and f'"{NonDeterminismError.code}"' in instance.error


def _transition(connection: Connection, before: InstanceRecord) -> Transition:
    after = _existing(connection, before.workflow, before.id)
    return Transition(before.pk, before.status, after.status)


def _array(values: Sequence[Any]) -> str:
    return orjson.dumps(list(values)).decode()


def _step(row: tuple[Any, ...]) -> StepRecord:
    step = StepRecord(*row[1:])
    step.absolute, step.sensitive = bool(step.absolute), bool(step.sensitive)
    return step


def _event(row: tuple[Any, ...]) -> EventRecord:
    return EventRecord(*row[1:])


def _grouped(rows: list[tuple[Any, ...]], make: Callable[[tuple[Any, ...]], T]) -> dict[int, list[T]]:
    grouped: dict[int, list[T]] = {}
    for row in rows:
        grouped.setdefault(row[0], []).append(make(row))
    return grouped
