"""File descriptors that end with their process: its forked children close them. Knows nothing of locks."""

from __future__ import annotations

import os
from pathlib import Path


class ForkSafeDescriptor:
    """A file that is open in this process and in none of its forked children.

    A lock belongs to what was opened, and a child that was forked has that open as well: it would keep the lock of a
    parent that is dead.

    Raises:
        OSError: if the file cannot be opened.
    """

    def __init__(self, path: Path, flags: int) -> None:
        self._number: int | None = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o644)
        _open.add(self)

    @property
    def number(self) -> int:
        """The descriptor's number; once it is closed, another file may have it."""
        if self._number is None:
            raise ValueError("the descriptor is closed, or was opened by the parent of this forked process")
        return self._number

    @property
    def closed(self) -> bool:
        return self._number is None

    def close(self) -> None:
        """Close the file, if that is not done yet."""
        number, self._number = self._number, None
        _open.discard(self)
        if number is not None:
            os.close(number)


_open: set[ForkSafeDescriptor] = set()


def _close_in_child() -> None:
    for descriptor in list(_open):
        descriptor.close()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_close_in_child)
