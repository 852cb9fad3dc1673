"""A writing connection whose transactions are fenced, and whose lost commits are found out.

The protocol is in `docs/design/many-machines.md`, "Ownership and fencing".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from msgspec import Struct, structs

from everstep.core.errors import EverstepError, LeaseLostError, StoreConflictError, StoreUnavailableError
from everstep.store.postgres.connection import ReconnectingConnection

Work: TypeAlias = Callable[[ReconnectingConnection, "FencingToken"], Awaitable[Any]]


class WorkerIdentity(Struct, frozen=True):
    """The id of a worker and the epoch of its lease."""

    worker: int
    epoch: int


class FencingToken(Struct, frozen=True):
    """The token of one transaction: the update of the writer's row matches it, or the transaction writes nothing.

    Attributes:
        worker: The id of the worker.
        writer: The number of its writing connection.
        epoch: The epoch of its lease.
        txn: The number of the transaction on this connection.
    """

    worker: int
    writer: int
    epoch: int
    txn: int

    @property
    def arguments(self) -> tuple[int, int, int, int]:
        """The four arguments every fenced statement begins with."""
        return self.worker, self.writer, self.epoch, self.txn


class Writer:
    """One writing connection.

    If the connection is lost during a transaction, the writer's row tells whether its number was committed. If it was
    not, the number is skipped before the next try, so that a late copy of the transaction fails the fence.
    """

    def __init__(self, number: int, connection: ReconnectingConnection, queries: Mapping[str, str]) -> None:
        self.number = number
        self.connection = connection
        self._queries = queries
        self._last_txn = 0
        self._in_doubt: object = None
        self._last_result: Any = None

    @property
    def in_doubt(self) -> bool:
        """Whether the outcome of the last transaction is unknown."""
        return self._in_doubt is not None

    def reset(self) -> None:
        """Restart the transaction numbers for a newly registered worker."""
        self._last_txn, self._in_doubt, self._last_result = 0, None, None

    async def run_statement(self, identity: WorkerIdentity, work: Work, read_back: Work, *, retry_key: object) -> Any:
        """Run work that checks the fencing token itself, in one statement or transaction.

        Args:
            identity: The worker that writes.
            work: Writes; raises LeaseLostError if the token was refused.
            read_back: Reads the answer, if the last try turns out to have been committed.
            retry_key: Identifies the work: the same object at every try of it.
        """
        token = FencingToken(identity.worker, self.number, identity.epoch, self._last_txn + 1)
        uncertain, committed = self._in_doubt, False
        if uncertain is not None:
            committed = await self._was_committed(token)
        if committed and uncertain is retry_key:
            answer = await read_back(self.connection, token)
        else:
            if uncertain is not None:  # past the number that was committed, or past that and the one that skipped it
                self._last_txn += 1 if committed else 2
                token = FencingToken(identity.worker, self.number, identity.epoch, self._last_txn + 1)
            self._in_doubt = None
            answer = await self._attempt(work, token, retry_key)
        self._in_doubt = None  # only now: the connection may be lost while the answer is read back
        self._last_txn += 1
        return answer

    async def run_transaction(self, identity: WorkerIdentity, work: Work, *, retry_key: object) -> Any:
        """Run `work` in a transaction of several statements that begins by checking the fencing token."""

        async def whole(connection: ReconnectingConnection, token: FencingToken) -> Any:
            updated = await connection.execute(
                f"{connection.begin}; {self._queries['check_fencing_token'].format(**structs.asdict(token))}"
            )
            if updated != "UPDATE 1":
                await connection.execute("rollback")
                raise LeaseLostError("this worker's lease is over: another worker has its instances")
            try:
                self._last_result = await work(connection, token)
            except StoreUnavailableError:
                raise
            except EverstepError as rejection:
                await connection.execute("rollback")
                return rejection
            await connection.execute("commit")
            return self._last_result

        async def remembered(_: ReconnectingConnection, __: FencingToken) -> Any:
            return self._last_result

        answer = await self.run_statement(identity, whole, remembered, retry_key=retry_key)
        if isinstance(answer, EverstepError):
            self._last_txn -= 1  # the rollback took the number back as well
            raise answer
        return answer

    async def _attempt(self, work: Work, token: FencingToken, retry_key: object) -> Any:
        try:
            return await work(self.connection, token)
        except (
            StoreConflictError
        ):  # rolled back by the server: its outcome is known; WritePipeline decides when to retry
            await self._roll_back()
            raise
        except StoreUnavailableError:
            self._in_doubt = retry_key
            self.connection.abort()
            raise
        except EverstepError:
            await self._roll_back()
            raise
        except BaseException:
            self._in_doubt = retry_key
            self.connection.abort()
            raise

    async def _roll_back(self) -> None:
        connection = self.connection.driver_connection
        if connection is not None and connection.is_in_transaction():
            await self.connection.execute("rollback")

    async def _was_committed(self, token: FencingToken) -> bool:
        """Return whether the transaction of a token was committed; if not, skip its number so that it never will be."""
        skipped = False
        while not skipped:
            # `for update`: this waits for the transaction of the lost connection, if it is still running.
            rows = await self.connection.fetch(self._queries["last_txn"], token.worker, token.writer)
            if rows and rows[0]["last_txn"] == token.txn:
                return True  # even if the lease was lost since
            if not rows or rows[0]["epoch"] != token.epoch:
                raise LeaseLostError("this worker's lease is over: another worker has its instances")
            skipped = rows[0]["last_txn"] > token.txn
            if not skipped:  # a late copy of the transaction commits before this update, or never
                skipped = bool(await self.connection.fetch(self._queries["skip_txn"], *token.arguments))
        return False
