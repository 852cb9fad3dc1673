"""Disks in trouble: full, and read-only. Nothing is acknowledged that is not stored; it goes on when there is room."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from everstep import Everstep, StoreError, Workflow, WorkflowEntrypoint
from unproven import skip_unproven

pytestmark = pytest.mark.crash


class Fill(WorkflowEntrypoint):
    async def run(self, event, step):
        done = 0
        for number in range(event.payload["steps"]):
            done += len(await step.do(f"step {number}", lambda: "x" * 100_000)) and 1
        return done


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes; only root may make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], capture_output=True, text=True, check=False
    )
    if made.returncode:
        skip_unproven(f"a small file system cannot be mounted here: {made.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=False)


async def created_until_refused(binding: Workflow) -> AsyncIterator[str]:
    for number in range(10_000):
        try:
            await binding.create(id=f"more-{number}", params={"steps": 0})
        except StoreError:
            return
        yield f"more-{number}"
    pytest.fail("the disk never became full")


async def test_a_full_disk_loses_nothing_and_work_goes_on_when_there_is_room(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("everstep.store.sqlite.group_commit.OUTAGE_TIMEOUT_SECONDS", 0.5)
    async with Everstep([Fill], database=f"sqlite:///{small_disk}/state.db") as es:
        binding = es.workflow(Fill)
        ballast = small_disk / "ballast"
        room = os.statvfs(small_disk)
        ballast.write_bytes(bytes(room.f_bavail * room.f_frsize - 600_000))
        working = await binding.create(id="working", params={"steps": 40})
        acknowledged = [id async for id in created_until_refused(binding)]
        assert "cannot write" in caplog.text
        ballast.unlink()
        assert await working.result("60 seconds") == 40
        for id in acknowledged:
            assert await (await binding.get(id)).result("60 seconds") == 0
    with contextlib.closing(sqlite3.connect(small_disk / "state.db")) as connection:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)


async def test_a_read_only_disk_is_one_clear_error(small_disk: Path) -> None:
    async with Everstep([Fill], database=f"sqlite:///{small_disk}/state.db") as es:
        await (await es.workflow(Fill).create(params={"steps": 1})).result()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StoreError, match=r"cannot open|read-only|cannot be"):
        async with asyncio.timeout(20), Everstep([Fill], database=f"sqlite:///{small_disk}/state.db"):
            pass
