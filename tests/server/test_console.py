"""What `everstep dev` writes of what is logged: lines like every other, unless the app logs in its own way."""

from __future__ import annotations

import re
import subprocess
import sys

PROGRAM = """
import logging
from everstep.server.dev.console import Console, show_warnings
show_warnings(Console())
{own}
log = logging.getLogger("everstep.store")
log.info("not worth a line")
log.warning("cannot write: %s", "disk full")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("a heartbeat failed")
"""


def written(own: str = "") -> str:
    command = [sys.executable, "-c", PROGRAM.format(own=own)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


def test_warnings_have_their_time_like_every_other_line():
    first, second, *trace = written().splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} ! cannot write: disk full", first)
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} ! a heartbeat failed", second)
    assert trace[-1] == "ZeroDivisionError: division by zero"


def test_an_app_that_sets_up_logging_has_its_own_format():
    assert written("logging.basicConfig(format='mine %(message)s')").startswith("mine cannot write: disk full\n")
