"""The inspector's pages as HTML. Data in, text out; `markup` escapes whatever is shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from msgspec import UNSET

from everstep.control.status import CutText
from everstep.control.views import InstanceView
from everstep.core.durations import format_duration
from everstep.core.serialization.stored_error import error_info
from everstep.core.timestamps import utc
from everstep.core.types import AttemptInfo, ErrorInfo, InstanceStatus, StepInfo
from everstep.server.http_api import serializers
from everstep.server.inspector.html import Child, Html, tag
from everstep.store.protocol import InstanceRecord

SHOWN_CHARS = 20_000
"""Characters of one value that a page shows; the JSON has them all."""
SHOWN_STEPS = 200
"""Steps that a page shows unless it is asked for more: it is written anew every second."""
SHOWN_STEP_CHARS = 8_192
"""Characters of a step's output that a page shows."""

_SYMBOLS = {
    "queued": "◌", "running": "▶", "retrying": "↻", "waiting": "◷", "paused": "⏸", "waitingForPause": "⏸",
    "rollingBack": "↶", "complete": "✓", "errored": "✕", "terminated": "■", "cancelled": "■",
}  # fmt: skip
_PAUSABLE = ("queued", "running", "waiting")
_RESUMABLE = ("paused", "waitingForPause")


def workflows_page(workflows: Sequence[Mapping[str, Any]], trouble: str | None = None) -> str:
    """Every workflow with its counts, and what keeps the engine from working."""
    rows = [
        tag("tr",
            _cell("Workflow", tag("a", one["name"], href=_path(one["name"]))),
            _cell("Class", tag("code", one["class_name"])),
            _cell("Instances", sum(one["instances"].values())),
            _cell("By status", _counts(one["name"], one["instances"])),
            id=f"workflow-{one['name']}")
        for one in workflows
    ]  # fmt: skip
    table = _table("Workflows", ("Workflow", "Class", "Instances", "By status"), [tag("tbody", rows)])
    warning = tag("p", tag("strong", "Nothing is written at the moment: "), trouble, role="alert") if trouble else None
    nothing = _empty("This program has none.")
    return _document("Workflows", [], [tag("h1", "Workflows"), warning, table if rows else nothing])


def workflow_page(
    data: Mapping[str, Any], instances: Sequence[InstanceRecord], *, status: str | None, paged: bool
) -> str:
    """The instances of one workflow, newest first."""
    name, counts = data["workflow"]["name"], data["workflow"]["instances"]
    filters = [("all", None, sum(counts.values())), *((one, one, count) for one, count in counts.items() if count)]
    links = [
        tag("a", f"{label} {count}", href=_path(name, status=one), aria_current="true" if one == status else None)
        for label, one, count in filters
    ]
    table = _table("Instances", ("Instance", "Status", "Created", "Took", "Trigger"), [
        tag("tbody", [_instance_row(one) for one in instances])])  # fmt: skip
    older = tag("a", "Older →", href=_path(name, status=status, cursor=data["cursor"])) if data["cursor"] else None
    newest = tag("a", "⇤ Newest", href=_path(name, status=status)) if paged else None
    nothing = _empty(f"None is {status}." if status else "None yet: create one below, or through the app.")
    return _document(name, [("Workflows", _path())], [
        tag("h1", name),
        tag("nav", links, class_="filters", aria_label="Filter by status"),
        table if instances else nothing,
        tag("nav", newest, older, class_="pages", aria_label="Pages") if newest or older else None,
        _create_form(name),
    ])  # fmt: skip


def instance_page(view: InstanceView, data: Mapping[str, Any], *, newest: bool) -> str:
    """One instance with some of its steps; while it has not ended, those that started last are refreshed."""
    instance, status = view.instance, view.status
    now = (status.started_at or status.created_at) + timedelta(milliseconds=status.elapsed_ms)
    crumbs = [("Workflows", _path()), (instance.workflow, _path(instance.workflow))]
    error = None if instance.error is None else error_info(instance.error)
    output = _value("Output", data["output"]) if status.status == "complete" else None
    return _document(instance.id, crumbs, [
        tag("h1", instance.id, " ", _chip(status.status)),
        _facts(instance, status, now),
        _actions(instance, status),
        tag("section", tag("h2", "Error"), _error(error)) if error else None,
        tag("div", _value("Params", data["params"]), output, class_="columns"),
        tag("section", tag("h2", "Steps"), _steps(view, now)),
        None if instance.ended else _event_form(instance, status),
    ], live=newest and not instance.ended)  # fmt: skip


def problem_page(message: str) -> str:
    """What went wrong instead of a page."""
    return _document("Not shown", [("Workflows", _path())], [tag("h1", "Not shown"), tag("p", message)], live=False)


def _document(title: str, crumbs: Sequence[tuple[str, str]], main: Child, *, live: bool = True) -> str:
    trail = [[tag("a", label, href=href), tag("span", "/", aria_hidden="true")] for label, href in crumbs]
    head = tag("head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} · Everstep"),
        tag("link", rel="icon", href="data:,"),
        tag("link", rel="stylesheet", href="/__workflows/static/inspector.css"),
        tag("script", src="/__workflows/static/inspector.js", defer=True))  # fmt: skip
    body = tag("body",
        tag("a", "Skip to the content", href="#main", class_="skip"),
        tag("header", tag("strong", "Everstep"), tag("nav", trail, tag("span", title), aria_label="Breadcrumb")),
        tag("main", main, id="main", tabindex="-1", data_live=live),
        tag("p", id="said", role="status"),
        tag("footer", "Times are UTC. ", tag("a", "This page as JSON", href="?format=json", id="as-json"),
            tag("noscript", " Without JavaScript this page neither refreshes nor changes anything.")))  # fmt: skip
    return "<!doctype html>\n" + tag("html", head, body, lang="en")


def _instance_row(one: InstanceRecord) -> Html:
    took = None if one.ended_at is None else format_duration(one.ended_at - (one.started_at or one.created_at))
    return tag("tr",
        _cell("Instance", tag("a", one.id, href=_path(one.workflow, one.id))),
        _cell("Status", _chip(one.status)),
        _cell("Created", _time(utc(one.created_at))),
        _cell("Took", took),
        _cell("Trigger", one.trigger), id=f"instance-{one.id}")  # fmt: skip


def _facts(instance: InstanceRecord, status: InstanceStatus, now: datetime) -> Html:
    waiting = status.waiting_for
    what = None if waiting is None else [waiting.kind, " ", tag("code", waiting.type) if waiting.type else None]
    attempt = f", attempt {status.attempt}" if status.attempt else ""
    facts: list[tuple[str, Child]] = [
        ("Current step", None if status.current_step is None else [tag("strong", status.current_step), attempt]),
        ("Waits for", what),
        ("Wakes", _moment(status.wake_at, now)),
        ("Elapsed", format_duration(status.elapsed_ms)),
        ("Steps", status.step_count),
        ("Created", [_time(status.created_at), f" by {instance.trigger}"]),
        ("Started", _time(status.started_at)),
        ("Ended", _time(status.ended_at)),
        ("Version", status.version),
    ]
    return tag("dl", [tag("div", tag("dt", name), tag("dd", fact)) for name, fact in facts if fact], class_="facts")


def _actions(instance: InstanceRecord, status: InstanceStatus) -> Html:
    possible = {
        "pause": status.status in _PAUSABLE,
        "resume": status.status in _RESUMABLE,
        "terminate": not instance.ended,
        "restart": True,
    }
    asks = {
        "terminate": f"Terminate {instance.id}? It cannot be resumed.",
        "restart": f"Restart {instance.id}? Everything it did is forgotten, and all steps run again.",
    }
    url = _api(instance.workflow, "instances", instance.id, "status")
    return tag("div", [
        tag("button", action.capitalize(), type="button", id=f"do-{action}", disabled=not allowed,
            data_action=action, data_url=url, data_ask=asks.get(action))
        for action, allowed in possible.items()
    ], class_="actions", role="group", aria_label="Actions")  # fmt: skip


def _event_form(instance: InstanceRecord, status: InstanceStatus) -> Html:
    expected = status.waiting_for.type if status.waiting_for else None
    return tag("form", tag("h2", "Send an event"),
        tag("label", "Type ", tag("input", name="type", required=True, maxlength=100, value=expected or "")),
        tag("label", "Payload, as JSON ", tag("textarea", name="payload", rows=3, spellcheck="false")),
        tag("button", "Send", type="submit"),
        id="send-event", data_url=_api(instance.workflow, "instances", instance.id, "events"))  # fmt: skip


def _create_form(workflow: str) -> Html:
    return tag("form", tag("h2", "Create an instance"),
        tag("label", "Id, given out when empty ", tag("input", name="instance_id", maxlength=100)),
        tag("label", "Params, as JSON ", tag("textarea", name="params", rows=3, spellcheck="false")),
        tag("button", "Create", type="submit"),
        id="create", data_url=_api(workflow, "instances"), data_page=_path(workflow))  # fmt: skip


def _steps(view: InstanceView, now: datetime) -> Child:
    if not view.steps:
        return _empty("None has started." if not view.earlier + view.later else "None is left here.")
    address = _api(view.instance.workflow, "instances", view.instance.id, "step")
    head = ("#", "Step", "Type", "Status", "Started", "Duration", "Attempts")
    table = _table("Steps", head, [_step(step, now, address) for step in view.steps])
    return [_step_pages(view), table]


def _step_pages(view: InstanceView) -> Html | None:
    """Say which of the steps these are, with links to the others."""
    if not view.earlier and not view.later:
        return None
    here = view.instance.workflow, view.instance.id
    first, last = view.earlier + 1, view.earlier + len(view.steps)
    earlier, later = str(view.steps[0].seq), str(view.steps[-1].seq)
    return tag("nav",
        tag("span", f"{first:,} to {last:,} of {view.status.step_count:,} steps"),
        tag("a", "⇤ First", href=_path(*here, order="asc")) if view.earlier else None,
        tag("a", "← Earlier", href=_path(*here, cursor=earlier)) if view.earlier else None,
        tag("a", "Later →", href=_path(*here, order="asc", cursor=later)) if view.later else None,
        tag("a", "Newest ⇥", href=_path(*here)) if view.later else None,
        class_="pages", aria_label="Pages of steps")  # fmt: skip


def _step(step: StepInfo, now: datetime, address: str) -> Html:
    wait = step.wake_at if step.ended_at is None else None
    until = {"sleep": "wakes ", "timer": "fires ", "waitForEvent": "times out "}.get(step.type, "next attempt ")
    row = tag("tr",
        _cell("#", step.seq),
        _cell("Step", tag("span", tag("strong", step.name), tag("span", f" -{step.count}", class_="muted")),
            tag("div", "inside step ", tag("a", f"#{step.parent}", href=f"#step-{step.parent}"), class_="note")
            if step.parent is not None else None,
            tag("div", "event ", tag("code", step.event_type), class_="note") if step.event_type else None,
            tag("div", until, _moment(wait, now), class_="note") if wait else None),
        _cell("Type", serializers.step_type(step.type)),
        _cell("Status", _chip(step.status)),
        _cell("Started", _time(step.started_at)),
        _cell("Duration", _duration(step.started_at, step.ended_at or now)),
        _cell("Attempts", len(step.attempts) if step.type in ("do", "rollback") else None))  # fmt: skip
    return tag("tbody", row, _step_details(step, now, address), id=f"step-{step.seq}")


def _step_details(step: StepInfo, now: datetime, address: str) -> Html | None:
    has_output = step.status == "complete" and step.type != "sleep"
    query = urlencode({"name": serializers.step_name(step), "type": serializers.step_type(step.type)})
    whole = tag("a", "The whole output", href=f"{address}?{query}") if isinstance(step.output, CutText) else None
    parts: list[Child] = [
        [_value("Output", serializers.plain(step.output), level="h3"), whole] if has_output else None,
        [tag("h3", "Error"), _error(step.error)] if step.error else None,
        _attempts(step.attempts, now) if step.attempts else None,
        _value("Config", serializers.plain(step.config), level="h3") if step.config else None,
    ]
    if not any(parts):
        return None
    trouble = step.status in ("retrying", "errored") or (step.status == "running" and len(step.attempts) > 1)
    details = tag("details", tag("summary", "Details", tag("span", f" of {step.name}-{step.count}", class_="unseen")),
        parts, open=trouble, id=f"details-{step.seq}")  # fmt: skip
    return tag("tr", tag("td", details, colspan=7), class_="more")


def _attempts(attempts: Sequence[AttemptInfo], now: datetime) -> Html:
    rows = [
        tag("tr",
            _cell("Attempt", one.attempt), _cell("Status", _chip(one.status)), _cell("Started", _time(one.started_at)),
            _cell("Duration", _duration(one.started_at, one.ended_at or now)),
            _cell("Error", _error(one.error) if one.error else None),
            _cell("Next retry", _moment(one.retry_at, now) if one.retry_at else None))
        for one in attempts
    ]  # fmt: skip
    head = ("Attempt", "Status", "Started", "Duration", "Error", "Next retry")
    return _table("Attempts", head, [tag("tbody", rows)])


def _error(error: ErrorInfo) -> Html:
    trace = None
    if error.traceback is not UNSET:
        trace = tag("details", tag("summary", "Traceback"), tag("pre", _cut(error.traceback), tabindex=0))
    return tag("div", tag("p", tag("strong", error.name), f": {_cut(error.message)}"), trace, class_="error")


def _value(title: str, value: Any, *, level: str = "h2") -> Html:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return tag("section", tag(level, title), tag("pre", _cut(text), tabindex=0))


def _cut(text: str) -> str:
    if len(text) <= SHOWN_CHARS:
        return text
    return f"{text[:SHOWN_CHARS]}\n… {len(text) - SHOWN_CHARS:,} characters more; they are in this page's JSON"


def _counts(workflow: str, counts: Mapping[str, int]) -> list[Html]:
    return [tag("a", f"{count} {one}", href=_path(workflow, status=one)) for one, count in counts.items() if count]


def _table(label: str, head: Sequence[str], bodies: Sequence[Html]) -> Html:
    columns = tag("thead", tag("tr", [tag("th", name, scope="col") for name in head]))
    return tag("table", columns, bodies, aria_label=label)


def _cell(label: str, *content: Child) -> Html:
    return tag("td", content, data_label=label)


def _chip(status: str) -> Html:
    return tag(
        "span", tag("span", _SYMBOLS.get(status, "?"), aria_hidden="true"), f" {status}", class_=f"chip {status}"
    )


def _empty(text: str) -> Html:
    return tag("p", text, class_="muted")


def _time(moment: datetime | None) -> Html | None:
    if moment is None:
        return None
    text = moment.strftime("%Y-%m-%d %H:%M:%S") + f".{moment.microsecond // 1000:03}"
    return tag("time", text, datetime=serializers.iso(moment))


def _moment(moment: datetime | None, now: datetime) -> list[Child] | None:
    if moment is None:
        return None
    ms = (moment - now) / timedelta(milliseconds=1)
    return [_time(moment), f" (in {format_duration(ms)})" if ms >= 1 else None]


def _duration(start: datetime, end: datetime) -> str:
    return format_duration(max(0.0, (end - start) / timedelta(milliseconds=1)))


def _path(*parts: str, **query: str | None) -> str:
    given = {key: value for key, value in query.items() if value is not None}
    path = "/".join(("/__workflows", *(quote(part, safe="") for part in parts)))
    return f"{path}?{urlencode(given)}" if given else path


def _api(*parts: str) -> str:
    return "/".join(("/client/v4/accounts/local/workflows", *(quote(part, safe="") for part in parts)))
