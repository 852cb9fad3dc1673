"""An instance drawn as lines of text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from timeline import BAR, FAILED, PAUSING, WAITING, WORKING, timeline

BEGAN = datetime(2026, 11, 22, 10, tzinfo=UTC)


def at(seconds: float) -> str:
    return (BEGAN + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def attempt(start: float, end: float | None, error: str | None = None) -> dict[str, Any]:
    failure = {"name": "PaymentError", "message": error} if error else None
    success = None if end is None else error is None
    return {"start": at(start), "end": end and at(end), "success": success, "error": failure}


def do_step(name: str, *attempts: dict[str, Any], end: float | None) -> dict[str, Any]:
    start = attempts[0]["start"]
    return {"type": "step", "name": name, "start": start, "end": end and at(end), "attempts": list(attempts)}


def instance(*steps: dict[str, Any], end: float | None = None, **changes: Any) -> dict[str, Any]:
    status = "complete" if end else "running"
    view = {"status": status, "queued": at(0), "start": at(0), "end": end and at(end), "error": None}
    return {**view, "steps": list(steps), **changes}


def bar(line: str) -> str:
    return line.split("│")[1]


def test_a_step_that_went_well_is_one_line_without_its_counter() -> None:
    lines = timeline("ord_1", instance(do_step("validate-order-1", attempt(0.5, 1), end=1), end=2))

    assert lines[0] == "ord_1  complete after 2.00 s"
    assert len(lines) == 2
    assert lines[1].split()[:3] == ["validate-order", "0.50", "s"]
    assert lines[1].endswith("500 ms")


def test_a_repeated_name_keeps_its_counter() -> None:
    lines = timeline("x", instance(do_step("poll-2", attempt(0, 1), end=1), end=1))

    assert lines[1].split()[0] == "poll-2"


def test_retries_show_every_attempt_its_error_and_the_pauses_between() -> None:
    charge = do_step("charge-payment-1", attempt(0, 1, "503"), attempt(2, 3, "503"), attempt(5, 10), end=10)
    lines = timeline("x", instance(charge, end=10))

    quarter = BAR // 10
    assert bar(lines[1]) == (FAILED + PAUSING) * 0 + "".join(
        sign * quarter * length for sign, length in ((FAILED, 1), (PAUSING, 1), (FAILED, 1), (PAUSING, 2), (WORKING, 5))
    )
    assert lines[1].endswith("10.00 s, 3 attempts")
    assert [line.split()[:4] for line in lines[2:]] == [
        ["attempt", "1", "0.00", "s"],
        ["attempt", "2", "2.00", "s"],
        ["attempt", "3", "5.00", "s"],
    ]
    assert lines[2].endswith("failed: PaymentError: 503")
    assert lines[4].endswith("ok")


def test_a_sleep_is_drawn_as_waiting() -> None:
    sleep = {"type": "sleep", "name": "nap-1", "start": at(0), "end": at(4), "finished": True, "error": None}
    lines = timeline("x", instance(sleep, end=4))

    assert bar(lines[1]) == WAITING * BAR


def test_what_has_not_ended_reaches_to_now() -> None:
    wait = {"type": "waitForEvent", "name": "approval-1", "start": at(1), "end": None, "event_type": "ok"}
    lines = timeline("x", instance(wait, status="waiting"), now=BEGAN + timedelta(seconds=4))

    assert lines[0] == "x  waiting (4.00 s so far)"
    assert bar(lines[1]) == " " * (BAR // 4) + WAITING * (BAR * 3 // 4)
    assert lines[1].endswith("3.00 s, still waiting")


def test_an_attempt_in_flight_is_running() -> None:
    charge = do_step("charge-1", attempt(0, 1, "503"), attempt(2, None), end=None)
    lines = timeline("x", instance(charge), now=BEGAN + timedelta(seconds=4))

    assert lines[-1].endswith("running")
    assert bar(lines[1]).endswith(WORKING)


def test_a_pending_retry_is_drawn_up_to_now() -> None:
    charge = do_step("charge-1", attempt(0, 1, "503"), end=None)
    lines = timeline("x", instance(charge), now=BEGAN + timedelta(seconds=4))

    assert bar(lines[1]) == FAILED * (BAR // 4) + PAUSING * (BAR * 3 // 4)


def test_an_errored_instance_says_why() -> None:
    error = {"name": "NonRetryableError", "message": "Order has no items"}
    step = do_step("validate-order-1", attempt(0, 1, "no items"), end=1)
    lines = timeline("x", instance(step, end=1, status="errored", error=error))

    assert lines[0] == "x  errored after 1.00 s: NonRetryableError: Order has no items"
    assert lines[2].endswith("failed: PaymentError: no items")


def test_an_instance_without_steps_is_its_headline() -> None:
    assert timeline("x", instance(status="queued")) == ["x  queued (0 ms so far)"]


def test_entries_without_a_start_are_named() -> None:
    lines = timeline("x", instance({"type": "termination", "trigger": {"source": "api"}}, end=1, status="terminated"))

    assert lines[1] == "  termination"


@pytest.mark.parametrize("length", [0.0001, 0.37, 1, 3, 86_400 * 3])
def test_every_bar_is_equally_wide(length: float) -> None:
    steps = [
        do_step(f"s-{n}", attempt(length * n / 7, length * (n + 1) / 7), end=length * (n + 1) / 7) for n in range(7)
    ]
    lines = timeline("x", instance(*steps, end=length))

    assert {len(bar(line)) for line in lines[1:]} == {BAR}
