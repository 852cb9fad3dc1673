"""A connection that writes, and what makes its transactions safe: the fence in front, the receipt behind.

Knows nothing of what is written. See `docs/design/many-machines.md`, "Who owns what".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from msgspec import Struct, structs

from everstep.core.errors import EverstepError, LeaseLostError, StoreConflictError, StoreUnavailableError
from everstep.store.postgres.connection import Link

Work: TypeAlias = Callable[[Link, "Pass"], Awaitable[Any]]


class Identity(Struct, frozen=True):
    """Who writes: a worker's id and the epoch in which its lease stands."""

    worker: int
    epoch: int


class Pass(Struct, frozen=True):
    """What a transaction shows at the fence."""

    worker: int
    lane: int
    epoch: int
    receipt: int

    @property
    def arguments(self) -> tuple[int, int, int, int]:
        """The four arguments every fenced statement begins with."""
        return self.worker, self.lane, self.epoch, self.receipt


class Lane:
    """One writing connection.

    Of a transaction whose connection was lost, the lane's row says whether its number was committed. If not, the number
    is passed over before anything is tried again: what may still be under way finds it gone.
    """

    def __init__(self, number: int, link: Link, queries: Mapping[str, str]) -> None:
        self.number = number
        self.link = link
        self._queries = queries
        self._receipt = 0
        self._in_doubt: object = None
        self._answer: Any = None

    @property
    def doubts(self) -> bool:
        """Whether nobody knows yet if the last transaction was committed."""
        return self._in_doubt is not None

    def reset(self) -> None:
        """Begin again with the numbers: the worker has registered anew."""
        self._receipt, self._in_doubt, self._answer = 0, None, None

    async def statement(self, identity: Identity, work: Work, recall: Work, *, of: object) -> Any:
        """Carry out what passes the fence by itself, in its own statement or transaction.

        Args:
            identity: Who writes.
            work: Writes; raises LeaseLostError if the fence let nothing through.
            recall: Reads back what was answered, when the receipt says that it was committed after all.
            of: What is tried; the same thing when it is tried again.
        """
        shown = Pass(identity.worker, self.number, identity.epoch, self._receipt + 1)
        doubted, committed = self._in_doubt, False
        if doubted is not None:
            committed = await self._was_committed(shown)
        if committed and doubted is of:
            answer = await recall(self.link, shown)
        else:
            if doubted is not None:  # its own number, if nobody waits for it any more, or the one that passed it over
                self._receipt += 1 if committed else 2
                shown = Pass(identity.worker, self.number, identity.epoch, self._receipt + 1)
            self._in_doubt = None
            answer = await self._tried(work, shown, of)
        self._in_doubt = None  # not before: what reads the answer back may be lost as well
        self._receipt += 1
        return answer

    async def transaction(self, identity: Identity, work: Work, *, of: object) -> Any:
        """Carry out `work` in a transaction of several statements, behind the fence."""

        async def whole(link: Link, shown: Pass) -> Any:
            passed = await link.script(f"{link.begin}; {self._queries['pass_fence'].format(**structs.asdict(shown))}")
            if passed != "UPDATE 1":
                await link.script("rollback")
                raise LeaseLostError("this worker's lease is over: another worker has its instances")
            try:
                self._answer = await work(link, shown)
            except StoreUnavailableError:
                raise
            except EverstepError as refusal:
                await link.script("rollback")
                return refusal
            await link.script("commit")
            return self._answer

        async def remembered(_: Link, __: Pass) -> Any:
            return self._answer

        answer = await self.statement(identity, whole, remembered, of=of)
        if isinstance(answer, EverstepError):
            self._receipt -= 1  # rolled back, the number too
            raise answer
        return answer

    async def _tried(self, work: Work, shown: Pass, of: object) -> Any:
        try:
            return await work(self.link, shown)
        except StoreConflictError:  # nothing was done, so nothing is in doubt; the road says when to try again
            await self._rolled_back()
            raise
        except StoreUnavailableError:
            self._in_doubt = of
            self.link.drop()
            raise
        except EverstepError:
            await self._rolled_back()
            raise
        except BaseException:
            self._in_doubt = of
            self.link.drop()
            raise

    async def _rolled_back(self) -> None:
        connection = self.link.connection
        if connection is not None and connection.is_in_transaction():
            await self.link.script("rollback")

    async def _was_committed(self, shown: Pass) -> bool:
        """Find out what became of a number, and see to it that nothing more can become of it."""
        passed_over = False
        while not passed_over:
            # Waits for the lost connection's transaction, should it still be under way.
            rows = await self.link.fetch(self._queries["receipt"], shown.worker, shown.lane)
            if rows and rows[0]["receipt"] == shown.receipt:
                return True  # also when the lease was lost since
            if not rows or rows[0]["epoch"] != shown.epoch:
                raise LeaseLostError("this worker's lease is over: another worker has its instances")
            passed_over = rows[0]["receipt"] > shown.receipt
            if not passed_over:  # one that has not begun may begin now: it comes before this, or not at all
                passed_over = bool(await self.link.fetch(self._queries["pass_over"], *shown.arguments))
        return False
