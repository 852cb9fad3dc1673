"""Which key an instance of a workflow has, as far as it was seen lately: enough to know who meets whom on the road."""

from __future__ import annotations

import asyncio

_MOST = 100_000


class Names:
    """A bounded memory of names and keys.

    What it does not know is only slower; where it is wrong, the database's own locks keep the order.
    """

    def __init__(self) -> None:
        self._pks: dict[tuple[str, str], int] = {}

    def learn(self, workflow: str, id: str, pk: int) -> None:
        """Remember the key of a name."""
        if len(self._pks) >= _MOST:
            self._pks.clear()
        self._pks[workflow, id] = pk

    def learn_born(self, workflow: str, id: str, born: asyncio.Future[int]) -> None:
        """Remember the key of a new instance, if there is one."""
        if not born.cancelled() and born.exception() is None:
            self.learn(workflow, id, born.result())

    def pk_of(self, workflow: str, id: str) -> int | None:
        """Return the key of a name, if it is known."""
        return self._pks.get((workflow, id))
