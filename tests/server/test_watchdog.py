"""What is said of a loop that does not turn: the place, and the cure only to those who have it in their hands."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

from everstep.server import pages
from everstep.server.watchdog import complaint


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
