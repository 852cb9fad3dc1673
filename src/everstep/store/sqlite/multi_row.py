"""One statement for many rows: cut into sizes that stay prepared. Executes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, TypeAlias

Statement: TypeAlias = tuple[str, Sequence[Any]]
"""SQL and its arguments."""

MAX_ROWS = 256
"""Rows of one statement. apsw keeps no statement prepared whose text has more than 16,384 bytes, and to prepare one of
512 rows takes longer than to carry it out."""


class MultiRowStatements:
    """Writes the parameters of many rows in place of `{rows}` in a query.

    Row counts are powers of two, so that a handful of prepared statements serve every group.

    Args:
        queries: The statements by name.
    """

    def __init__(self, queries: Mapping[str, str]) -> None:
        self._queries = queries
        self._texts: dict[tuple[str, int], str] = {}

    def statements(self, query: str, rows: Sequence[tuple[Any, ...]]) -> Iterator[Statement]:
        """Give the statements that carry out a query for all rows, the largest first."""
        at = 0
        while at < len(rows):
            size = min(MAX_ROWS, 1 << (len(rows) - at).bit_length() - 1)
            yield self.text(query, size, len(rows[0])), list(chain.from_iterable(rows[at : at + size]))
            at += size

    def text(self, query: str, size: int, width: int) -> str:
        """Return the query for so many rows of so many columns."""
        text = self._texts.get((query, size))
        if text is None:
            places = ",".join([f"({','.join('?' * width)})"] * size)
            text = self._texts[query, size] = self._queries[query].replace("{rows}", places)
        return text
