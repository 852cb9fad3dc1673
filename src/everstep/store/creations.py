"""New instances of a group, inserted with one statement for many. Opens no transaction of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from everstep.core.errors import InstanceExistsError
from everstep.store.driver import Connection
from everstep.store.many import ManyRows
from everstep.store.protocol import NewInstance
from everstep.store.refusals import already_exists


class Creations:
    """Inserts instances whose ids are free and says which were not; of several with one id, the first is created.

    Args:
        queries: The statements by name.
    """

    def __init__(self, queries: Mapping[str, str]) -> None:
        self._queries = queries
        self._many = ManyRows(queries)

    def insert(self, connection: Connection, instances: Sequence[NewInstance]) -> list[int | InstanceExistsError]:
        """Create instances; the answers are in their order."""
        created: dict[tuple[str, str], int] = {}
        for statement in self._many.statements("create_instances", [_row(new) for new in instances]):
            for pk, workflow, id in connection.execute(*statement):
                created[workflow, id] = pk
        return [self._answer(connection, new, created.pop((new.workflow, new.id), None)) for new in instances]

    def _answer(self, connection: Connection, new: NewInstance, pk: int | None) -> int | InstanceExistsError:
        if pk is None:
            return already_exists(new)
        for tag in new.tags:
            connection.execute(self._queries["add_tag"], (new.workflow, tag, pk))
        return pk


def _row(new: NewInstance) -> tuple[Any, ...]:
    status, due_at, started_at = ("running", None, new.created_at) if new.owned else ("queued", new.created_at, None)
    tags = orjson.dumps(new.tags).decode() if new.tags else None
    row = (new.workflow, new.id, status, due_at, new.created_at, started_at, new.trigger, new.version, new.params)
    return (*row, new.parent, tags, new.keep_success, new.keep_errors)
