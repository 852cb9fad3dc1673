"""The event loop of a process of Everstep's own: what it waits for at its end, and what it does not wait for."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from everstep import own_loop
from everstep.own_loop import run_on_own_loop


def test_it_returns_what_the_coroutine_returns_or_raises():
    async def returns() -> int:
        return 1

    async def fails() -> None:
        raise ValueError("no")

    assert run_on_own_loop(returns()) == 1
    with pytest.raises(ValueError, match="no"):
        run_on_own_loop(fails())


def test_tasks_that_are_left_are_cancelled_and_waited_for():
    ended = []

    async def tidy() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            ended.append("tidy")

    async def main() -> None:
        main.task = asyncio.create_task(tidy())
        await asyncio.sleep(0)

    run_on_own_loop(main())
    assert ended == ["tidy"]


def test_a_function_in_a_thread_that_ends_soon_is_waited_for():
    ended = []

    async def main() -> None:
        asyncio.get_running_loop().run_in_executor(None, lambda: (time.sleep(0.05), ended.append("written")))

    run_on_own_loop(main())
    assert ended == ["written"]


def test_a_task_that_ignores_its_cancellation_is_left_behind_and_told(monkeypatch, caplog):
    monkeypatch.setattr(own_loop, "LEAVING_SECONDS", 0.05)
    gone = []

    async def stubborn() -> None:
        while not gone:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    async def main() -> str:
        main.task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        return "done"

    assert run_on_own_loop(main()) == "done"
    assert "a task went on although it was cancelled" in caplog.text
    gone.append(True)
    main.task.get_coro().close()


def test_a_task_that_fails_at_the_end_is_told(caplog):
    async def fails() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError("while leaving")

    async def main() -> None:
        main.task = asyncio.create_task(fails())
        await asyncio.sleep(0)

    run_on_own_loop(main())
    assert "a task failed while the event loop ended" in caplog.text
    assert "while leaving" in caplog.text
