"""Single-key commands on a terminal; nothing where there is none."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

try:
    import termios as _termios
    import tty as _tty
except ImportError:  # Windows
    _termios = _tty = None  # type: ignore[assignment]  # told apart where they are used
termios: Any = _termios
tty: Any = _tty


@contextlib.contextmanager
def hotkeys(commands: Mapping[str, Callable[[], None]]) -> Iterator[bool]:
    """Call a command when its key is pressed; gives whether there is a terminal to press it on."""
    if termios is None or not (sys.stdin and sys.stdin.isatty() and os.getpgrp() == os.tcgetpgrp(sys.stdin.fileno())):
        yield False
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)

    def restore() -> None:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)

    def pressed() -> None:
        command = commands.get(os.read(keyboard, 1).decode(errors="replace"))
        if command is not None:
            command()

    loop = asyncio.get_running_loop()
    tty.setcbreak(keyboard)
    atexit.register(restore)
    loop.add_reader(keyboard, pressed)
    try:
        yield True
    finally:
        loop.remove_reader(keyboard)
        restore()
        atexit.unregister(restore)
