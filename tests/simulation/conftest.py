"""How many seeds are run: `pytest tests/simulation --simulation-seeds=5000`."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from .kept import KEPT_SEEDS, KEPT_SEEDS_ON_POSTGRESQL

SEEDS = 400
"""About ten seconds' worth."""
SEEDS_ON_POSTGRESQL = 120
"""Half a minute: statements go to a real server. Fewer would miss a last_txn that nobody looks at."""


def pytest_addoption(parser: pytest.Parser) -> None:
    # Known on the command line when this folder is named there; the whole suite runs the default.
    parser.addoption("--simulation-seeds", type=int, help="how many seeds the simulation runs on each store")
    parser.addoption("--simulation-first", type=int, default=0, help="the first of them")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", _seeds(metafunc.config, SEEDS))
    if "postgres_seed" in metafunc.fixturenames:
        metafunc.parametrize("postgres_seed", _seeds(metafunc.config, SEEDS_ON_POSTGRESQL))
    if "kept_seed" in metafunc.fixturenames:
        metafunc.parametrize(("kept_seed", "found"), KEPT_SEEDS)
    if "kept_postgres_seed" in metafunc.fixturenames:
        metafunc.parametrize(("kept_postgres_seed", "found"), KEPT_SEEDS_ON_POSTGRESQL)


def _seeds(config: pytest.Config, usual: int) -> list[int]:
    first = config.getoption("simulation_first", 0) or 0
    number = config.getoption("simulation_seeds", None)
    return [*range(first, first + (usual if number is None else number))]


@pytest.fixture
def quiet() -> Iterator[None]:
    """Keep the troubles of a thousand connections out of the report: a failure shows the seed's own trace."""
    logger = logging.getLogger("everstep")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)
