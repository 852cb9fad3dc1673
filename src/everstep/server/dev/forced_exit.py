"""The end of a process that was asked to stop and does not, whatever hangs in it: the loop, the app, a thread of it."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

STOP_SECONDS = 10.0
"""Longer than a stop takes in which everything has the time that it is given."""


class ForcedExit:
    """Ends the process if it does not stop in time, as a crash would: the state is safe, attempts are interrupted.

    Args:
        warn: Told when that has to be.
        seconds: How long the process has to end by itself.
    """

    def __init__(self, warn: Callable[[str], None], *, seconds: float = STOP_SECONDS) -> None:
        self._warn = warn
        self._seconds = seconds
        self._asked: SimpleQueue[None] = SimpleQueue()
        threading.Thread(target=self._wait, name="everstep-last-resort", daemon=True).start()

    def asked_to_stop(self) -> None:
        """Begin to wait. May be called by a signal's handler, in the middle of anything."""
        self._asked.put(None)

    def _wait(self) -> None:
        self._asked.get()
        time.sleep(self._seconds)
        self._warn(
            f"the process was asked to stop and has not ended in {self._seconds:g} seconds: it is ended now, and "
            "attempts in flight count as interrupted"
        )
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
