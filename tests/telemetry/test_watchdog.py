"""What is said of a loop that does not turn: the place, and the cure only to those who have it in their hands."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from everstep.server.inspector import pages
from everstep.telemetry import loop_watchdog
from everstep.telemetry.loop_watchdog import complaint, watch_loop


def noting(said: list[str]) -> Callable[..., str]:
    def look(*_: Any, **__: Any) -> str:
        said.append(complaint(sys._getframe(1)))
        return ""

    return look


async def called(callback: Callable[..., object], *arguments: object) -> None:
    asyncio.get_running_loop().call_soon(callback, *arguments)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_code_of_the_app_is_named_with_the_cure():
    said: list[str] = []
    look = noting(said)

    def blocking_step() -> None:
        look()

    await called(blocking_step)
    assert f"{__file__}:" in said[0]
    assert said[0].endswith("in blocking_step. Make the step a plain `def`: it runs in a thread then")


async def test_the_app_is_named_rather_than_the_library_it_is_in():
    said: list[str] = []
    look = noting(said)

    def blocking_step() -> None:
        json.JSONEncoder(default=look, check_circular=False).encode(object())

    await called(blocking_step)
    assert "in blocking_step. Make the step" in said[0]


async def test_code_of_ours_is_named_without_a_cure(monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(pages, "_document", noting(said))
    await called(pages.problem_page, "gone")
    assert "pages.py:" in said[0]
    assert said[0].endswith(" in problem_page")


def test_whoever_started_the_loop_is_not_named():
    said: list[str] = []
    noting(said)()
    assert said == ["the event loop has been blocked for a second"]


async def test_a_process_that_stood_still_as_a_whole_is_not_a_loop_that_was_blocked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop_watchdog, "BLOCKED_SECONDS", 0.1)
    clock, said, looked = [0.0], [], threading.Event()

    def late() -> float:
        looked.set()
        return clock[0]

    monkeypatch.setattr(loop_watchdog, "time", SimpleNamespace(monotonic=late))
    with watch_loop(said.append):
        clock[0] = 60.0  # as after a suspend: whoever looks first finds the loop's last turn long ago
        looked.clear()
        assert await asyncio.to_thread(looked.wait, 5)
    assert said == []


async def test_a_loop_that_is_blocked_while_the_watch_turns_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop_watchdog, "BLOCKED_SECONDS", 0.1)
    said: list[str] = []
    told = threading.Event()
    with watch_loop(lambda text: (said.append(text), told.set())):
        assert told.wait(5)
    assert "test_watchdog.py" in said[0]
