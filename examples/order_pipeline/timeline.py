"""An instance, as the API describes it, drawn as lines of plain text. Reads no clock and prints nothing.

ord_1  complete after 6.20 s
  validate-order                0.01 s  │━                                       │  3 ms
  charge-payment                0.02 s  │x·····x············━                    │  3.08 s, 3 attempts
    attempt 1                   0.02 s  failed: PaymentError: Payment failed: 503
    attempt 2                   1.04 s  failed: PaymentError: Payment failed: 503
    attempt 3                   3.06 s  ok
  wait-next-business-day        3.10 s  │                    ─────────────────── │  3.00 s
  send-confirmation             6.10 s  │                                       ━│  100 ms
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

BAR = 40
NAME = 26

WORKING, FAILED, PAUSING, WAITING = "━", "x", "·", "─"
LEGEND = (
    f"{WORKING} working   {FAILED} failed attempt   {PAUSING} until the next attempt   {WAITING} sleeping or waiting"
)


class Span(NamedTuple):
    """A stretch of time, in seconds since the instance began, and the sign it is drawn with."""

    start: float
    end: float
    sign: str


class Scale(NamedTuple):
    """The moments at both ends of the picture. What has not ended yet reaches to the right edge."""

    first: datetime
    last: datetime

    def at(self, text: str | None) -> float:
        moment = datetime.fromisoformat(text) if text else self.last
        return (moment - self.first).total_seconds()

    def bar(self, spans: Sequence[Span]) -> str:
        cells = [" "] * BAR
        per_cell = max(self.at(None), 0.001) / BAR
        for start, end, sign in spans:
            left = min(int(start / per_cell), BAR - 1)
            right = min(max(int(end / per_cell), left + 1), BAR)
            cells[left:right] = sign * (right - left)
        return f"│{''.join(cells)}│"


def timeline(id: str, instance: Mapping[str, Any], *, now: datetime | None = None) -> list[str]:
    """Draw one instance: a headline, and for every step its times, its bar, its attempts and errors.

    Args:
        id: The instance's id, for the headline.
        instance: The `result` of `GET …/workflows/{name}/instances/{id}`.
        now: The right edge for an instance that has not ended; without it, the latest moment it speaks of.
    """
    scale = _scale(instance, now)
    lines = [_headline(id, instance, scale)]
    for step in instance["steps"]:
        lines += _step(step, scale)
    return lines


def _scale(instance: Mapping[str, Any], now: datetime | None) -> Scale:
    moments = sorted(datetime.fromisoformat(text) for text in _moments(instance))
    first = datetime.fromisoformat(instance["queued"]) if instance.get("queued") else moments[0]
    ended = datetime.fromisoformat(instance["end"]) if instance.get("end") else None
    return Scale(first, ended or now or moments[-1])


def _moments(instance: Mapping[str, Any]) -> Iterator[str]:
    """Every moment an instance speaks of."""
    for part in (instance, *instance["steps"], *(a for step in instance["steps"] for a in step.get("attempts", []))):
        yield from (part[key] for key in ("queued", "start", "end") if part.get(key))


def _headline(id: str, instance: Mapping[str, Any], scale: Scale) -> str:
    status, error, elapsed = instance["status"], instance.get("error"), _seconds(scale.at(None))
    when = f"after {elapsed}" if instance.get("end") else f"({elapsed} so far)"
    return f"{id}  {status} {when}" + (f": {_error(error)}" if error else "")


def _step(step: Mapping[str, Any], scale: Scale) -> Iterator[str]:
    name = str(step.get("name") or step["type"]).removesuffix("-1")
    if not step.get("start"):
        yield f"  {name}"
        return
    attempts: Sequence[Mapping[str, Any]] = step.get("attempts") or []
    start, end = scale.at(step["start"]), scale.at(step.get("end"))
    spans = _attempt_spans(attempts, end, scale) if attempts else [Span(start, end, WAITING)]
    yield f"  {name:<{NAME}} {start:7.2f} s  {scale.bar(spans)}  {_remark(step, attempts, end - start)}"
    if len(attempts) > 1 or any(attempt.get("error") for attempt in attempts):
        yield from (_attempt(number, attempt, scale) for number, attempt in enumerate(attempts, start=1))
    elif step.get("error"):
        yield f"    {_error(step['error'])}"


def _attempt_spans(attempts: Sequence[Mapping[str, Any]], step_end: float, scale: Scale) -> list[Span]:
    starts = [scale.at(attempt["start"]) for attempt in attempts]
    spans = [Span(starts[0], step_end, PAUSING)]
    for start, attempt in zip(starts, attempts, strict=True):
        spans.append(Span(start, scale.at(attempt.get("end")), FAILED if attempt.get("success") is False else WORKING))
    return spans


def _remark(step: Mapping[str, Any], attempts: Sequence[Mapping[str, Any]], seconds: float) -> str:
    """What a row says behind its bar: how long, how often, and whether it goes on."""
    verb = {"sleep": "asleep", "waitForEvent": "waiting"}.get(step["type"], "working")
    remark = _seconds(seconds) if step.get("end") else f"{_seconds(seconds)}, still {verb}"
    if len(attempts) > 1:
        remark += f", {len(attempts)} attempts"
    return remark


def _attempt(number: int, attempt: Mapping[str, Any], scale: Scale) -> str:
    outcome = f"failed: {_error(attempt['error'])}" if attempt.get("error") else "ok"
    if not attempt.get("end"):
        outcome = "running"
    label = f"attempt {number}"
    return f"    {label:<{NAME - 2}} {scale.at(attempt['start']):7.2f} s  {outcome}"


def _error(error: Mapping[str, Any]) -> str:
    return ": ".join(str(part) for part in (error.get("name"), error.get("message")) if part)


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
