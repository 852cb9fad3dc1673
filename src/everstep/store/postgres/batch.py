"""A group of changes and new instances as the arrays of one statement. Decides nothing about who goes with whom."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from everstep.core.errors import EverstepError, InstanceLostError, LeaseLostError
from everstep.core.journal import StepRecord
from everstep.store.journal_rows import Gathered, Row, rows_under
from everstep.store.postgres.connection import Link
from everstep.store.postgres.writer import Pass
from everstep.store.protocol import Change, NewInstance
from everstep.store.rejections import already_exists

USUAL = {"kind": "do", "count": 1, "state": "complete", "attempt": 1} | dict.fromkeys(
    ("absolute", "compensable", "sensitive"), False
)
"""What most steps have: a column in which all do is not sent, and the statement fills it in."""
_STEP_COLUMNS = [None, *(USUAL.get(name) for name in StepRecord.__struct_fields__), None, None]
_ATTEMPT_COLUMNS, _MOVE_COLUMNS, _NEW_COLUMNS = 8, 10, 12


class Rows:
    """A change as rows, made when it is queued: the records it came from go on changing."""

    __slots__ = ("attempts", "consumed", "move", "parent", "pk", "restored", "steps")

    def __init__(self, change: Change) -> None:
        self.pk = pk = change.pk
        self.steps, self.attempts = rows_under(pk, change.steps), rows_under(pk, change.attempts)
        self.consumed = change.consumed
        self.restored = [(one.id, pk, one.type, one.payload, one.created_at) for one in change.restored]
        at = change.instance
        self.move: Row | None = None
        self.parent: int | None = None
        if at is not None:
            self.parent = at.parent
            ended_at = at.ended_at
            self.move = (pk, at.status, at.due_at, at.output, at.error, ended_at, at.expires_at, at.rollback, at.at)


class Birth:
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
        return (*named, new.parent, tags, new.keep_success, new.keep_errors)


class Group:
    """Rows and births that are written together, and answered together."""

    def __init__(self, queries: dict[str, str], operations: Sequence[Rows | Birth]) -> None:
        self._queries = queries
        self._operations = operations
        self._positions = itertools.count(1)
        self._gathered = Gathered(self._positions)
        self._consumed: list[Row] = []
        self._restored: list[Row] = []
        self._moves: list[Row] = []
        self._births: list[Birth] = []
        self._parents: set[int] = set()
        for operation in operations:
            if type(operation) is Rows:
                self._add(operation)
            elif type(operation) is Birth:
                self._births.append(operation)

    async def write(self, link: Link, shown: Pass) -> list[Any]:
        """Write the group in one statement, or in a transaction where something has to be looked at afterwards."""
        parks = any(move[1] == "waiting" for move in self._moves)
        if not (parks or self._restored or self._parents or any(not birth.new.owned for birth in self._births)):
            return await self._write(link, shown)
        await link.script(link.begin)
        await link.fetch(self._queries["lock_in_order"], sorted({*self._pks(), *self._parents}))
        answers = await self._write(link, shown)
        await self._tell(
            link, shown, [one for one, answer in zip(self._operations, answers, strict=True) if answer is None]
        )
        await link.script("commit")
        return answers

    async def _tell(self, link: Link, shown: Pass, written: Sequence[Rows | Birth]) -> None:
        """Do what follows from what was written; what was refused has no consequences."""
        rows = [one for one in written if type(one) is Rows]
        restored = [event for one in rows for event in one.restored]
        if restored:
            await link.fetch(self._queries["restore_events"], *_columns(restored, 5))
        parents = sorted({one.parent for one in rows if one.parent is not None})
        if parents:
            await link.fetch(self._queries["wake_parents"], parents)
            await link.fetch(self._queries["note_owners"], parents, shown.worker)
        parked = [one.pk for one in rows if one.move is not None and one.move[1] == "waiting"]
        if parked:
            await link.fetch(self._queries["hand_over"], parked)
        if any(not birth.new.owned for birth in self._births):  # there was no room for it here
            await link.fetch(self._queries["notify_due"])

    async def recall(self, link: Link, shown: Pass) -> list[Any]:
        """Read back what was answered to a group that was committed."""
        mine = await link.fetch(self._queries["recall_mine"], self._pks(), shown.worker)
        ours = [row["pk"] for row in mine]
        return self._answers(ours, await self._recall_created(link, shown), at_work=ours)

    async def _recall_created(self, link: Link, shown: Pass) -> dict[int, int | InstanceLostError]:
        """Look which births were written before; of those that were to be ours, others may have some by now."""
        names = _columns([(birth.new.workflow, birth.new.id, birth.nonce) for birth in self._births], 3)
        rows = await link.fetch(self._queries["recall_created"], *names, shown.worker)
        return self._given((row["nonce"], row["pk"], row["mine"]) for row in rows)

    def _given(self, rows: Iterable[tuple[int, int, bool]]) -> dict[int, int | InstanceLostError]:
        """Return what is answered to births: one that was to be ours and is not is lost, though it is there."""
        owned = {birth.nonce for birth in self._births if birth.new.owned}
        return {nonce: InstanceLostError(pk) if nonce in owned and not mine else pk for nonce, pk, mine in rows}

    def _add(self, rows: Rows) -> None:
        self._gathered.add(rows.steps, rows.attempts)
        if rows.consumed:
            self._consumed += [(rows.pk, event) for event in rows.consumed]
        self._restored += rows.restored
        if rows.move is not None:
            self._moves.append((*rows.move[:-1], next(self._positions), rows.move[-1]))
        if rows.parent is not None:
            self._parents.add(rows.parent)

    def _pks(self) -> list[int]:
        """Return the instances that have to be this worker's: those that are written, and the parents of births."""
        written = {operation.pk for operation in self._operations if type(operation) is Rows}
        return sorted(written | {birth.new.parent for birth in self._births if birth.new.parent is not None})

    async def _write(self, link: Link, shown: Pass) -> list[Any]:
        arguments = [*shown.arguments, self._pks(), *_step_columns(self._gathered.steps.values())]
        if not (self._gathered.attempts or self._consumed or self._moves or self._births):
            [row] = await link.fetch(self._queries["write_steps"], *arguments)
            created: dict[int, int | InstanceLostError] = {}
            at_work: Sequence[int] = ()
        else:
            arguments += _columns(self._gathered.attempts.values(), _ATTEMPT_COLUMNS)
            arguments += _columns(self._consumed, 2)
            arguments += _columns(self._moves, _MOVE_COLUMNS)
            arguments += _columns([birth.row for birth in self._births], _NEW_COLUMNS)
            [row] = await link.fetch(self._queries["write_group"], *arguments)
            at_work, paused = row["at_work"], set(row["paused"])
            created = self._given(
                (nonce, pk, nonce not in paused) for nonce, pk in zip(row["nonces"], row["pks"], strict=True)
            )
            if len(created) < len(self._births):  # one that is there may be ours, by an answer that never came
                created |= await self._recall_created(link, shown)
        if not row["stands"]:
            raise LeaseLostError("this worker's lease is over: another worker has its instances")
        return self._answers(row["mine"], created, at_work=at_work)

    def _answers(
        self, mine: Iterable[int], created: dict[int, int | InstanceLostError], *, at_work: Iterable[int]
    ) -> list[Any]:
        ours, parents = set(mine), set(at_work)
        return [
            _created(operation, created, parents)
            if type(operation) is Birth
            else None
            if operation.pk in ours  # type: ignore[union-attr]  # Rows
            else InstanceLostError(operation.pk)  # type: ignore[union-attr]
            for operation in self._operations
        ]


def _created(birth: Birth, created: dict[int, int | InstanceLostError], parents: set[int]) -> int | EverstepError:
    pk, parent = created.get(birth.nonce), birth.new.parent
    if pk is not None:
        return pk
    return already_exists(birth.new) if parent is None or parent in parents else InstanceLostError(parent)


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
