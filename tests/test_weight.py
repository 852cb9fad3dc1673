"""What an installation weighs without extras, and what importing it costs beside a bare `import asyncio`."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import everstep

MIB = 2**20
MOST_MIB = 40
PACKAGE = Path(everstep.__file__).parent

USUAL = "WorkflowEntrypoint, WorkflowEvent, WorkflowStep, Env, Workflow, StepConfig, NonRetryableError, env"
HEAVY = [
    "everstep.engine.engine",
    "anyio",
    "asyncpg",
    "click",
    "httptools",
    "pydantic",
    "rich",
    "starlette",
    "uvicorn",
    "watchfiles",
]
TIMES_ASYNCIO = {USUAL: 3, f"Everstep, lifespan, {USUAL}": 5}
"""How many times the processor time of `import asyncio` an import may take: measured are about 1.7 and 3.2.

Where asyncio takes 20 to 25 ms, that of the usual names stays within 100 ms.
"""


def test_an_installation_without_extras_takes_at_most_40_mib():
    weights = {name: _weight(metadata.distribution(name)) for name in _needed("everstep")}
    weights["everstep"] = 2 * sum(
        file.stat().st_size for file in PACKAGE.rglob("*") if _is_packed(file)
    )  # and bytecode
    assert sum(weights.values()) <= MOST_MIB * MIB, {name: f"{size / MIB:.1f}" for name, size in weights.items()}
    assert {"apsw", "msgspec", "uvicorn"} <= set(weights)
    assert {"asyncpg", "pydantic"}.isdisjoint(weights)


@pytest.mark.parametrize("names", TIMES_ASYNCIO)
def test_an_import_loads_nothing_heavy(names: str):
    loaded = f"import sys\nfrom everstep import {names}\nprint(*[one for one in {HEAVY} if one in sys.modules])"
    assert _output(loaded) == ""


@pytest.mark.parametrize("names", TIMES_ASYNCIO)
def test_an_import_costs_a_few_times_that_of_asyncio(names: str):
    _seconds(f"from everstep import {names}")  # writes the bytecode
    bare, ours = [], []
    for _ in range(5):  # by turns: whatever slows the machine slows both
        bare.append(_seconds("import asyncio"))
        ours.append(_seconds(f"from everstep import {names}"))
    assert min(ours) < TIMES_ASYNCIO[names] * min(bare)


def test_rich_is_imported_only_for_long_work_in_a_terminal():
    importing = {file.relative_to(PACKAGE).as_posix() for file in PACKAGE.rglob("*.py") if "rich" in _imports(file)}
    assert importing == {"cli/progress.py"}


def _needed(name: str) -> set[str]:
    """The distributions that installing `name` brings, itself included."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        one = canonicalize_name(waiting.pop())
        if one in found:
            continue
        found.add(one)
        needs = [Requirement(text) for text in metadata.distribution(one).requires or []]
        waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


def _weight(distribution: metadata.Distribution) -> int:
    files = [Path(str(file.locate())) for file in distribution.files or []]
    return sum(file.stat().st_size for file in files if file.exists())


def _is_packed(file: Path) -> bool:
    return file.is_file() and "__pycache__" not in file.parts


def _imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
    return found


def _seconds(code: str) -> float:
    return float(_output(f"import time\nbegan = time.process_time()\n{code}\nprint(time.process_time() - began)"))


def _output(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
