"""The cells of the notebook's page, run as a kernel runs them: one after the other on a loop that runs already."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from everstep import DatabaseInUseError, Everstep

PAGE = Path(__file__).parents[2] / "docs/how-to/notebooks.md"
CELLS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


class Kernel:
    """A module called `__main__` whose cells may await; the value of a cell's last line is the cell's."""

    def __init__(self) -> None:
        self.module = types.ModuleType("__main__")

    async def run(self, cell: str) -> Any:
        tree = ast.parse(cell)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        await self._evaluate(tree, "exec")
        return await self._evaluate(ast.Expression(last.value), "eval") if isinstance(last, ast.Expr) else None

    async def _evaluate(self, tree: ast.AST, mode: str) -> Any:
        code: types.CodeType = compile(tree, "<cell>", mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        value = eval(code, vars(self.module))
        return await value if code.co_flags & inspect.CO_COROUTINE else value


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    kernel = Kernel()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "__main__", kernel.module)
    return kernel


async def test_the_cells_of_the_page_run_in_order(kernel: Kernel, capsys: pytest.CaptureFixture[str]) -> None:
    values = [await kernel.run(cell) for cell in CELLS]

    assert capsys.readouterr().out == "Hello, Ada!\n"
    assert values[3] in {"queued", "running", "waiting"}
    assert values[4] == "Hello, Grace!"


async def test_a_cell_that_is_run_again_gives_the_same(kernel: Kernel, capsys: pytest.CaptureFixture[str]) -> None:
    for cell in (CELLS[0], CELLS[1], CELLS[0], CELLS[1]):
        await kernel.run(cell)

    assert capsys.readouterr().out == "Hello, Ada!\n" * 2


async def test_a_second_engine_on_the_open_file_is_refused(kernel: Kernel) -> None:
    for cell in (CELLS[0], CELLS[2]):
        await kernel.run(cell)
    try:
        with pytest.raises(DatabaseInUseError):
            await Everstep([kernel.module.Greet], database="sqlite:///notebook.db").__aenter__()
    finally:
        await kernel.run(CELLS[-1])


async def test_run_once_says_what_to_use_where_a_loop_runs(kernel: Kernel) -> None:
    await kernel.run(CELLS[0])

    with pytest.raises(RuntimeError, match="use async with Everstep"):
        await kernel.run("Greet.run_once({'user': 1})")


async def test_what_a_kernel_stored_another_one_restores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cell = """
from dataclasses import dataclass
from everstep import Everstep, WorkflowEntrypoint

@dataclass
class Order:
    total: int

class Load(WorkflowEntrypoint):
    async def run(self, event, step):
        return await step.do("load", lambda: Order(5))

async with Everstep([Load], database="sqlite:///notebook.db") as es:
    order = await (await es.workflow(Load).get_or_create(id="one")).result()
order
"""
    for _ in range(2):
        kernel = Kernel()
        monkeypatch.setitem(sys.modules, "__main__", kernel.module)
        assert await kernel.run(cell) == kernel.module.Order(5)
