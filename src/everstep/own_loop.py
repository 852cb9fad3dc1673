"""The event loop of a process that is Everstep's own: it ends in time, whatever hangs on it.

`asyncio.run` waits for every task, though it ignores its cancellation, and for every thread of the default executor.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, TypeVar

from everstep.threads import DaemonThreads

LEAVING_SECONDS = 2.0
"""How long tasks that were cancelled, and functions in threads, are given to end."""

T = TypeVar("T")


def run_on_own_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as `asyncio.run` does, and end within moments of its end."""
    runner = asyncio.Runner()
    loop = runner.get_loop()
    most = min(32, (os.cpu_count() or 1) + 4)  # as many as asyncio has
    loop.set_default_executor(DaemonThreads("asyncio", most=most, patience_seconds=LEAVING_SECONDS))
    try:
        return runner.run(main)
    finally:
        if _cancel_tasks(loop):
            runner.close()
        else:  # it would wait for them
            loop.run_until_complete(loop.shutdown_default_executor())
            asyncio.set_event_loop(None)
            loop.close()


def _cancel_tasks(loop: asyncio.AbstractEventLoop) -> bool:
    """Cancel what is left, and return whether all of it has ended."""
    tasks = asyncio.all_tasks(loop)
    if not tasks:
        return True
    for task in tasks:
        task.cancel()
    ended, left = loop.run_until_complete(asyncio.wait(tasks, timeout=LEAVING_SECONDS))
    for task in ended:
        if not task.cancelled() and (error := task.exception()) is not None:
            _tell(loop, "a task failed while the event loop ended", task, error)
    for task in left:
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001  # it is told here
        _tell(loop, "a task went on although it was cancelled: the event loop ends without it", task)
    return not left


def _tell(
    loop: asyncio.AbstractEventLoop, what: str, task: asyncio.Task[Any], error: BaseException | None = None
) -> None:
    loop.call_exception_handler({"message": what, "task": task} | ({} if error is None else {"exception": error}))
