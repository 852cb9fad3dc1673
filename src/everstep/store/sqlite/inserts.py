"""New instances of a group, inserted with one statement for many. Opens no transaction of its own."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from everstep.core.errors import EverstepError, InstanceLostError
from everstep.store.protocol import NewInstance
from everstep.store.python_version import PYTHON
from everstep.store.rejections import already_exists
from everstep.store.sqlite.connection import Connection
from everstep.store.sqlite.multi_row import MultiRowStatements


class InstanceInserter:
    """Inserts instances whose ids are free and says which were not; of several with one id, the first is created.

    Children are inserted by a statement of their own, which looks at their parents.

    Args:
        queries: The statements by name.
    """

    def __init__(self, queries: Mapping[str, str]) -> None:
        self._queries = queries
        self._many = MultiRowStatements(queries)

    def insert(self, connection: Connection, instances: Sequence[NewInstance]) -> list[int | EverstepError]:
        """Create instances; the answers are in their order."""
        answers: list[int | EverstepError] = []
        for children, run in itertools.groupby(instances, _is_child):
            query = "create_children" if children else "create_instances"
            answers += self._insert(connection, query, list(run))
        return answers

    def _insert(
        self, connection: Connection, query: str, instances: Sequence[NewInstance]
    ) -> list[int | EverstepError]:
        created: dict[tuple[str, str], Sequence[Any]] = {}
        for statement in self._many.statements(query, [_row(new) for new in instances]):
            for pk, workflow, id, *status in connection.execute(*statement):
                created[workflow, id] = (pk, *status)
        return [self._answer(connection, new, created.pop((new.workflow, new.id), None)) for new in instances]

    def _answer(self, connection: Connection, new: NewInstance, created: Sequence[Any] | None) -> int | EverstepError:
        if created is None:
            return self._refusal(connection, new)
        pk, *status = created
        for tag in new.tags:
            connection.execute(self._queries["add_tag"], (new.workflow, tag, pk))
        return InstanceLostError(pk) if new.owned and status == ["paused"] else pk

    def _refusal(self, connection: Connection, new: NewInstance) -> EverstepError:
        if new.parent is not None and not connection.execute(self._queries["may_have_children"], (new.parent,)):
            return InstanceLostError(new.parent)
        return already_exists(new)


def _is_child(new: NewInstance) -> bool:
    return new.parent is not None


def _row(new: NewInstance) -> tuple[Any, ...]:
    status, due_at, started_at = ("running", None, new.created_at) if new.owned else ("queued", new.created_at, None)
    tags = orjson.dumps(new.tags).decode() if new.tags else None
    row = (new.workflow, new.id, status, due_at, new.created_at, started_at, new.trigger, new.version, new.params)
    python = PYTHON if new.owned else None
    return (*row, new.parent, tags, new.success_retention_ms, new.error_retention_ms, python)
