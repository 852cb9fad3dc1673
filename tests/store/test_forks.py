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
from everstep.store.sqlite.store import SqliteStore

from .factories import instance

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")

PARENT = """
import asyncio, ctypes, os, sys, time
from pathlib import Path
from everstep.store.protocol import NewInstance
from everstep.store.sqlite.store import SqliteStore

fork = {"Python": os.fork, "a library": ctypes.PyDLL(None).fork}[sys.argv[2]]  # the second runs no hook of Python's

async def hold():
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    await store.create(NewInstance("orders", "one", 10, None, True))
    child = fork()
    if child == 0:
        time.sleep(120)
        os._exit(0)
    print(child, flush=True)
    sys.stdin.read()
    await store.close()

asyncio.run(hold())
"""
BY_LIBRARY = pytest.param(
    "a library", marks=pytest.mark.skipif(sys.platform != "linux", reason="no /proc that tells who is gone")
)


@contextmanager
def parent(path: Path, forked_by: str) -> Iterator[subprocess.Popen[str]]:
    """Have a process open the database and fork; its child outlives it."""
    arguments = [sys.executable, "-c", PARENT, str(path), forked_by]
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


@pytest.mark.parametrize("forked_by", ["Python", BY_LIBRARY])
async def test_the_forked_child_of_a_killed_process_keeps_nobody_out(tmp_path: Path, forked_by: str):
    with parent(tmp_path / "state.db", forked_by) as process:
        process.kill()
        process.wait()
        store = SqliteStore(tmp_path / "state.db")
        await store.open()
        assert (await instance(store)).status == "running"
        await store.close()


@pytest.mark.parametrize("forked_by", ["Python", BY_LIBRARY])
async def test_a_forked_child_takes_nothing_from_its_living_parent(tmp_path: Path, forked_by: str):
    with parent(tmp_path / "state.db", forked_by) as process:
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
        [sys.executable, "-c", PARENT, str(tmp_path / "state.db"), "Python"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"(pid {os.getpid()})" in refused.stderr
    await store.close()
