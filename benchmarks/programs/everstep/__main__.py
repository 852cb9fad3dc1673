"""`python -m benchmarks.programs.everstep SETTINGS`: does one work and prints its figures. Measures nothing itself."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal

from benchmarks.programs.drive import settings, tell

PLACES = {
    "throughput": ("sequential", "parallel", "create", "results", "branches"),
    "events": ("event", "long_history"),
    "sleeps": ("sleep_one", "sleep_many", "due_at_once", "fall_asleep", "start_again"),
    "crash": ("until_killed", "after_kill"),
    "workers": ("create_and_wait", "work"),
}


def main() -> None:
    given = settings()
    [place] = [place for place, works in PLACES.items() if given["do"] in works]
    do = getattr(importlib.import_module(f"benchmarks.programs.everstep.{place}"), given["do"])
    tell(asyncio.run(do(given)))
    # Without a farewell: what was measured has to be on disk already, and the adapter counts it there.
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
