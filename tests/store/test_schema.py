"""`everstep db`: what is said of a schema, and how it is brought up to date."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from everstep.store.queries import load_migrations
from postgres_server import PostgresServer, _programs

PAGE = (Path(__file__).parents[2] / "docs/how-to/many-machines.md").read_text(encoding="utf-8")
HELLO = """
import asyncio, sys
from everstep import Everstep, WorkflowEntrypoint

class Hello(WorkflowEntrypoint):
    async def run(self, event, step):
        await step.sleep("nap", "0.01 seconds")
        return await step.do("greet", lambda: "hello")

async def main():
    async with Everstep([Hello], database=sys.argv[1]) as es:
        print(await (await es.workflow(Hello).create(tags=["a"])).result("20 seconds"))

asyncio.run(main())
"""


def run_by_hand(sql: str, database: str, folder: Path) -> None:
    """Run statements as an administrator would: one after another, whatever becomes of the one before."""
    if not database.startswith("sqlite"):
        psql = [shutil.which("psql") or _programs() / "psql", "--quiet", database.partition("?")[0]]
        subprocess.run(psql, input=sql, capture_output=True, text=True, check=True)
        return
    statement = ""
    with contextlib.closing(sqlite3.connect(folder / "state.db", isolation_level=None)) as connection:
        for line in sql.splitlines(keepends=True):
            statement += line
            if sqlite3.complete_statement(statement):
                with contextlib.suppress(sqlite3.OperationalError):
                    connection.execute(statement)
                statement = ""


def greeting(database: str, folder: Path) -> str:
    """Run a workflow in a process of its own; return what it printed."""
    command = [sys.executable, "-c", HELLO, database]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def schema_of(database: str) -> str:
    return database.partition("schema=")[2] or "everstep"


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


def test_a_database_made_by_hand_from_what_is_printed_is_up_to_date(database: str, tmp_path: Path):
    latest = len(load_migrations("sqlite" if database.startswith("sqlite") else "postgres"))
    for _ in range(2):  # the second time nothing changes
        run_by_hand(db("print-sql", cwd=tmp_path, database=database).stdout, database, tmp_path)
        assert db("status", cwd=tmp_path, database=database).stdout == f"schema {latest}, up to date\n"
        assert greeting(database, tmp_path) == "hello\n"


def test_a_role_without_the_right_to_create_uses_what_was_made_for_it(postgres_server: PostgresServer, tmp_path: Path):
    [grants] = re.findall(r"^```sql\n(grant .*?)```", PAGE, re.MULTILINE | re.DOTALL)
    postgres_server.execute("create role shop login")
    postgres_server.execute("create database shop")
    administrator = postgres_server.url.replace("/postgres", "/shop")
    ordinary = administrator.replace("everstep@", "shop@")
    refused = db("migrate", cwd=tmp_path, database=ordinary)
    assert "`create schema everstep authorization shop`, or `grant create on database shop to shop`" in refused.stderr

    run_by_hand(db("print-sql", cwd=tmp_path, database=ordinary).stdout, administrator, tmp_path)
    ungranted = db("status", cwd=tmp_path, database=ordinary)
    assert "permission denied for schema everstep" in ungranted.stderr
    assert "grant" in ungranted.stderr
    run_by_hand(grants, administrator, tmp_path)

    assert db("status", cwd=tmp_path, database=ordinary).stdout.endswith("up to date\n")
    assert greeting(ordinary, tmp_path) == "hello\n"


def test_a_role_makes_its_tables_in_a_schema_that_an_administrator_made(
    postgres_server: PostgresServer, tmp_path: Path
):
    postgres_server.execute("create role tenant login")
    database = postgres_server.empty_schema().replace("everstep@", "tenant@")
    schema = database.partition("schema=")[2]
    postgres_server.execute(f"create schema {schema}")
    refused = db("migrate", cwd=tmp_path, database=database)
    assert f"`grant usage, create on schema {schema} to tenant`" in refused.stderr
    postgres_server.execute(f"alter schema {schema} owner to tenant")
    assert db("migrate", cwd=tmp_path, database=database).stdout.endswith("up to date\n")


def test_a_newer_schema_is_refused(database: str, tmp_path: Path):
    db("migrate", cwd=tmp_path, database=database)
    newer = f"update {schema_of(database)}.schema_version set version = 9;"
    run_by_hand("pragma user_version = 9;" if database.startswith("sqlite") else newer, database, tmp_path)
    for command in ("status", "migrate"):
        done = db(command, cwd=tmp_path, database=database)
        assert (done.returncode, done.stdout) == (1, "")
        assert "upgrade everstep, or use the release that wrote it" in done.stderr


def test_tables_that_everstep_did_not_make_are_refused(database: str, tmp_path: Path):
    schema = schema_of(database)
    foreign = f"create schema {schema}; create table {schema}.instance (id integer);"
    run_by_hand("create table instance (id);" if database.startswith("sqlite") else foreign, database, tmp_path)
    for command in ("status", "migrate"):
        done = db(command, cwd=tmp_path, database=database)
        assert done.returncode == 1
        assert "of its own" in done.stderr


def test_a_database_that_cannot_be_reached_is_one_message(tmp_path: Path):
    done = db("status", cwd=tmp_path, database="postgresql://nobody@127.0.0.1:1/none")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: the database cannot be reached")
