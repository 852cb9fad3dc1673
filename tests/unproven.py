"""What cannot be tested on a machine, which the run says at its end: a skip in the middle is easily overlooked."""

from __future__ import annotations

from collections import Counter
from typing import NoReturn

import pytest

_MARK = "not proven here: "


def skip_unproven(reason: str) -> NoReturn:
    """Skip a test that the machine lacks something for; `reason` says what, and how to get it."""
    pytest.skip(_MARK + reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        if _MARK in reason:
            reasons[reason.partition(_MARK)[2]] += 1
    if reasons:
        terminalreporter.section("NOT PROVEN on this machine", sep="!", red=True, bold=True)
        for reason, tests in reasons.items():
            terminalreporter.line(f"{tests} tests: {reason}", red=True)
