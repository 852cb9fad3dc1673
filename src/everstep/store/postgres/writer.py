"""A connection that writes, and what makes its transactions safe: the fence in front, the last_txn behind.

Knows nothing of what is written. See `docs/design/many-machines.md`, "Who owns what".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from msgspec import Struct, structs

from everstep.core.errors import EverstepError, LeaseLostError, StoreConflictError, StoreUnavailableError
from everstep.store.postgres.connection import ReconnectingConnection

Work: TypeAlias = Callable[[ReconnectingConnection, "FencingToken"], Awaitable[Any]]


class WorkerIdentity(Struct, frozen=True):
    """Who writes: a worker's id and the epoch in which its lease stands."""

    worker: int
    epoch: int


class FencingToken(Struct, frozen=True):
    """What a transaction shows at the fence."""

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
        """Whether nobody knows yet if the last transaction was committed."""
        return self._in_doubt is not None

    def reset(self) -> None:
        """Begin again with the numbers: the worker has registered anew."""
        self._last_txn, self._in_doubt, self._last_result = 0, None, None

    async def run_statement(self, identity: WorkerIdentity, work: Work, recall: Work, *, of: object) -> Any:
        """Carry out what passes the fence by itself, in its own statement or transaction.

        Args:
            identity: Who writes.
            work: Writes; raises LeaseLostError if the fence let nothing through.
            recall: Reads back what was answered, when the last_txn says that it was committed after all.
            of: What is tried; the same thing when it is tried again.
        """
        token = FencingToken(identity.worker, self.number, identity.epoch, self._last_txn + 1)
        doubted, committed = self._in_doubt, False
        if doubted is not None:
            committed = await self._was_committed(token)
        if committed and doubted is of:
            answer = await recall(self.connection, token)
        else:
            if doubted is not None:  # its own number, if nobody waits for it any more, or the one that passed it over
                self._last_txn += 1 if committed else 2
                token = FencingToken(identity.worker, self.number, identity.epoch, self._last_txn + 1)
            self._in_doubt = None
            answer = await self._attempt(work, token, of)
        self._in_doubt = None  # not before: what reads the answer back may be lost as well
        self._last_txn += 1
        return answer

    async def run_transaction(self, identity: WorkerIdentity, work: Work, *, of: object) -> Any:
        """Carry out `work` in a transaction of several statements, behind the fence."""

        async def whole(connection: ReconnectingConnection, token: FencingToken) -> Any:
            passed = await connection.execute(
                f"{connection.begin}; {self._queries['check_fencing_token'].format(**structs.asdict(token))}"
            )
            if passed != "UPDATE 1":
                await connection.execute("rollback")
                raise LeaseLostError("this worker's lease is over: another worker has its instances")
            try:
                self._last_result = await work(connection, token)
            except StoreUnavailableError:
                raise
            except EverstepError as refusal:
                await connection.execute("rollback")
                return refusal
            await connection.execute("commit")
            return self._last_result

        async def remembered(_: ReconnectingConnection, __: FencingToken) -> Any:
            return self._last_result

        answer = await self.run_statement(identity, whole, remembered, of=of)
        if isinstance(answer, EverstepError):
            self._last_txn -= 1  # rolled back, the number too
            raise answer
        return answer

    async def _attempt(self, work: Work, token: FencingToken, of: object) -> Any:
        try:
            return await work(self.connection, token)
        except StoreConflictError:  # nothing was done, so nothing is in doubt; the pipeline says when to try again
            await self._roll_back()
            raise
        except StoreUnavailableError:
            self._in_doubt = of
            self.connection.abort()
            raise
        except EverstepError:
            await self._roll_back()
            raise
        except BaseException:
            self._in_doubt = of
            self.connection.abort()
            raise

    async def _roll_back(self) -> None:
        connection = self.connection.driver_connection
        if connection is not None and connection.is_in_transaction():
            await self.connection.execute("rollback")

    async def _was_committed(self, token: FencingToken) -> bool:
        """Find out what became of a number, and see to it that nothing more can become of it."""
        passed_over = False
        while not passed_over:
            # Waits for the lost connection's transaction, should it still be under way.
            rows = await self.connection.fetch(self._queries["last_txn"], token.worker, token.writer)
            if rows and rows[0]["last_txn"] == token.txn:
                return True  # also when the lease was lost since
            if not rows or rows[0]["epoch"] != token.epoch:
                raise LeaseLostError("this worker's lease is over: another worker has its instances")
            passed_over = rows[0]["last_txn"] > token.txn
            if not passed_over:  # one that has not begun may begin now: it comes before this, or not at all
                passed_over = bool(await self.connection.fetch(self._queries["skip_txn"], *token.arguments))
        return False
