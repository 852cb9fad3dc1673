"""What `everstep dev` writes to the terminal: one readable line for each thing that happens."""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import Any, TextIO

from everstep.telemetry import events
from everstep.telemetry.log_format import describe
from everstep.telemetry.log_records import INSTANCE

LINES_PER_SECOND = 500
"""Beyond this nobody reads along, and writing would slow the engine down."""

_BAD, _GOOD, _FAINT, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[2m", ""


class Console:
    """Writes lines to a stream, coloured on a terminal, with a limit on how many a second.

    Args:
        stream: Where to; the standard error stream by default, as standard output is for data.
        unlimited: Write every line, however many there are.
    """

    def __init__(self, stream: TextIO | None = None, *, unlimited: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._coloured = self._stream.isatty() and not os.environ.get("NO_COLOR")
        self._unlimited = unlimited
        self._second = 0
        self._written = 0
        self._left_out = 0

    def say(self, text: str = "") -> None:
        """Write a line as it is."""
        print(text, file=self._stream, flush=True)

    def warn(self, text: str) -> None:
        """Write a warning."""
        self._line(f"! {text}", _BAD)

    def event(self, event: events.Event) -> None:
        """Write what happened to an instance; a subscriber for telemetry."""
        text = describe(event)
        if text is not None:
            self._line(text, _colour_of(event))

    def request(self, method: str, path: str, status: int, took_ms: float) -> None:
        """Write a request that was answered."""
        self._line(f"{method} {path} {status} ({took_ms:.0f} ms)", _BAD if status >= 500 else _PLAIN)

    def _line(self, text: str, colour: str) -> None:
        if not self._may_write():
            return
        now = time.time()
        clock = time.strftime("%H:%M:%S", time.localtime(now)) + f".{int(now * 1000) % 1000:03d}"
        if self._coloured:
            text = f"{_FAINT}{clock}\x1b[0m {colour}{text}\x1b[0m" if colour else f"{_FAINT}{clock}\x1b[0m {text}"
        else:
            text = f"{clock} {text}"
        self.say(text)

    def _may_write(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            if self._left_out:
                self.say(f"             … {self._left_out} more lines in a second; --verbose shows each")
            self._second, self._written, self._left_out = second, 0, 0
        self._written += 1
        if self._written > LINES_PER_SECOND and not self._unlimited:
            self._left_out += 1
            return False
        return True


class _LogLines(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.warn(self.format(record))


def show_warnings(console: Console) -> None:
    """Write what is logged as a warning or worse, unless the app has set up its own logging: then that has it.

    What happens to instances has its lines already.
    """
    logging.lastResort = _LogLines(console)
    ours = _LogLines(console)
    ours.addFilter(lambda record: record.name != INSTANCE and not logging.getLogger().handlers)
    logging.getLogger("everstep").addHandler(ours)


def leave_out_doubles() -> None:
    """Keep records of instances from handlers of the app that write to the terminal, where they have lines already."""
    for logger in (logging.getLogger(), logging.getLogger("everstep")):
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream in (sys.stderr, sys.stdout):
                handler.addFilter(lambda record: record.name != INSTANCE)


def _colour_of(event: Any) -> str:
    match event:
        case events.AttemptFailed() | events.InstanceEnded(status="errored"):
            return _BAD
        case events.InstanceEnded(status="complete"):
            return _GOOD
        case _:
            return _PLAIN
