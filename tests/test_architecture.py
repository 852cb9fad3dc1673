"""The house rules that a tool can check: which module may import which, and what a module may look like."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "everstep"
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

LONGEST_MODULE = 400
LONGEST_FUNCTION = 60
NOT_A_NOUN = {"utils", "util", "common", "helpers", "helper", "manager", "base", "misc"}


def test_every_module_imports_only_what_its_rung_allows() -> None:
    # Without the cache, which has been seen to report imports that were gone.
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(_tree(module)), f"{module} has no docstring"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_a_room_one_can_see_across(module: str) -> None:
    assert len((PACKAGE / module).read_text(encoding="utf-8").splitlines()) <= LONGEST_MODULE


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_named_after_what_is_in_it(module: str) -> None:
    assert not NOT_A_NOUN & set(Path(module).with_suffix("").parts)


@pytest.mark.parametrize("module", MODULES)
def test_a_function_can_be_read_in_one_look(module: str) -> None:
    assert [f"{name}: {lines} lines" for name, lines in _functions(module) if lines > LONGEST_FUNCTION] == []


def _tree(module: str) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text(encoding="utf-8"))


def _functions(module: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(_tree(module)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1
