"""The directories of a new database are on disk before the database is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from everstep.core.errors import StoreError
from everstep.store.sqlite.store import SqliteStore


class Flushes:
    """Notes which directories are flushed, and whether the database was there; then has them flushed."""

    def __init__(self, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[Path, bool]] = []
        self.error: OSError | None = None
        self._database = database
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self.fsync)

    def fsync(self, number: int) -> None:
        path = Path(f"/proc/self/fd/{number}").resolve()
        if path.is_dir():
            self.seen.append((path, self._database.exists()))
            if self.error is not None:
                raise self.error
        self._fsync(number)


pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="nothing tells which file a descriptor is")


async def open_once(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.close()


async def test_every_directory_that_is_made_has_its_name_flushed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a" / "b" / ".everstep" / "state.db"
    flushes = Flushes(path, monkeypatch)
    await open_once(path)
    assert sorted(flushes.seen) == [(tmp_path, False), (tmp_path / "a", False), (tmp_path / "a" / "b", False)]


async def test_a_directory_that_somebody_else_has_just_made_has_its_name_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / ".everstep" / "state.db"
    path.parent.mkdir()
    flushes = Flushes(path, monkeypatch)
    await open_once(path)
    assert flushes.seen == [(tmp_path, False)]


async def test_a_path_relative_to_the_working_directory_has_its_name_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    flushes = Flushes(tmp_path / ".everstep" / "state.db", monkeypatch)
    await open_once(Path(".everstep/state.db"))
    assert flushes.seen == [(tmp_path, False)]


async def test_a_database_that_is_there_costs_no_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / ".everstep" / "state.db"
    await open_once(path)
    flushes = Flushes(path, monkeypatch)
    await open_once(path)
    assert flushes.seen == []


async def test_a_disk_that_fails_keeps_the_engine_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / ".everstep" / "state.db"
    flushes = Flushes(path, monkeypatch)
    flushes.error = OSError(5, "Input/output error")
    with pytest.raises(StoreError, match=r"state\.db: Input/output error; give the database another place"):
        await SqliteStore(path).open()
    assert not path.exists()


async def test_a_file_system_that_flushes_no_directories_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / ".everstep" / "state.db"
    flushes = Flushes(path, monkeypatch)
    flushes.error = OSError(22, "Invalid argument")
    await open_once(path)
