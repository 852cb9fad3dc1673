"""The machines of the engine's tests, on virtual time; which tests run on PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.conftest import _small_heap, disk, held, running, unheard

__all__ = ["_small_heap", "disk", "held", "running", "unheard"]

_HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config):
    config.addinivalue_line("markers", "postgres: of the suite of exact replay, what runs with --store postgres too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]):
    if config.getoption("--store") != "postgres":
        return
    for item in items:
        if _HERE in item.path.parents and not item.get_closest_marker("postgres"):
            item.add_marker(pytest.mark.skip(reason="says the same of every store"))


@pytest.fixture(autouse=True)
def _no_room_reserved(monkeypatch: pytest.MonkeyPatch):
    """Do not fill the log of every database with zeros at every start: there are thousands of starts here."""
    monkeypatch.setattr("everstep.store.sqlite.store.reserve_log", lambda _: None)
