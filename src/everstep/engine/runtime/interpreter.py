"""The interpreter's settings while a process belongs to an engine. They are the whole process's: never set unasked."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator

_SWITCH_SECONDS = 0.000_5
_THRESHOLDS = (10_000, 20, 100)


@contextlib.contextmanager
def owned_interpreter() -> Iterator[None]:
    """Settle the interpreter for an engine, and put it back afterwards.

    The writer's thread asks for the interpreter's lock after every statement; a busy loop lets go of it every 5 ms by
    default. And with a thousand instances at work the garbage collector, at its usual pace, takes a fifth of the time
    to find that nothing is garbage.
    """
    switch, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.collect()
    gc.freeze()  # what is loaded stays: the collector need not look at it
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        sys.setswitchinterval(switch)
        gc.set_threshold(*thresholds)
        gc.unfreeze()
