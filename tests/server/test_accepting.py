"""What is said when connections cannot be accepted, and how often."""

from __future__ import annotations

import asyncio
import errno
import resource
from typing import Any

import pytest

from everstep.server.dev.accepting import SILENT_SECONDS, say_why_not_accepted


def refused(number: int) -> dict[str, Any]:
    """What asyncio tells when it cannot accept."""
    return {"message": "socket.accept()", "exception": OSError(number, "x"), "socket": object()}


async def test_the_limit_is_named_once_and_then_once_a_minute(monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)
    with say_why_not_accepted(said.append):
        for _ in range(2048):
            loop.call_exception_handler(refused(errno.EMFILE))
        assert len(said) == 1
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert f"{limit:,} files and connections open" in said[0]
        assert "ulimit -n" in said[0]
        now += SILENT_SECONDS - 1
        loop.call_exception_handler(refused(errno.EMFILE))
        assert len(said) == 1
        now += 1
        loop.call_exception_handler(refused(errno.EMFILE))
        assert len(said) == 2


@pytest.mark.parametrize(("number", "words"), [(errno.ENFILE, "fs.file-max"), (errno.ENOMEM, "no memory")])
async def test_a_shortage_of_the_whole_machine_is_named_as_well(number: int, words: str):
    said: list[str] = []
    with say_why_not_accepted(said.append):
        asyncio.get_running_loop().call_exception_handler(refused(errno.EMFILE))
        asyncio.get_running_loop().call_exception_handler(refused(number))
    assert len(said) == 2
    assert words in said[1]


@pytest.mark.parametrize(
    "context",
    [
        {"message": "x"},
        {"message": "x", "exception": OSError(errno.EMFILE, "x")},
        {"message": "x", "exception": OSError(errno.ECONNRESET, "x"), "socket": object()},
        {"message": "x", "exception": OSError("x"), "socket": object()},
        {"message": "x", "exception": ValueError("x"), "socket": object()},
    ],
    ids=["no error", "no socket", "another error", "no number", "no system's error"],
)
async def test_what_else_happens_goes_to_the_handler_there_was(context: dict[str, Any]):
    said: list[str] = []
    told: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))
    before = loop.get_exception_handler()
    with say_why_not_accepted(said.append):
        loop.call_exception_handler(context)
    assert (said, told) == ([], [context])
    assert loop.get_exception_handler() is before


async def test_what_else_happens_is_logged_where_there_was_no_handler(caplog: pytest.LogCaptureFixture):
    with say_why_not_accepted(lambda _: None):
        asyncio.get_running_loop().call_exception_handler({"message": "something else"})
    assert "something else" in caplog.text
