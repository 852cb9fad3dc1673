"""`everstep db`: what is said of a schema, and how it is brought up to date."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from everstep.store.queries import load_migrations
from postgres_server import PostgresServer


def db(*arguments: str, cwd: Path, database: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "everstep", "db", *arguments, "--database", database]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=dict(os.environ))


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return "sqlite:///state.db"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.empty_schema()


def test_a_new_database_is_migrated_once_and_says_so(database: str, tmp_path: Path):
    def state() -> dict[str, int]:
        return json.loads(db("status", "--json", cwd=tmp_path, database=database).stdout)

    latest = len(load_migrations("sqlite" if database.startswith("sqlite") else "postgres"))
    assert state() == {"version": 0, "latest": latest}
    assert db("migrate", cwd=tmp_path, database=database).stdout == f"schema {latest}, up to date\n"
    assert state() == {"version": latest, "latest": latest}
    assert db("migrate", cwd=tmp_path, database=database).returncode == 0
    assert db("status", cwd=tmp_path, database=database).stdout == f"schema {latest}, up to date\n"


def test_the_migrations_are_printed_for_the_databases_kind(database: str, tmp_path: Path):
    printed = db("print-sql", cwd=tmp_path, database=database).stdout
    assert "create table" in printed
    assert ("autoincrement" in printed) == database.startswith("sqlite")


def test_a_database_that_cannot_be_reached_is_one_message(tmp_path: Path):
    done = db("status", cwd=tmp_path, database="postgresql://nobody@127.0.0.1:1/none")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: the database cannot be reached")
