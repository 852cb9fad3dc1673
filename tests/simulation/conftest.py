"""How many seeds are run: `pytest tests/simulation --simulation-seeds=5000`."""

from __future__ import annotations

import pytest

from .kept import KEPT_SEEDS

SEEDS = 400
"""About ten seconds' worth."""


def pytest_addoption(parser: pytest.Parser) -> None:
    # Known on the command line when this folder is named there; the whole suite runs the default.
    parser.addoption("--simulation-seeds", type=int, default=SEEDS, help="how many seeds the simulation runs")
    parser.addoption("--simulation-first", type=int, default=0, help="the first of them")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        first = metafunc.config.getoption("simulation_first", 0) or 0
        number = metafunc.config.getoption("simulation_seeds", SEEDS)
        seeds = range(first, first + (SEEDS if number is None else number))
        metafunc.parametrize("seed", [*seeds])
    if "kept_seed" in metafunc.fixturenames:
        metafunc.parametrize(("kept_seed", "found"), KEPT_SEEDS)
