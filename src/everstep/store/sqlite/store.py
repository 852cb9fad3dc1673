"""The store on SQLite: one file, one writer, full durability. The statements are in `sql/sqlite.sql`."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from everstep.core.errors import InstanceNotFoundError, InstanceStateError, StoreError, StoreUnavailableError
from everstep.store.health import StoreHealth
from everstep.store.protocol import (
    Change,
    Claim,
    Deletion,
    NewInstance,
    SentEvent,
    StepKey,
    Transition,
)
from everstep.store.sqlite import connection as sqlite_connection
from everstep.store.sqlite import open_audit, operations
from everstep.store.sqlite.batch import ChangeRows, WriteBatch, rows_of
from everstep.store.sqlite.connection import Connection, connect, roll_back
from everstep.store.sqlite.directory import make_directory
from everstep.store.sqlite.file_lock import FileLock
from everstep.store.sqlite.group_commit import GroupCommit
from everstep.store.sqlite.inserts import InstanceInserter
from everstep.store.sqlite.lock_guard import LockGuard
from everstep.store.sqlite.multi_row import Statement
from everstep.store.sqlite.reads import SqliteReads
from everstep.store.sqlite.schema import migrate
from everstep.store.sqlite.wal import reserve_log
from everstep.store.write_callback import WriteCallback

T = TypeVar("T")

_SQL = operations.SQL


class SqliteStore(SqliteReads):
    """A `Store` in one SQLite file.

    Args:
        path: The database file, or None for one that is gone when the store is closed.
    """

    def __init__(self, path: Path | None) -> None:
        self._temporary = None if path is not None else tempfile.TemporaryDirectory(prefix="everstep-")
        self._path = path if path is not None else Path(self._temporary.name) / "state.db"  # type: ignore[union-attr]
        self._lock = FileLock(self._path)
        self._guard = LockGuard(self._path)
        self._writer: Connection | None = None
        self._reader = None
        self._group: GroupCommit | None = None
        self._positions: Iterator[int] = itertools.count(1)
        self._batches = WriteBatch(_SQL, self._positions)
        self._creations = InstanceInserter(_SQL)
        self._relaxed = False

    async def open(self) -> None:
        """Open the file, alone, and bring its schema up to date."""
        try:
            self._take()
            self._writer = connect(str(self._path))
            migrate(self._writer, self._path)
            # A block of positions of its own for each opening: they rise for ever, and are not written down one by one.
            [(block,)] = self._writer.execute(_SQL["next_position_block"])
            self._positions = itertools.count(block << 32)
            self._batches = WriteBatch(_SQL, self._positions)
            if self._temporary is None:
                reserve_log(self._path)
            self._writer.execute(f"pragma busy_timeout = {sqlite_connection.WRITING_BUSY_MS}")
            self._reader = connect(str(self._path), read_only=True)
            self._guard.arm()
            if sqlite_connection.apsw is not None:  # else sqlite3 is the engine's own library, and sees its locks
                open_audit.keep(self._path)
        except BaseException:
            self._release()
            raise
        self._group = self._group_commit()

    async def close(self) -> None:
        """Finish what was asked for and let go of the file."""
        if self._group is not None:
            await self._group.close()
            self._group = None
        self._release()

    def health(self) -> StoreHealth:
        return StoreHealth("sqlite", None if self._group is None else self._group.outage)

    async def recover(self, *, now: int) -> int:
        return await self._run_operation(operations.recover, now=now)

    async def release(self, *, now: int) -> None:
        await self._submit(lambda connection: connection.execute(_SQL["release_running"], (now,)))

    def create(self, new: NewInstance) -> asyncio.Future[int]:
        return self._submit(new)

    def write(self, change: Change, *, awaited: bool = False, answer: WriteCallback | None = None) -> Any:
        if self._group is None:
            raise StoreError("the store is not open")
        return self._group.submit(rows_of(change), awaited=awaited, answer=answer)

    @property
    def answers_at_once(self) -> bool:
        return self._group is not None and self._group.answers_at_once

    async def claim(self, workflows: Sequence[str], *, now: int, limit: int, woken_first: bool = False) -> Claim:
        return await self._run_operation(
            operations.claim, self._positions, workflows, now=now, limit=limit, woken_first=woken_first
        )

    async def send_event(self, workflow: str, id: str, *, type: str, payload: str | None, now: int) -> SentEvent:
        return await self._run_operation(operations.send_event, workflow, id, type=type, payload=payload, now=now)

    async def pause(self, workflow: str, id: str, *, now: int) -> Transition:
        return await self._run_operation(operations.pause, self._positions, workflow, id, now=now)

    async def resume(self, workflow: str, id: str, *, now: int) -> Transition:
        return await self._run_operation(operations.resume, self._positions, workflow, id, now=now)

    async def terminate(self, workflow: str, id: str, *, now: int) -> Transition:
        return await self._run_operation(operations.terminate, self._positions, workflow, id, now=now)

    async def begin_rollback(self, workflow: str, id: str, *, now: int, error: str) -> Transition:
        return await self._run_operation(operations.begin_rollback, self._positions, workflow, id, now=now, error=error)

    async def restart(
        self, workflow: str, id: str, *, now: int, version: str | None, from_step: StepKey | None = None
    ) -> Transition:
        return await self._run_operation(
            operations.restart, self._positions, workflow, id, now=now, version=version, from_step=from_step
        )

    async def delete(self, workflow: str, id: str, *, now: int) -> Deletion:
        return await self._run_operation(operations.delete, self._positions, workflow, id, now=now)

    async def expire(self, *, now: int, limit: int) -> int:
        return await self._run_operation(operations.expire, now=now, limit=limit)

    async def write_chunk(self, pk: int, seq: int, attempt: int, number: int, data: bytes) -> None:
        def write(connection: Connection) -> None:
            if number == 0:  # what an earlier attempt left is of no use
                connection.execute(_SQL["delete_other_chunks"], (pk, seq, attempt))
            connection.execute(_SQL["write_chunk"], (pk, seq, attempt, number, data))

        await self._submit(write)

    @property
    def _writing(self) -> Connection:
        if self._writer is None:
            raise StoreError("the store is not open")
        return self._writer

    async def _run_operation(self, verb: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Carry out a verb in its turn."""
        answer: T = await self._submit(lambda connection: verb(connection, *arguments, **named))
        return answer

    def _submit(self, operation: Any, *, awaited: bool = True) -> asyncio.Future[Any]:
        if self._group is None:
            raise StoreError("the store is not open")
        submitted: asyncio.Future[Any] = self._group.submit(operation, awaited=awaited)
        return submitted

    def _group_commit(self, **seams: Any) -> GroupCommit:
        return GroupCommit(self._commit, retryable=StoreUnavailableError, kept=_must_complete, **seams)

    def _commit(self, operations: Sequence[Any]) -> list[Any]:
        """Carry out a group in one transaction. One that cannot be carried out fails alone, not its group."""
        self._guard.check()
        first = operations[0]
        if (
            len(operations) == 1
            and type(first) is ChangeRows
            and (alone := self._batches.single_step(first)) is not None
        ):
            self._set_synchronous(relaxed=first.relaxed)
            self._writing.execute(*alone)
            return [None]
        only_rows = {type(operation) for operation in operations} == {ChangeRows}
        self._set_synchronous(relaxed=only_rows and all(rows.relaxed for rows in operations))
        try:
            if only_rows:
                return self._commit_rows(operations)
            if len(operations) == 1 and type(operations[0]) is NewInstance and not operations[0].tags:
                return self._creations.insert(self._writing, operations)  # one statement is a transaction by itself
            return self._in_transaction(operations, self._apply)
        except StoreUnavailableError:
            raise
        except Exception:
            if len(operations) == 1:
                raise
            return self._in_transaction(operations, self._apply_isolated)

    def _set_synchronous(self, *, relaxed: bool) -> None:
        """Have the next commit wait for the disk, unless everything in it may be lost with the power.

        A later commit that waits carries the earlier ones with it: the log is one file, and its order is the order.
        """
        if relaxed != self._relaxed:
            self._writing.execute(f"pragma synchronous = {'normal' if relaxed else 'full'}")
            self._relaxed = relaxed

    def _commit_rows(self, operations: Sequence[ChangeRows]) -> list[None]:
        """Carry out a group of changes; if that takes one statement, it is a transaction by itself."""
        statements = self._batches.statements(operations)
        if len(statements) == 1:
            self._writing.execute(*statements[0])
        else:
            self._in_transaction(statements, _execute)
        return [None] * len(operations)

    def _in_transaction(
        self, operations: Sequence[Any], carry_out: Callable[[Connection, Sequence[Any]], list[Any]]
    ) -> list[Any]:
        connection = self._writing
        try:
            connection.execute("begin immediate")
            answers = carry_out(connection, operations)
            connection.execute("commit")
        except BaseException:
            roll_back(connection)
            raise
        return answers

    def _apply(self, connection: Connection, operations: Sequence[Any]) -> list[Any]:
        """Carry out operations in order; changes in a row are written together, and so are creations."""
        answers: list[Any] = []
        for kind, run in itertools.groupby(operations, type):
            if kind is ChangeRows:
                changes = list(run)
                _execute(connection, self._batches.statements(changes))
                answers += [None] * len(changes)
            elif kind is NewInstance:
                answers += self._creations.insert(connection, list(run))
            else:
                answers += [_result_of(verb, connection) for verb in run]
        return answers

    def _apply_isolated(self, connection: Connection, operations: Sequence[Any]) -> list[Any]:
        """Carry out operations in order, each undone by itself if it fails."""
        answers: list[Any] = []
        for operation in operations:
            connection.execute("savepoint operation")
            try:
                answers += self._apply(connection, (operation,))
            except StoreUnavailableError:
                raise
            except Exception as error:  # noqa: BLE001  # its waiter hears of it
                connection.execute("rollback to operation")
                answers.append(error)
            connection.execute("release operation")
        return answers

    def _take(self) -> None:
        """Have the file to ourselves, before SQLite opens it."""
        try:
            if self._temporary is None:
                make_directory(self._path)
            self._lock.acquire()
            self._guard.take()
        except OSError as error:
            raise StoreError(f"cannot open {self._path}: {error.strerror}; give the database another place") from error

    def _release(self) -> None:
        self._guard.release()
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()
        self._reader = self._writer = None
        self._guard.close()
        open_audit.release(self._path)
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


def _must_complete(operation: Any) -> bool:
    """Whether it is the engine's own affair: an instance's code never hears of trouble that passes."""
    if type(operation) is NewInstance:
        return operation.parent is not None
    return type(operation) is ChangeRows


def _execute(connection: Connection, statements: Sequence[Statement]) -> list[Any]:
    for statement in statements:
        connection.execute(*statement)
    return []


def _result_of(operation: Callable[[Connection], Any], connection: Connection) -> Any:
    """Carry out one verb; what it refuses is its own answer and leaves the group alone.

    Verbs check before they write, so a refusal has nothing to undo.
    """
    try:
        return operation(connection)
    except StoreError:
        raise
    except (InstanceNotFoundError, InstanceStateError) as refusal:
        return refusal
