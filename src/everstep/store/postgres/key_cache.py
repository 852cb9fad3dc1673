"""Bounded cache from (workflow, id) to pk, by which the write pipeline orders operations on the same instance."""

from __future__ import annotations

import asyncio

MAX_KEYS = 100_000


class KeyCache:
    """A bounded memory of names and keys.

    What it does not know is only slower; where it is wrong, the database's own locks keep the order.
    """

    def __init__(self) -> None:
        self._pks: dict[tuple[str, str], int] = {}

    def put(self, workflow: str, id: str, pk: int) -> None:
        """Remember the key of a name."""
        if len(self._pks) >= MAX_KEYS:
            self._pks.clear()
        self._pks[workflow, id] = pk

    def put_created(self, workflow: str, id: str, born: asyncio.Future[int]) -> None:
        """Remember the key of a new instance, if there is one."""
        if not born.cancelled() and born.exception() is None:
            self.put(workflow, id, born.result())

    def pk_of(self, workflow: str, id: str) -> int | None:
        """Return the key of a name, if it is known."""
        return self._pks.get((workflow, id))
