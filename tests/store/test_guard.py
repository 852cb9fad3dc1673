"""A SQLite file that is opened by others while an engine writes it: nothing acknowledged is lost, and they are told."""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from everstep.core.errors import DatabaseInUseError, StoreError
from everstep.store.sqlite.store import SqliteStore

from .factories import new_instance

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="locks of the open file description are Linux's")

APPLICATION = """
import asyncio, json, os, shutil, sqlite3, subprocess, sys
from pathlib import Path
from everstep.store.sqlite import connection as sqlite_connection
from everstep.store.protocol import NewInstance
from everstep.store.sqlite.store import SqliteStore

path, library, *deeds = sys.argv[1:]
if library == "standard library":
    sqlite_connection.apsw = None

LOOK = '''
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
assert connection.execute("select count(*) from instance").fetchone()
connection.close()
'''

def do(deed):
    if deed == "copy":
        shutil.copy(path, f"{path}.copy")
    elif deed == "another process looks":
        subprocess.run([sys.executable, "-c", LOOK, path], check=True)
    else:
        name = f"file:{path}?mode=ro" if deed == "look, read-only" else path
        connection = sqlite3.connect(name, uri=True)
        connection.execute("select count(*) from instance").fetchone()
        connection.close()

async def write():
    store = SqliteStore(Path(path))
    await store.open()
    acknowledged = []
    for n in range(30):
        acknowledged.append(await store.create(NewInstance("orders", f"i{n}", 10, None, True)))
        if n % 10 == 0:
            for deed in deeds:
                await asyncio.to_thread(do, deed)
    print(json.dumps(acknowledged), flush=True)
    os._exit(9)

asyncio.run(write())
"""
PROBE = """
import fcntl, os, struct, sys
with open(sys.argv[1], "r+b") as file:
    asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 1 << 62, 1, 0)
    print(struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


async def count_instances(path: Path) -> int:
    store = SqliteStore(path)
    await store.open()
    try:
        assert store._writer.execute("pragma integrity_check") == [("ok",)]
        return len(await store.page("orders", status=None, limit=100, cursor=None))
    finally:
        await store.close()


@pytest.mark.parametrize("library", ["apsw", "standard library"])
@pytest.mark.parametrize(
    "deeds",
    [
        ["look"],
        ["look, read-only"],
        ["look, read-only", "another process looks"],
        ["copy", "another process looks"],
        ["another process looks"],
    ],
    ids="+".join,
)
async def test_what_was_acknowledged_survives_whoever_opens_the_file(path: Path, library: str, deeds: list[str]):
    ran = subprocess.run(
        [sys.executable, "-c", APPLICATION, str(path), library, *deeds], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 9, ran.stderr
    assert await count_instances(path) == len(json.loads(ran.stdout)) == 30


def engine_byte_is_held(path: Path) -> bool:
    asked = subprocess.run([sys.executable, "-c", PROBE, str(path)], capture_output=True, text=True, check=True)
    return asked.stdout == "True\n"


async def test_locks_that_fell_are_taken_again_and_it_is_said_once(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("everstep.store.sqlite.lock_guard.CHECK_SECONDS", 0.0)
    store = SqliteStore(path)
    await store.open()
    with caplog.at_level(logging.WARNING, "everstep.store"):
        await store.create(new_instance("one"))
        assert not caplog.messages
        for name in ("two", "three"):
            shutil.copy(path, path.with_name("copy"))
            assert not engine_byte_is_held(path), "nothing would be proved"
            await store.create(new_instance(name))
            assert engine_byte_is_held(path)
    [told] = caplog.messages
    assert f"opened {path} and closed it" in told
    assert "copy and read the database in another process" in told
    await store.close()


async def test_a_lock_file_that_somebody_removed_lets_no_second_engine_in(path: Path):
    store = SqliteStore(path)
    await store.open()
    path.with_name("state.db.lock").unlink()
    code = "import asyncio, sys; from pathlib import Path; from everstep.store.sqlite.store import SqliteStore; "
    code += "asyncio.run(SqliteStore(Path(sys.argv[1])).open())"
    second = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert DatabaseInUseError.__name__ in second.stderr
    await store.close()


async def test_a_connection_of_another_library_is_refused_until_it_is_closed(path: Path):
    await count_instances(path)
    connection = sqlite3.connect(path)
    connection.execute("select count(*) from instance").fetchone()
    with pytest.raises(StoreError, match=r"state\.db is open in this process already, .*: close that connection"):
        await SqliteStore(path).open()
    connection.close()
    assert await count_instances(path) == 0


async def test_a_connection_of_the_engines_own_library_is_welcome(path: Path):
    await count_instances(path)
    connection = apsw.Connection(str(path))
    assert list(connection.execute("select count(*) from instance")) == [(0,)]
    store = SqliteStore(path)
    await store.open()
    await store.create(new_instance("one"))
    assert list(connection.execute("select count(*) from instance")) == [(1,)]
    connection.close()
    await store.close()
    assert await count_instances(path) == 1


async def test_a_clean_end_leaves_no_log_even_if_the_file_was_opened_by_others(path: Path):
    store = SqliteStore(path)
    await store.open()
    await store.create(new_instance("one"))
    shutil.copy(path, path.with_name("copy"))
    await store.close()
    assert not path.with_name("state.db-wal").exists()
    assert await count_instances(path) == 1
