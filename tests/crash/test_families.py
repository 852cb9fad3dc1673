"""A real process is killed while it moves a parent with its children: the whole family was moved, or nobody."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from databases import Database, PostgresSchema, SqliteFile

pytestmark = pytest.mark.crash

PROGRAM = Path(__file__).with_name("family.py")
NOTHING = {"dad": {"waiting": 1}, "kid": {"waiting": 3}}
DONE: dict[str, dict[str, dict[str, int]]] = {
    "pause": {"dad": {"paused": 1}, "kid": {"paused": 3}},
    "terminate": {"dad": {"terminated": 1}, "kid": {"terminated": 3}},
    "restart": {"dad": {"waiting": 1}, "kid": {"waiting": 3, "terminated": 3}},
    "delete": {"kid": {"terminated": 3}},
}
COMMITS = range(1, 4)


def run(database: Database, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROGRAM), database.url, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def left_by_a_kill(database: Database, verb: str, moment: str, number: int) -> Any:
    killed = run(database, verb, moment, str(number))
    assert killed.returncode in (-signal.SIGKILL, 0), killed.stderr
    database.died()
    found = run(database)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


@pytest.mark.parametrize("verb", DONE)
@pytest.mark.parametrize("moment", ["inside", "after"])
@pytest.mark.parametrize("number", COMMITS)
def test_a_kill_leaves_a_whole_family(verb: str, moment: str, number: int, sqlite_file: SqliteFile) -> None:
    assert left_by_a_kill(sqlite_file, verb, moment, number) in (NOTHING, DONE[verb])


@pytest.mark.parametrize("verb", DONE)
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", COMMITS)
def test_a_kill_leaves_a_whole_family_on_postgresql(
    verb: str, moment: str, number: int, postgres_schema: PostgresSchema
) -> None:
    assert left_by_a_kill(postgres_schema, verb, moment, number) in (NOTHING, DONE[verb])
