"""What a forked child keeps of its parent's store: nothing that outlives the parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from everstep.core.errors import DatabaseInUseError
from everstep.store.sqlite import SqliteStore

from .factories import instance

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")

PARENT = """
import asyncio, os, sys, time
from pathlib import Path
from everstep.store.protocol import NewInstance
from everstep.store.sqlite import SqliteStore

async def hold():
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    await store.create(NewInstance("orders", "one", 10, None, True))
    child = os.fork()
    if child == 0:
        time.sleep(120)
        os._exit(0)
    print(child, flush=True)
    sys.stdin.read()
    await store.close()

asyncio.run(hold())
"""


@contextmanager
def parent(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Have a process open the database and fork; its child outlives it."""
    arguments = [sys.executable, "-c", PARENT, str(path)]
    child = 0
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            child = int(process.stdout.readline())
            yield process
        finally:
            process.kill()
            if child:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)


async def test_the_forked_child_of_a_killed_process_keeps_nobody_out(tmp_path: Path):
    with parent(tmp_path / "state.db") as process:
        process.kill()
        process.wait()
        store = SqliteStore(tmp_path / "state.db")
        await store.open()
        assert (await instance(store)).status == "running"
        await store.close()


async def test_a_forked_child_takes_nothing_from_its_living_parent(tmp_path: Path):
    with parent(tmp_path / "state.db") as process:
        with pytest.raises(DatabaseInUseError, match=rf"\(pid {process.pid}\)"):
            await SqliteStore(tmp_path / "state.db").open()
        assert process.poll() is None


async def test_the_end_of_a_forked_child_leaves_the_store_as_it_is(tmp_path: Path):
    store = SqliteStore(tmp_path / "state.db")
    await store.open()
    child = multiprocessing.get_context("fork").Process(target=int)
    child.start()
    child.join()
    assert child.exitcode == 0
    refused = subprocess.run(
        [sys.executable, "-c", PARENT, str(tmp_path / "state.db")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"(pid {os.getpid()})" in refused.stderr
    await store.close()
