"""One connection to PostgreSQL, made when it is needed and made anew when it is lost. Knows no statement by name.

Translates the driver's errors into ours: trouble that passes, conflicts that a second try solves, and refusals.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
from msgspec import Struct, field

from everstep.core.errors import StoreConflictError, StoreError, StoreUnavailableError
from everstep.store.postgres.resolving_loop import ResolvingLoop

STATEMENT_TIMEOUT_SECONDS = 30.0
"""A statement that takes longer hangs with its server: the connection is given up, and what became of it is asked."""
CONNECT_SECONDS = 10
"""How long the hosts of a URL have together to let us in."""
_SCHEMA = "everstep"

_TRANSIENT_CLASSES = ("08", "53", "57", "25", "F0", "58", "XX")
"""Classes of errors that pass: connections, resources, an operator who restarts, a standby that only reads."""
_RETRYABLE_STATES = ("40001", "40P01", "55P03", "0A000", "26000", "42P05")
"""Serialization, deadlock, lock not available; a plan from before a migration; statements lost in a pooler."""

_GRANTS_HINT = (
    "grant the role usage on the schema and on its sequences, and select, insert, update and delete on its tables; "
    "only their owner may change them: everstep db migrate"
)

_UNREACHABLE = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # no host takes writes: the standby is about to be promoted
    OSError,
    TimeoutError,
)


_WRONG_PARAMETER = (
    asyncpg.UndefinedObjectError,
    asyncpg.InvalidParameterValueError,
    asyncpg.CantChangeRuntimeParamError,
)


class _HostPreference(Struct):
    """Which host let somebody in last, if any did: all connections of a store knock there first."""

    host: int = 0
    connected_once: bool = False


class DatabaseUrl(Struct, frozen=True):
    """Where a database is and how to speak to it, as its URL says.

    Attributes:
        dsn: The URL without what only Everstep understands.
        hosts: The same, one URL for each host it names.
        schema: The schema that has the tables.
        pooled: Whether a pooler in transaction mode stands between: nothing may be left in a session.
        door: What is known about where to knock.
    """

    dsn: str
    hosts: tuple[str, ...]
    schema: str = _SCHEMA
    pooled: bool = False
    preferred_host: _HostPreference = field(default_factory=_HostPreference)

    @classmethod
    def parse(cls, url: str) -> DatabaseUrl:
        """Read `postgresql://user@host,standby/database?schema=…&statement_cache_size=0`.

        Of several hosts we want the one that takes writes, unless the URL says otherwise.

        Raises:
            StoreError: for a URL that cannot be read; the message says nothing of what may be its password.
        """
        parts = _parts(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        schema = options.pop("schema", _SCHEMA)
        if not schema.isidentifier() or not schema.islower():
            raise StoreError(f"schema {schema!r} in the database URL is not a plain lower-case name")
        pooled = options.pop("statement_cache_size", "") == "0"
        user, at, named = parts.netloc.rpartition("@")
        hosts = named.split(",")
        if len(hosts) > 1:
            options.setdefault("target_session_attrs", "read-write")
        query = urlencode(options)
        dsn = urlunsplit(parts._replace(query=query))
        urls = tuple(urlunsplit(parts._replace(netloc=f"{user}{at}{host}", query=query)) for host in hosts)
        return cls(dsn, urls, schema, pooled)


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        for host in parts.netloc.rpartition("@")[2].split(","):
            urlsplit(f"//{host}").port  # noqa: B018  # it is checked when it is asked for
    except ValueError:
        raise StoreError(
            "the database URL has a host or a port that cannot be read; write postgresql://user@host:5432/database, "
            "and in a password %2F for /, %3A for :, %40 for @, %23 for # and %3F for ?"
        ) from None
    return parts


class ReconnectingConnection:
    """A connection that is there when it is needed."""

    def __init__(self, address: DatabaseUrl, *, idle_ms: int = 0) -> None:
        self._url = address
        self._idle_ms = idle_ms
        self._connection: Any = None
        self._lock = asyncio.Lock()

    @property
    def driver_connection(self) -> Any:
        """The driver's connection, for those who listen; None while there is none."""
        return self._connection

    @property
    def begin(self) -> str:
        """What begins a transaction that the server ends when we stand still in it."""
        if not (self._url.pooled and self._idle_ms):
            return "begin"
        return f"begin; set local idle_in_transaction_session_timeout = {self._idle_ms}"

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        """Run one statement and return its rows."""
        async with self._lock:
            return await self._fetch(sql, arguments)

    async def _fetch(self, sql: str, arguments: tuple[Any, ...]) -> list[Any]:
        connection = await self._connect()
        try:
            async with asyncio.timeout(STATEMENT_TIMEOUT_SECONDS):
                if self._url.pooled and not connection.is_in_transaction():
                    # The driver prepares in one exchange and executes in the next: a pooler may part the two.
                    async with connection.transaction():
                        return await connection.fetch(sql, *arguments)  # type: ignore[no-any-return]  # list[Record]
                return await connection.fetch(sql, *arguments)  # type: ignore[no-any-return]
        except BaseException as error:
            raise self._translate(error) from error

    async def execute(self, sql: str) -> str:
        """Run statements without arguments in one exchange; return the status of the last."""
        async with self._lock:
            return await self._execute(sql)

    async def _execute(self, sql: str) -> str:
        connection = await self._connect()
        try:
            async with asyncio.timeout(STATEMENT_TIMEOUT_SECONDS):
                return await connection.execute(sql)  # type: ignore[no-any-return]
        except BaseException as error:
            raise self._translate(error) from error

    async def copy_in(self, schema: str, table: str, columns: Sequence[str], records: Iterable[Sequence[Any]]) -> None:
        """Append rows to a table, as many as there are, for as long as it takes."""
        async with self._lock:
            connection = await self._connect()
            try:
                await connection.copy_records_to_table(
                    table, schema_name=schema, columns=columns, records=records, timeout=None
                )
            except BaseException as error:
                raise self._translate(error) from error

    async def listen(self, channels: Sequence[str], callback: Callable[..., None]) -> None:
        """Call back at every notification, and when the connection is lost; then listening has to begin again."""
        async with self._lock:
            connection = await self._connect()
            try:
                async with asyncio.timeout(STATEMENT_TIMEOUT_SECONDS):
                    for channel in channels:
                        await connection.add_listener(channel, callback)
                connection.add_termination_listener(callback)
            except BaseException as error:
                self.abort()
                raise self._translate(error) from error

    @property
    def closed(self) -> bool:
        """Whether there is no connection at the moment."""
        return self._connection is None or self._connection.is_closed()

    def abort(self) -> None:
        """Let go of the connection at once; a transaction under way is rolled back by the server."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        """Say good-bye and close."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                await connection.close(timeout=2)

    async def _connect(self) -> Any:
        if not self.closed:
            return self._connection
        options: dict[str, Any] = {"statement_cache_size": 0}
        if not self._url.pooled:
            settings = {"application_name": "everstep", "jit": "off", "plan_cache_mode": "force_generic_plan"}
            if self._idle_ms:
                settings["idle_in_transaction_session_timeout"] = str(self._idle_ms)
            options = {"statement_cache_size": 200, "max_cached_statement_lifetime": 0, "server_settings": settings}
        self._connection = await self._connect_to_any_host(options)
        return self._connection

    async def _connect_to_any_host(self, options: dict[str, Any]) -> Any:
        """Connect to the first host that lets us in, beginning with the one that did so last.

        One after another here and not by the driver, whose hosts share one timeout: a host that is cut off, and neither
        answers nor refuses, would use it up every time and hide the standby that was promoted.
        """
        hosts, door = self._url.hosts, self._url.preferred_host
        first = door.host
        options["timeout"] = CONNECT_SECONDS / len(hosts)
        said: list[StoreError] = []
        for turn in range(len(hosts)):
            at = (first + turn) % len(hosts)
            try:
                loop = ResolvingLoop(asyncio.get_running_loop())
                connection = await asyncpg.connect(hosts[at], loop=loop, **options)
            except _UNREACHABLE as error:
                said.append(_connect_error(error))
            else:
                door.host, door.connected_once = at, True
                return connection
        # A host that refuses us for good may be the wrong one: as long as another one may come back, this may pass.
        worst = next((one for one in said if isinstance(one, StoreUnavailableError)), said[0])
        # So may what began while we were at work: somebody keeps everybody out for an hour, and no instance may fail.
        raise StoreUnavailableError(str(worst)) if door.connected_once else worst

    def _translate(self, error: BaseException) -> BaseException:
        if isinstance(error, asyncpg.PostgresError):
            state = str(getattr(error, "sqlstate", None) or "")
            if state in _RETRYABLE_STATES:
                return StoreConflictError(f"the database asks to try again ({_first_line(error)})")
            if state.startswith(_TRANSIENT_CLASSES):
                self.abort()
                return StoreUnavailableError(f"the database is in trouble ({_first_line(error)})")
            if isinstance(error, asyncpg.InsufficientPrivilegeError):
                return StoreError(f"the database refused a statement: {_first_line(error)}; {_GRANTS_HINT}")
            return StoreError(f"the database refused a statement: {_first_line(error)}")
        if isinstance(error, (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)):
            if isinstance(error, asyncpg.DataError):
                return StoreError(f"the database refused a value: {_first_line(error)}")
            self.abort()
            return StoreUnavailableError(f"the connection to the database was lost ({_first_line(error)})")
        if isinstance(error, asyncio.CancelledError):
            self.abort()  # its statement may still be under way
        return error


async def close_links(connections: Iterable[ReconnectingConnection], *, answered: bool) -> None:
    """Close connections together; to a server that answers nothing there is no good-bye, which would wait for one."""
    if answered:
        await asyncio.gather(*(connection.close() for connection in connections))
    else:
        for connection in connections:
            connection.abort()


def _connect_error(error: Exception) -> StoreError:
    """Say why a host let nobody in: trouble that passes, or what has to be changed first."""
    said = _first_line(error)
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return StoreError(f"the database refuses us: {said}")
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return StoreError(
            f"the database refuses us: {said}; let an administrator grant it, e.g. connect on the database"
        )
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return StoreError(f"{said}; create the database first")
    if isinstance(error, asyncpg.ClientConfigurationError):
        return StoreError(f"the database URL is wrong: {said}")
    if isinstance(error, _WRONG_PARAMETER):
        return StoreError(f"the database refuses a parameter: {said}; change it in the database URL, or leave it out")
    # A pooler says everything under one code, also that it is full for now: here its words are all there is.
    if isinstance(error, asyncpg.ProtocolViolationError) and "startup parameter" in said:
        return StoreError(
            f"a pooler in front of the database refuses a parameter: {said}; in transaction mode it needs "
            "?statement_cache_size=0 in the database URL, and no parameter there that it does not know"
        )
    return StoreUnavailableError(f"the database cannot be reached ({said})")


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0] or type(error).__name__
