"""Progress of long work: shown in a terminal, and nothing at all in a pipe."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

PROGRAM = """
import sys
from everstep.cli.progress import shown_progress
with shown_progress() as progress:
    if progress is not None:
        progress("step", 500, 600)
        progress("step", 600, 600)
print(progress is not None, "rich" in sys.modules)
"""


def test_a_terminal_shows_what_is_done_and_what_there_is():
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=theirs,
        check=True,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
    )
    os.close(theirs)
    assert done.stdout == b"True True\n"
    assert b"600/600" in os.read(ours, 100_000)
    os.close(ours)


def test_a_pipe_gets_nothing_and_rich_is_not_loaded():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"False False\n", b"")
