"""A group of changes and new instances as the arrays of one statement. Decides nothing about who goes with whom."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from everstep.core.errors import EverstepError, InstanceLostError, LeaseLostError
from everstep.core.journal import StepRecord
from everstep.store.journal_rows import JournalRows, Row, rows_under
from everstep.store.postgres.connection import ReconnectingConnection
from everstep.store.postgres.writer import FencingToken
from everstep.store.protocol import Change, NewInstance
from everstep.store.rejections import already_exists

DEFAULTS = {"kind": "do", "count": 1, "state": "complete", "attempt": 1} | dict.fromkeys(
    ("is_absolute", "compensable", "sensitive"), False
)
"""What most steps have: a column in which all do is not sent, and the statement fills it in."""
_STEP_COLUMNS = [None, *(DEFAULTS.get(name) for name in StepRecord.__struct_fields__), None, None]
_ATTEMPT_COLUMNS, _MOVE_COLUMNS, _NEW_COLUMNS = 8, 10, 12


class ChangeRows:
    """A change as rows, made when it is queued: the records it came from go on changing."""

    __slots__ = ("attempts", "consumed", "parent", "pk", "restored", "steps", "transition")

    def __init__(self, change: Change) -> None:
        self.pk = pk = change.pk
        self.steps, self.attempts = rows_under(pk, change.steps), rows_under(pk, change.attempts)
        self.consumed = change.consumed
        self.restored = [(one.id, pk, one.type, one.payload, one.created_at) for one in change.restored]
        at = change.instance
        self.transition: Row | None = None
        self.parent: int | None = None
        if at is not None:
            self.parent = at.parent
            ended_at = at.ended_at
            self.transition = (
                pk,
                at.status,
                at.due_at,
                at.output,
                at.error,
                ended_at,
                at.expires_at,
                at.rollback,
                at.at,
            )


class InstanceInsert:
    """An instance to create, and the nonce by which it is known should the answer be lost."""

    __slots__ = ("new", "nonce")

    def __init__(self, new: NewInstance) -> None:
        self.new = new
        self.nonce = secrets.randbits(62)

    @property
    def row(self) -> tuple[Any, ...]:
        """The columns of the row, but for what the database adds."""
        new = self.new
        tags = orjson.dumps(list(new.tags)).decode() if new.tags else None
        named = (new.workflow, new.id, self.nonce, new.owned, new.created_at, new.trigger, new.version, new.params)
        return (*named, new.parent, tags, new.success_retention_ms, new.error_retention_ms)


class WriteBatch:
    """Rows and inserts that are written together, and answered together."""

    def __init__(self, queries: dict[str, str], operations: Sequence[ChangeRows | InstanceInsert]) -> None:
        self._queries = queries
        self._operations = operations
        self._positions = itertools.count(1)
        self._journal_rows = JournalRows(self._positions)
        self._consumed: list[Row] = []
        self._restored: list[Row] = []
        self._transitions: list[Row] = []
        self._inserts: list[InstanceInsert] = []
        self._parents: set[int] = set()
        for operation in operations:
            if type(operation) is ChangeRows:
                self._add(operation)
            elif type(operation) is InstanceInsert:
                self._inserts.append(operation)

    async def write(self, connection: ReconnectingConnection, token: FencingToken) -> list[Any]:
        """Write the group in one statement, or in a transaction where something has to be looked at afterwards."""
        parks = any(move[1] == "waiting" for move in self._transitions)
        if not (parks or self._restored or self._parents or any(not insert.new.owned for insert in self._inserts)):
            return await self._write(connection, token)
        await connection.execute(connection.begin)
        await connection.fetch(self._queries["lock_in_order"], sorted({*self._pks(), *self._parents}))
        answers = await self._write(connection, token)
        await self._notify(
            connection, token, [one for one, answer in zip(self._operations, answers, strict=True) if answer is None]
        )
        await connection.execute("commit")
        return answers

    async def _notify(
        self, connection: ReconnectingConnection, token: FencingToken, written: Sequence[ChangeRows | InstanceInsert]
    ) -> None:
        """Do what follows from what was written; what was refused has no consequences."""
        rows = [one for one in written if type(one) is ChangeRows]
        restored = [event for one in rows for event in one.restored]
        if restored:
            await connection.fetch(self._queries["restore_events"], *_columns(restored, 5))
        parents = sorted({one.parent for one in rows if one.parent is not None})
        if parents:
            await connection.fetch(self._queries["wake_parents"], parents)
            await connection.fetch(self._queries["invalidate_owners"], parents, token.worker)
        parked = [one.pk for one in rows if one.transition is not None and one.transition[1] == "waiting"]
        if parked:
            await connection.fetch(self._queries["wake_if_satisfied"], parked)
        if any(not insert.new.owned for insert in self._inserts):  # there was no room for it here
            await connection.fetch(self._queries["notify_due"])

    async def read_back(self, connection: ReconnectingConnection, token: FencingToken) -> list[Any]:
        """Read back what was answered to a group that was committed."""
        mine = await connection.fetch(self._queries["read_back_owned"], self._pks(), token.worker)
        ours = [row["pk"] for row in mine]
        return self._answers(ours, await self._read_back_created(connection, token), at_work=ours)

    async def _read_back_created(
        self, connection: ReconnectingConnection, token: FencingToken
    ) -> dict[int, int | InstanceLostError]:
        """Look which inserts were written before; of those that were to be ours, others may have some by now."""
        names = _columns([(insert.new.workflow, insert.new.id, insert.nonce) for insert in self._inserts], 3)
        rows = await connection.fetch(self._queries["read_back_created"], *names, token.worker)
        return self._given((row["nonce"], row["pk"], row["mine"]) for row in rows)

    def _given(self, rows: Iterable[tuple[int, int, bool]]) -> dict[int, int | InstanceLostError]:
        """Return what is answered to inserts: one that was to be ours and is not is lost, though it is there."""
        owned = {insert.nonce for insert in self._inserts if insert.new.owned}
        return {nonce: InstanceLostError(pk) if nonce in owned and not mine else pk for nonce, pk, mine in rows}

    def _add(self, rows: ChangeRows) -> None:
        self._journal_rows.add(rows.steps, rows.attempts)
        if rows.consumed:
            self._consumed += [(rows.pk, event) for event in rows.consumed]
        self._restored += rows.restored
        if rows.transition is not None:
            self._transitions.append((*rows.transition[:-1], next(self._positions), rows.transition[-1]))
        if rows.parent is not None:
            self._parents.add(rows.parent)

    def _pks(self) -> list[int]:
        """Return the instances that have to be this worker's: those that are written, and the parents of inserts."""
        written = {operation.pk for operation in self._operations if type(operation) is ChangeRows}
        return sorted(written | {insert.new.parent for insert in self._inserts if insert.new.parent is not None})

    async def _write(self, connection: ReconnectingConnection, token: FencingToken) -> list[Any]:
        arguments = [*token.arguments, self._pks(), *_step_columns(self._journal_rows.steps.values())]
        if not (self._journal_rows.attempts or self._consumed or self._transitions or self._inserts):
            [row] = await connection.fetch(self._queries["write_steps"], *arguments)
            created: dict[int, int | InstanceLostError] = {}
            at_work: Sequence[int] = ()
        else:
            arguments += _columns(self._journal_rows.attempts.values(), _ATTEMPT_COLUMNS)
            arguments += _columns(self._consumed, 2)
            arguments += _columns(self._transitions, _MOVE_COLUMNS)
            arguments += _columns([insert.row for insert in self._inserts], _NEW_COLUMNS)
            [row] = await connection.fetch(self._queries["write_group"], *arguments)
            at_work, paused = row["at_work"], set(row["paused"])
            created = self._given(
                (nonce, pk, nonce not in paused) for nonce, pk in zip(row["nonces"], row["pks"], strict=True)
            )
            if len(created) < len(self._inserts):  # one that is there may be ours, by an answer that never came
                created |= await self._read_back_created(connection, token)
        if not row["stands"]:
            raise LeaseLostError("this worker's lease is over: another worker has its instances")
        return self._answers(row["mine"], created, at_work=at_work)

    def _answers(
        self, mine: Iterable[int], created: dict[int, int | InstanceLostError], *, at_work: Iterable[int]
    ) -> list[Any]:
        ours, parents = set(mine), set(at_work)
        return [
            _created(operation, created, parents)
            if type(operation) is InstanceInsert
            else None
            if operation.pk in ours  # type: ignore[union-attr]  # Rows
            else InstanceLostError(operation.pk)  # type: ignore[union-attr]
            for operation in self._operations
        ]


def _created(
    insert: InstanceInsert, created: dict[int, int | InstanceLostError], parents: set[int]
) -> int | EverstepError:
    pk, parent = created.get(insert.nonce), insert.new.parent
    if pk is not None:
        return pk
    return already_exists(insert.new) if parent is None or parent in parents else InstanceLostError(parent)


def _step_columns(rows: Iterable[tuple[Any, ...]]) -> list[Sequence[Any]]:
    """Turn steps into columns; those that hold nothing but the usual are left empty, which makes half of them so."""
    columns = list(zip(*rows, strict=True))
    if not columns:
        return [()] * len(_STEP_COLUMNS)
    count = len(columns[0])
    return [
        () if column.count(usual) == count else column for column, usual in zip(columns, _STEP_COLUMNS, strict=True)
    ]


def _columns(rows: Iterable[tuple[Any, ...]], width: int) -> list[Sequence[Any]]:
    """Turn rows into columns, of which there are as many when there are no rows."""
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
    return columns or [()] * width
