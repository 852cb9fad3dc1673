"""Moves a stopped SQLite state to an empty PostgreSQL schema, in one transaction. Changes nothing at its source.

Keys, event ids and positions stay what they are, and what follows is numbered above them: what somebody remembers of an
instance, a cursor of its events, the parent of a child, means the same afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from msgspec import Struct

from everstep.core.errors import EverstepError, SchemaVersionError, StoreError
from everstep.store.postgres.connection import DatabaseUrl, ReconnectingConnection
from everstep.store.postgres.schema import migrate
from everstep.store.postgres.statements import in_schema
from everstep.store.queries import load_migrations, load_queries
from everstep.store.sqlite.connection import Connection, connect
from everstep.store.sqlite.file_lock import FileLock
from everstep.store.sqlite.schema import version_of

BATCH_ROWS = 500
"""Rows read at a time: each may have a megabyte."""

_KEYS = {
    "instance": ("pk",),
    "step": ("rowid",),
    "attempt": ("instance", "seq", "attempt"),
    "event": ("id",),
    "tag": ("workflow", "tag", "instance"),
    "status_event": ("position",),
    "chunk": ("instance", "seq", "attempt", "number"),
}
"""Every table that moves, and the key in whose order it is read."""
_LEFT_BEHIND = {"rowid"}
_FLAGS = {"is_absolute", "compensable", "sensitive"}
"""Truth values, which SQLite keeps as numbers."""


class CopyResult(Struct, frozen=True):
    """What was moved.

    Attributes:
        rows: How many rows of each table are at the target now.
        at_work: Instances that were at work when the source's engine died: the first worker takes them over.
    """

    rows: dict[str, int]
    running: int


Progress: TypeAlias = Callable[[str, int, int], None]
"""Told the table that is copied, how many of its rows are, and how many it has."""


async def copy_to_postgres(source: Path, target: str, progress: Progress | None = None) -> CopyResult:
    """Copy the state in `source`, an SQLite file nobody uses, to the database `target` names.

    All of it arrives, or nothing.

    Raises:
        DatabaseInUseError: if an engine runs on the source.
        SchemaVersionError: if the source is not of this release's schema, or the target is newer.
        StoreError: if there is no source, the target is not empty or in use, or a count differs afterwards.
    """
    if not source.exists():  # noqa: ASYNC240  # a command of its own: nothing else runs on the loop
        raise StoreError(f"there is no database {source}; name the file that has the state")
    with _exclusive_source(source) as connection:
        address = DatabaseUrl.parse(target)
        link = ReconnectingConnection(address)
        try:
            await migrate(link, address.schema)
            async with _transaction(link):
                moved = await _Copy(connection, link, address.schema, progress).run()
            await link.execute("".join(f"analyze {address.schema}.{table}; " for table in _KEYS))
        finally:
            await link.close()
    return moved


class _Copy:
    """One move, inside its transaction."""

    def __init__(
        self, source: Connection, link: ReconnectingConnection, schema: str, progress: Progress | None
    ) -> None:
        self._progress = progress
        self._source = source
        self._connection = link
        self._schema = schema
        self._queries = {name: in_schema(sql, schema) for name, sql in load_queries("admin/copy.sql").items()}

    async def run(self) -> CopyResult:
        await self._check_target()
        at_work, owner = self._scalar("at_work"), None
        if at_work:
            [(owner,)] = await self._connection.fetch(self._queries["register_dead_worker"])
        for table in _KEYS:
            await self._copy(table, owner)
        await self._advance_sequences()
        return CopyResult({table: await self._verified(table) for table in _KEYS}, at_work)

    async def _check_target(self) -> None:
        await self._connection.execute(self._queries["lock_target"])
        [(live,)] = await self._connection.fetch(self._queries["live_workers"])
        if live:
            raise StoreError(f"{live} workers run on the target; stop them first")
        for table in (*_KEYS, "invalidation"):
            rows = await self._connection.fetch(f"select from {self._schema}.{table} limit 1")  # checked names
            if rows:
                raise StoreError(
                    f"the target is not empty: schema {self._schema!r} has rows in {table!r}; "
                    "give the URL an empty schema, ?schema=another"
                )

    async def _copy(self, table: str, owner: int | None) -> None:
        columns = [name for name in self._columns(table) if name not in _LEFT_BEHIND]
        known = {name for (name,) in await self._connection.fetch(self._queries["columns_of"], self._schema, table)}
        if unknown := sorted(set(columns) - known):
            raise StoreError(f"the target's table {table!r} has no {', '.join(unknown)}; the schemas do not match")
        records, added = _converted(self._rows(table, columns), columns), []
        if table == "instance":
            added = ["nonce", "owner"]
            records = _owned(records, columns.index("status"), columns.index("due_at"), owner)
        try:
            await self._connection.copy_in(self._schema, table, [*columns, *added], records)
        except StoreError as error:
            self._find_nul(table, columns, error)
            raise

    def _find_nul(self, table: str, columns: list[str], error: StoreError) -> None:
        """Name the instance, if it was a NUL character that PostgreSQL did not take: it keeps none in text."""
        owner = "pk" if table == "instance" else "instance"
        for column in columns:
            rows = self._source.execute(
                f'select workflow, id from instance where pk = (select "{owner}" from {table} '  # noqa: S608  # names of our own
                f'where typeof("{column}") = \'text\' and instr("{column}", char(0)) limit 1)'
            )
            for workflow, id in rows:
                raise StoreError(
                    f"instance {id!r} of workflow {workflow!r} has a NUL character in {table}.{column}, which "
                    "PostgreSQL does not keep; nothing was copied: delete the instance at the source, and copy again"
                ) from error

    def _rows(self, table: str, columns: list[str]) -> Iterator[tuple[Any, ...]]:
        """Read a table in the order of its key, some rows at a time."""
        key = _KEYS[table]
        names, keys, marks = ", ".join(_quoted([*key, *columns])), ", ".join(key), ", ".join("?" * len(key))
        start = f"select {names} from {table} order by {keys} limit {BATCH_ROWS}"  # noqa: S608  # names of our own
        further = f"select {names} from {table} where ({keys}) > ({marks}) order by {keys} limit {BATCH_ROWS}"  # noqa: S608
        rows, read, of = self._source.execute(start), 0, self._count(table) if self._progress else 0
        while rows:
            for row in rows:
                yield row[len(key) :]
            read += len(rows)
            if self._progress is not None:
                self._progress(table, read, of)
            rows = self._source.execute(further, rows[-1][: len(key)])

    async def _advance_sequences(self) -> None:
        given_out = dict(self._source.execute("select name, seq from sqlite_sequence"))
        for table, column in (("instance", "pk"), ("event", "id")):
            if given_out.get(table):
                await self._connection.fetch(
                    self._queries["set_identity"], f"{self._schema}.{table}", column, given_out[table]
                )
        [(block,)] = self._source.execute("select block from position_allocator")
        await self._connection.fetch(self._queries["set_position"], block)

    async def _verified(self, table: str) -> int:
        count = f"select count(*) from {table}"  # noqa: S608  # names of our own
        [(there,)] = await self._connection.fetch(count.replace(table, f"{self._schema}.{table}"))
        here = self._count(table)
        if there != here:
            raise StoreError(f"{here} rows of {table!r} were to be copied and {there} arrived; nothing was changed")
        return int(there)

    def _count(self, table: str) -> int:
        [(count,)] = self._source.execute(f"select count(*) from {table}")  # noqa: S608  # names of our own
        return int(count)

    def _columns(self, table: str) -> list[str]:
        return [row[1] for row in self._source.execute(f"pragma table_info({table})")]

    def _scalar(self, query: str) -> int:
        [(value,)] = self._source.execute(load_queries("admin/copy.sql")[query])
        return int(value)


def _converted(rows: Iterator[tuple[Any, ...]], columns: list[str]) -> Iterator[tuple[Any, ...]]:
    flags = [number for number, name in enumerate(columns) if name in _FLAGS]
    for row in rows:
        if flags:
            values = list(row)
            for number in flags:
                values[number] = bool(values[number])
            yield tuple(values)
        else:
            yield row


def _owned(rows: Iterator[tuple[Any, ...]], status: int, due_at: int, owner: int | None) -> Iterator[tuple[Any, ...]]:
    """Add whose an instance is: what was at work belongs to a worker that is dead, and is adopted as after a crash."""
    for row in rows:
        at_work = row[status] == "waitingForPause" or (row[status] == "running" and row[due_at] is None)
        yield (*row, 0, owner if at_work else None)


@contextlib.contextmanager
def _exclusive_source(source: Path) -> Iterator[Connection]:
    """Open a state nobody else uses; what its log has of a crash is part of it."""
    lock = FileLock(source)
    lock.acquire()
    try:
        connection = connect(str(source), read_only=True)
        try:
            version, latest = version_of(connection, source), len(load_migrations("sqlite"))
            if version < latest:
                raise SchemaVersionError(
                    f"{source} has schema {version} and this release moves {latest}; "
                    f"bring it up to date first: everstep db migrate --database sqlite:///{source}"
                )
            yield connection
        finally:
            connection.close()
    finally:
        lock.release()


@contextlib.asynccontextmanager
async def _transaction(link: ReconnectingConnection) -> AsyncIterator[None]:
    await link.execute("begin")
    try:
        yield
    except BaseException:
        with contextlib.suppress(EverstepError):
            await link.execute("rollback")
        raise
    await link.execute("commit")


def _quoted(names: list[str]) -> list[str]:
    return [f'"{name}"' for name in names]
