"""The examples of the docstrings run as they are written."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from datetime import timedelta

import pytest

import everstep

NAMES = {name: getattr(everstep, name) for name in everstep.__all__} | {"timedelta": timedelta}
"""What an example may use without an import of its own."""


def examples() -> list[doctest.DocTest]:
    found: list[doctest.DocTest] = []
    for module in pkgutil.walk_packages(everstep.__path__, "everstep."):
        if module.name != "everstep.__main__":
            found += doctest.DocTestFinder().find(importlib.import_module(module.name), extraglobs=NAMES)
    return [test for test in found if test.examples]


@pytest.mark.parametrize("test", examples(), ids=lambda test: test.name)
def test_the_example_of_a_docstring_runs(test: doctest.DocTest) -> None:
    told: list[str] = []

    done = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL).run(test, out=told.append)

    assert done.attempted > 0
    assert done.failed == 0, "".join(told)
