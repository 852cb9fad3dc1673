"""`everstep db copy`: a state that a killed process left in SQLite goes on in PostgreSQL where it was."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from everstep import Everstep
from everstep.engine.runtime.options import EngineOptions
from everstep.store.admin.migrate import copy_to_postgres
from everstep.store.admin.open import open_store
from everstep.store.sqlite.file_lock import FileLock

from . import moving

pytestmark = pytest.mark.crash


def copy(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "everstep", "db", "copy", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A folder with the state of a process that was killed in the middle of everything."""
    process = subprocess.Popen([sys.executable, moving.__file__, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"everything is under way\n"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    return tmp_path


async def test_everything_goes_on_where_a_killed_process_left_it(
    killed: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
):
    source = "sqlite:///state.db"

    done = copy(source, postgres_url, "--json", cwd=killed)

    assert done.returncode == 0, done.stderr
    moved = json.loads(done.stdout)
    assert moved["at_work"] >= 2  # the step that works, and the rollback
    with sqlite3.connect(killed / "state.db") as before:
        for table, count in moved["rows"].items():
            assert before.execute(f"select count(*) from {table}").fetchone() == (count,), table
    assert all(
        moved["rows"][table] for table in ("instance", "step", "attempt", "event", "status_event", "tag", "chunk")
    )

    monkeypatch.setattr(moving, "FOLDER", killed)
    async with Everstep(moving.WORKFLOWS, database=postgres_url, root=killed) as es:
        every = es.workflow("everything")
        assert es.recovered == moved["at_work"]
        instances = {id: await every.get(id) for id in (*moving.RESULTS, "undoes")}
        assert (await instances["paused"].status()).status == "paused"
        await instances["paused"].resume()
        await instances["waits"].send_event(type="go", payload="now")
        assert {id: await instances[id].result("20 seconds") for id in moving.RESULTS} == moving.RESULTS
        async with asyncio.timeout(20):
            while (undone := await instances["undoes"].status()).status != "errored":
                await asyncio.sleep(0.02)
        assert undone.rollback is not None
        assert undone.rollback["outcome"] == "complete"
        await (await every.create(id="new")).result("20 seconds")
        events = [event async for event in instances["streams"].subscribe()]
        assert Counter(event.type for event in events)["workflow_completed"] == 1

    calls = Counter(moving.noted(killed))
    recorded = ["streamed", "undone-2", *(what for what in calls if what.startswith("before-"))]
    assert {calls[what] for what in recorded} == {1}
    assert (calls["work"], calls["undone-1"]) == (2, 2)  # cut off by the kill


async def test_progress_is_told_of_every_table_up_to_its_last_row(tmp_path: Path, postgres_url: str):
    async with Everstep(
        moving.WORKFLOWS, database=f"sqlite:///{tmp_path}/state.db", options=EngineOptions(max_running=0)
    ) as es:
        for first in range(0, 600, 100):
            await es.workflow("everything").create_batch([{"id": f"i{first + number}"} for number in range(100)])
    told: list[tuple[str, int, int]] = []

    moved = await copy_to_postgres(
        f"sqlite:///{tmp_path}/state.db", postgres_url, None, lambda *how_far: told.append(how_far)
    )

    assert [one for one in told if one[0] == "instance"] == [("instance", 500, 600), ("instance", 600, 600)]
    assert {table: done for table, done, _ in told} == {table: rows for table, rows in moved.rows.items() if rows}


async def test_a_state_that_is_in_use_is_refused(tmp_path: Path, postgres_url: str):
    await made(tmp_path)
    lock = FileLock(tmp_path / "state.db")
    lock.acquire()
    try:
        done = await asyncio.to_thread(copy, "sqlite:///state.db", postgres_url, cwd=tmp_path)
    finally:
        lock.release()
    assert (done.returncode, done.stdout) == (1, "")
    assert f"is in use by another everstep process (pid {os.getpid()})" in done.stderr


async def test_a_target_that_is_not_empty_or_has_workers_is_refused(tmp_path: Path, postgres_url: str):
    await made(tmp_path)
    store = open_store(postgres_url)
    await store.open()
    running = await asyncio.to_thread(copy, "sqlite:///state.db", postgres_url, cwd=tmp_path)
    await store.close()
    assert "1 workers run on the target; stop them first" in running.stderr
    first = await asyncio.to_thread(copy, "sqlite:///state.db", postgres_url, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    again = await asyncio.to_thread(copy, "sqlite:///state.db", postgres_url, cwd=tmp_path)
    assert again.returncode == 1
    assert "the target is not empty" in again.stderr


async def test_schemas_that_do_not_match_are_refused_and_nothing_is_written(tmp_path: Path, postgres_url: str):
    await made(tmp_path)
    with sqlite3.connect(tmp_path / "state.db") as state:
        state.execute("alter table tag add column colour text")
    other = await asyncio.to_thread(copy, "sqlite:///state.db", postgres_url, cwd=tmp_path)
    assert "has no colour; the schemas do not match" in other.stderr
    with sqlite3.connect(tmp_path / "state.db") as state:
        state.execute("alter table tag drop column colour")
        state.execute("pragma user_version = 1")
    older = await asyncio.to_thread(copy, "sqlite:///state.db", postgres_url, cwd=tmp_path)
    assert "everstep db migrate" in older.stderr
    store = open_store(postgres_url)
    await store.open()
    assert await store.counts() == {}
    await store.close()


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("sqlite:///none.db", "postgresql://nobody@127.0.0.1:1/none", "there is no database"),
        ("postgresql://a/b", "postgresql://a/c", "from SQLite to PostgreSQL"),
        ("sqlite:///a.db", "sqlite:///b.db", "from SQLite to PostgreSQL"),
    ],
)
def test_what_cannot_be_copied_is_one_message(source: str, target: str, said: str, tmp_path: Path):
    done = copy(source, target, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert not list(tmp_path.iterdir())


async def test_a_large_state_is_copied_in_pieces(tmp_path: Path, postgres_url: str):
    await made(tmp_path)
    with sqlite3.connect(tmp_path / "state.db") as state:
        state.execute(
            "with recursive n (i) as (select 1 union all select i + 1 from n where i < 20000) "
            'insert into instance (workflow, id, status, due_at, created_at, "trigger") '
            "select 'everything', 'i' || i, 'queued', 4102444800000, 1, 'binding' from n"
        )
        state.execute(
            "insert into step (instance, seq, kind, name, count, state, attempt, started_at, is_absolute, compensable, "
            "sensitive) select pk, 1, 'do', 'one', 1, 'complete', 1, 1, 0, 1, 0 from instance where id like 'i%'"
        )
    began = time.monotonic()
    done = await asyncio.to_thread(copy, "sqlite:///state.db", postgres_url, "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["rows"] | {"instance": 20_001, "step": 20_001} == json.loads(done.stdout)["rows"]
    assert time.monotonic() - began < 20


async def test_a_character_that_postgresql_does_not_keep_is_told_with_its_instance(tmp_path: Path, postgres_url: str):
    await made(tmp_path)
    with sqlite3.connect(tmp_path / "state.db") as state:
        state.execute("insert into tag select workflow, 'a' || char(0) || 'b', pk from instance")
    done = await asyncio.to_thread(copy, "sqlite:///state.db", postgres_url, cwd=tmp_path)
    assert done.returncode == 1
    assert "instance 'quick' of workflow 'everything' has a NUL character in tag.tag" in done.stderr


async def test_a_relative_path_is_one_from_the_projects_directory(tmp_path: Path, postgres_url: str):
    await made(tmp_path)
    (tmp_path / "everstep.toml").write_text('name = "moved"\n')
    (tmp_path / "src").mkdir()
    done = await asyncio.to_thread(copy, "sqlite:///state.db", postgres_url, cwd=tmp_path / "src")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("source", "said"), [("state.db", 'write "sqlite:///state.db"'), ("sqlite://state.db", "has two slashes")]
)
def test_what_is_no_url_is_wrong_usage_and_said_how_to_write(source: str, said: str, tmp_path: Path):
    done = copy(source, "postgresql://a/b", cwd=tmp_path)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


async def made(folder: Path) -> None:
    """Make a small state."""
    moving.FOLDER = folder
    async with Everstep(moving.WORKFLOWS, database="sqlite:///state.db", root=folder) as es:
        await (await es.workflow("everything").create(id="quick", params={"what": "nothing"})).result()
