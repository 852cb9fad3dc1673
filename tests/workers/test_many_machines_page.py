"""The page on many machines and its example: every query runs, every file parses, every command exists."""

from __future__ import annotations

import configparser
import re
import shlex
import signal
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner

from everstep.cli.main import main
from everstep.store.admin.open import open_store
from postgres_server import PostgresServer

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/many-machines.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples/many_machines"
QUERIES = re.findall(r"^```sql\n(select.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def options_are_known(command: list[str]) -> None:
    name, *options = command
    known = CliRunner().invoke(main, [name, "--help"])
    assert known.exit_code == 0, known.output
    for option in options:
        if option.startswith("--"):
            assert option in known.output, option


async def test_every_query_of_the_page_runs(postgres_server: PostgresServer):
    store = open_store(postgres_server.url)
    await store.open()
    connection = await asyncpg.connect(postgres_server.url)
    try:
        assert len(QUERIES) >= 6
        for query in QUERIES:
            await connection.fetch(query)
        [working] = [row for query in QUERIES if "lease_left" in query for row in await connection.fetch(query)]
        assert working["at_work"] == 0
    finally:
        await connection.close()
        await store.close()


def test_the_commands_of_the_unit_exist():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((EXAMPLE / "everstep-worker.service").read_text(encoding="utf-8"))
    service = unit["Service"]
    program, *command = shlex.split(service["ExecStart"])
    assert Path(program).name == "everstep"
    options_are_known(command)
    assert signal.Signals[service["KillSignal"]] is signal.SIGTERM
    assert int(service["TimeoutStopSec"]) > 2
    assert (unit["Unit"]["StartLimitIntervalSec"], service["Restart"]) == ("0", "always")  # while the database is away


def test_the_compose_file_parses_and_its_commands_exist():
    yaml = pytest.importorskip("yaml")  # of the test group
    services = yaml.safe_load((EXAMPLE / "compose.yaml").read_text(encoding="utf-8"))["services"]
    worker, database = services["worker"], services["database"]
    program, *command = worker["command"]
    assert program == "everstep"
    options_are_known(command)
    assert worker["deploy"]["replicas"] == 3
    assert set(worker["depends_on"]) == {"database"}
    assert f"//{database['environment']['POSTGRES_USER']}@" in worker["environment"]["EVERSTEP_DATABASE"]
    assert worker["environment"]["PGPASSWORD"] == "${POSTGRES_PASSWORD}"
    assert worker["restart"] == "unless-stopped"
    assert all(port.startswith("127.0.0.1:") for port in worker["ports"])  # there is no password
    assert "/__workflows/-/health" in worker["healthcheck"]["test"][-1]
