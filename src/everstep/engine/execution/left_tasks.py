"""Tasks of a workflow's code that nobody awaited: named when their instance is complete, as they end with it."""

from __future__ import annotations

from collections.abc import Iterator
from types import CoroutineType
from typing import Any

from everstep.engine.execution.workflow_tasks import WorkflowTask
from everstep.sdk.step_scope import current_scope


def left_tasks(tasks: list[WorkflowTask]) -> Iterator[str]:
    """Say of each task that runs still, or failed unseen, which it is and how to await it."""
    for task in tasks:
        coro = task.get_coro()
        if not isinstance(coro, CoroutineType):
            continue  # the end of an asynchronous generator, which asyncio begins
        if not task.done():
            yield f"{_shown(task, coro)} was still running and is cancelled; await it, or cancel it"
        elif not task.cancelled() and task._log_traceback:  # noqa: SLF001
            error = task.exception()
            yield f"{_shown(task, coro)} failed with {type(error).__name__}: {error}, and nobody awaited it"


def _shown(task: WorkflowTask, coro: CoroutineType[Any, Any, Any]) -> str:
    code = coro.cr_code
    asked = task.context.get(current_scope)
    step = "" if asked is None else f" at step {asked.name!r}"
    return f'task {coro.__qualname__!r} (File "{code.co_filename}", line {code.co_firstlineno}){step}'
