"""Options of the whole suite."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from everstep.engine.engine import Engine
from postgres_server import PostgresServer
from unproven import pytest_terminal_summary

__all__ = ["pytest_terminal_summary"]


def pytest_addoption(parser: pytest.Parser):
    parser.addoption(
        "--replay-every-step",
        action="store_true",
        help="put every instance away after each step it records, so that it goes on by replay",
    )
    parser.addoption(
        "--store", choices=["sqlite", "postgres"], default="sqlite", help="what the engine's suite runs on"
    )


def pytest_configure(config: pytest.Config):
    config.addinivalue_line("markers", "residency: looks at who is in memory; not run with --replay-every-step")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]):
    if config.getoption("--replay-every-step"):
        for item in items:
            if item.get_closest_marker("residency"):
                item.add_marker(pytest.mark.skip(reason="looks at who is in memory"))


@pytest.fixture(autouse=True)
def _replayed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    if request.config.getoption("--replay-every-step"):
        from engine.replaying import interrupted  # only where it is asked for

        monkeypatch.setattr("everstep.engine.engine.Engine", partial(Engine, interrupt=interrupted))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL server for the session, started when a test asks for it."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The URL of an empty schema."""
    return postgres_server.empty_schema()
