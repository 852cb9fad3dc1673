"""The inspector: what its pages show, and that nothing in them is taken for HTML."""

from __future__ import annotations

import re
import threading
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from serving import API, SCRIPT, Server

import everstep.server.inspector
from everstep.control import views
from everstep.sdk import response as api_http
from everstep.server.http_api import serializers
from everstep.server.inspector import pages
from everstep.server.inspector.html import Html, join, tag

STATIC = Path(everstep.server.inspector.__file__).parent / "static"
VOID = {"meta", "link", "input", "br"}


class Parsed(HTMLParser):
    """A page's elements and text; raises where elements are not closed as they were opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


async def page(server: Server, path: str, status: int = 200) -> Parsed:
    answer = await server.http.get(path, headers={"accept": "text/html"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return Parsed(answer.text)


async def test_workflows_are_listed_with_counts(server: Server):
    await server.create("nap", "n-1")
    await server.reached("nap", "n-1", "waiting")
    shown = await page(server, "/__workflows")
    links = [one["href"] for one in shown.attributes("a")]
    assert "/__workflows/nap" in links
    assert "/__workflows/nap?status=waiting" in links
    assert "1 waiting" in shown.text


async def test_instances_are_listed_newest_first_filtered_and_paged(server: Server):
    for number in range(26):
        await server.create("echo", f"e-{number}")
    await server.reached("echo", "e-0", "complete")
    shown = await page(server, "/__workflows/echo")
    links = [one["href"] or "" for one in shown.attributes("a")]
    instances = [link for link in links if link.startswith("/__workflows/echo/")]
    assert (instances[0], len(instances)) == ("/__workflows/echo/e-25", 25)

    [older] = [link for link in links if "cursor=" in link]
    shown = await page(server, older)
    assert "/__workflows/echo/e-0" in [one["href"] for one in shown.attributes("a")]
    assert "⇤ Newest" in shown.text

    shown = await page(server, "/__workflows/echo?status=errored")
    assert "None is errored." in shown.text


async def test_a_waiting_instance_says_for_what_and_until_when(server: Server):
    await server.create("approval", "a-1", {"order": 7})
    await server.reached("approval", "a-1", "waiting")
    shown = await page(server, "/__workflows/approval/a-1")
    assert "Current step wait-for-manager" in shown.text
    assert "Waits for event order.approval" in shown.text
    assert re.search(r"times out [\d :.-]+ \(in 1 d\)|times out [\d :.-]+ \(in 24 h\)", shown.text)
    assert '"order": 7' in shown.text
    assert "data-live" in shown.attributes("main")[0]
    buttons = {one["data-action"]: "disabled" in one for one in shown.attributes("button") if "data-action" in one}
    assert buttons == {"pause": False, "resume": True, "terminate": False, "restart": False}
    [event_type] = [one for one in shown.attributes("input") if one["name"] == "type"]
    assert event_type["value"] == "order.approval"


async def test_a_retrying_instance_shows_its_attempts(server: Server):
    await server.create("flaky", "f-1")
    await server.reached("flaky", "f-1", "waiting")
    shown = await page(server, "/__workflows/flaky/f-1")
    assert "charge , attempt 1" in shown.text
    assert "ConnectionError : 503 from the bank" in shown.text
    assert re.search(r"next attempt [\d :.-]+ \(in (1 h|60 min|59\.\d+ min)\)", shown.text)


async def test_a_sleeping_instance_shows_when_it_wakes(server: Server):
    await server.create("nap", "n-1")
    await server.reached("nap", "n-1", "waiting")
    assert " wakes 20" in (await page(server, "/__workflows/nap/n-1")).text


async def test_an_ended_instance_is_not_refreshed(server: Server):
    await server.create("nasty", "x-1")
    await server.reached("nasty", "x-1", "errored")
    shown = await page(server, "/__workflows/nasty/x-1")
    assert "data-live" not in shown.attributes("main")[0]
    assert "NonRetryableError" in shown.text
    assert "Traceback (most recent call last)" in shown.text
    assert shown.attributes("form") == []


async def test_sensitive_outputs_stay_hidden(server: Server):
    await server.create("outputs", "o-1")
    await server.reached("outputs", "o-1", "complete")
    for path in ("/__workflows/outputs/o-1", "/__workflows/outputs/o-1?format=json"):
        text = (await server.http.get(path)).text
        assert "hunter2" not in text
        assert "[REDACTED]" in text


@pytest.mark.parametrize(
    "payload", [SCRIPT, "</pre><img src=x onerror=alert(1)>", '" onmouseover="alert(1)', "&lt;b&gt;"]
)
async def test_nothing_shown_is_taken_for_html(server: Server, payload: str):
    await server.create("nasty", "x-1", {payload: [payload]})
    await server.reached("nasty", "x-1", "errored")
    shown = await page(server, "/__workflows/nasty/x-1")
    assert [one["src"] for one in shown.attributes("script")] == ["/__workflows/static/inspector.js"]
    assert shown.attributes("img") == []
    assert not any(name.startswith("on") for _, attributes in shown.elements for name in attributes)
    assert payload.replace('"', '\\"') in "".join(shown.words)
    assert SCRIPT in shown.words


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/__workflows/gret", 404, "did you mean 'greet'?"),
        ("/__workflows/greet/nobody", 404, "workflow 'greet' has no instance 'nobody'"),
        ("/__workflows/greet/%3Cscript%3E", 400, "instance id '<script>' is not allowed"),
        ("/__workflows/%3Cscript%3E", 404, "no workflow '<script>' here"),
        ("/__workflows/greet?status=%3Cscript%3E", 400, "got '<script>'"),
        ("/__workflows/greet?cursor=%3Cscript%3E", 400, "got '<script>'"),
    ],
)
async def test_what_cannot_be_shown_says_why(server: Server, path: str, status: int, message: str):
    shown = await page(server, path, status)
    assert message in shown.text
    assert len(shown.attributes("script")) == 1
    answer = await server.http.get(path, headers={"accept": "application/json"})
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]


async def test_each_page_has_the_same_data_as_json(server: Server):
    await server.create("greet", "g-1", {"name": "Bob"})
    shown = await server.reached("greet", "g-1", "complete")
    for headers, query in [({"accept": "application/json"}, ""), ({"accept": "text/html"}, "?format=json")]:
        answer = await server.http.get(f"/__workflows{query}", headers=headers)
        listed = [{**one, "script_name": "app"} for one in await server.result(API)]
        assert answer.json() == {"workflows": listed, "reason": None}
        answer = await server.http.get(f"/__workflows/greet{query}", headers=headers)
        assert answer.json()["workflow"]["name"] == "greet"
        assert answer.json()["instances"] == await server.result(f"{API}/greet/instances")
        answer = await server.http.get(f"/__workflows/greet/g-1{query}", headers=headers)
        assert answer.json() == {**shown, "cursor": None}


@pytest.mark.parametrize("path", ["/__workflows", "/__workflows/echo", "/__workflows/echo/e-1", "/__workflows/nothing"])
async def test_pages_load_and_run_nothing_foreign(server: Server, path: str):
    await server.create("echo", "e-1")
    answer = await server.http.get(path)
    policy = answer.headers["content-security-policy"].split("; ")
    assert policy[0] == "default-src 'none'"
    assert {"script-src 'self'", "style-src 'self'", "form-action 'self'", "frame-ancestors 'none'"} <= set(policy)
    parsed = Parsed(answer.text)
    assert not any("style" in attributes for _, attributes in parsed.elements)
    for _, attributes in parsed.elements:
        for name in ("href", "src"):
            assert re.match(r"/__workflows|#main|\?|data:,", attributes.get(name) or "#main")


@pytest.mark.parametrize(("name", "kind"), [("inspector.css", "text/css"), ("inspector.js", "text/javascript")])
async def test_static_files_are_served(server: Server, name: str, kind: str):
    answer = await server.http.get(f"/__workflows/static/{name}")
    assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
    assert answer.content == (STATIC / name).read_bytes()


async def test_headings_descend_and_controls_have_names(server: Server):
    await server.create("approval", "a-1")
    await server.reached("approval", "a-1", "waiting")
    for path in ("/__workflows", "/__workflows/approval", "/__workflows/approval/a-1"):
        parsed = await page(server, path)
        levels = [int(name[1]) for name, _ in parsed.elements if re.fullmatch(r"h[1-6]", name)]
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        labels = len(parsed.attributes("label"))
        assert labels == len(parsed.attributes("input")) + len(parsed.attributes("textarea"))
        ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
        assert len(ids) == len(set(ids))


def test_markup_escapes_everything_but_itself():
    assert tag("p", "<", [tag("b", '"'), None, 3], title="'\"<") == (
        '<p title="&#x27;&quot;&lt;">&lt;<b>&quot;</b>3</p>'
    )
    assert join([Html("<i>"), "<i>"]) == "<i>&lt;i&gt;"


@pytest.mark.parametrize("theme", [0, 1])
def test_text_has_aa_contrast_in_both_themes(theme: int):
    css = (STATIC / "inspector.css").read_text()
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", css.split("prefers-color-scheme: dark")[theme]))
    pairs = [(text, ground) for text in ("text", "muted", "link", "bad") for ground in ("page", "raised")]
    pairs += [(name, f"{name}-tint") for name in ("good", "bad", "busy", "wait", "still")]
    for text, ground in pairs:
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


async def test_long_pages_and_answers_are_written_in_a_thread(server: Server, monkeypatch):
    """Of an instance with ten thousand steps it takes seconds, and every other instance would stand still."""
    await server.create("nasty", "x-1")
    await server.reached("nasty", "x-1", "errored")
    threads: dict[str, int] = {}

    def watched(module: Any, name: str) -> None:
        whole = getattr(module, name)

        def noting(*args: Any, **kwargs: Any) -> Any:
            threads[name] = threading.get_ident()
            return whole(*args, **kwargs)

        monkeypatch.setattr(module, name, noting)

    for module, name in (
        (views, "step_infos"), (serializers, "instance_shape"), (pages, "instance_page"), (api_http, "plain_json"),
    ):  # fmt: skip
        watched(module, name)
    for url in ("/__workflows/nasty/x-1", "/__workflows/nasty/x-1?format=json", f"{API}/nasty/instances/x-1"):
        assert (await server.http.get(url)).status_code == 200
        assert threading.get_ident() not in threads.values(), (url, threads)
    assert len(threads) == 4


def shown_steps(shown: Parsed) -> list[int]:
    ids = [one["id"] or "" for one in shown.attributes("tbody") if "id" in one]
    return [int(id.removeprefix("step-")) for id in ids]


async def follow(server: Server, shown: Parsed, label: str) -> Parsed:
    links = shown.attributes("a")
    labels = [word.strip() for word in shown.words if word.strip() in ("⇤ First", "← Earlier", "Later →", "Newest ⇥")]
    hrefs = [one["href"] or "" for one in links if (one["href"] or "").startswith("/__workflows/many/m-1")]
    return await page(server, dict(zip(labels, hrefs, strict=True))[label])


async def test_an_instance_shows_its_newest_steps_with_links_to_the_others(server: Server, monkeypatch):
    monkeypatch.setattr(pages, "SHOWN_STEPS", 4)
    await server.create("many", "m-1", 9)
    await server.reached("many", "m-1", "waiting")
    newest = await page(server, "/__workflows/many/m-1")
    assert shown_steps(newest) == [7, 8, 9, 10]
    assert "7 to 10 of 10 steps" in newest.text
    assert "data-live" in newest.attributes("main")[0]

    earlier = await follow(server, newest, "← Earlier")
    assert shown_steps(earlier) == [3, 4, 5, 6]
    assert "data-live" not in earlier.attributes("main")[0]
    earliest = await follow(server, earlier, "← Earlier")
    assert shown_steps(earliest) == [1, 2]
    assert shown_steps(await follow(server, earliest, "Later →")) == [3, 4, 5, 6]

    first = await follow(server, newest, "⇤ First")
    assert shown_steps(first) == [1, 2, 3, 4]
    later = await follow(server, first, "Later →")
    assert (shown_steps(later), shown_steps(await follow(server, later, "Newest ⇥"))) == ([5, 6, 7, 8], [7, 8, 9, 10])
    assert "None is left here." in (await page(server, "/__workflows/many/m-1?order=asc&cursor=10")).text

    data = (await server.http.get("/__workflows/many/m-1?format=json")).json()
    assert ([step["seq"] for step in data["steps"]], data["cursor"]) == ([10, 9, 8, 7], "7")


async def test_a_page_of_all_steps_has_no_links_to_others(server: Server):
    await server.create("nap", "n-1")
    await server.reached("nap", "n-1", "waiting")
    shown = await page(server, "/__workflows/nap/n-1")
    assert not [one for one in shown.attributes("nav") if one.get("aria-label") == "Pages of steps"]


async def test_an_output_of_which_only_the_beginning_is_shown_is_linked_whole(server: Server, monkeypatch):
    monkeypatch.setattr(pages, "SHOWN_STEP_CHARS", 100)
    await server.create("outputs", "o-1")
    await server.reached("outputs", "o-1", "complete")
    shown = await page(server, "/__workflows/outputs/o-1")
    [link] = [one["href"] or "" for one in shown.attributes("a") if "/step?" in (one["href"] or "")]
    assert (await server.http.get(link)).json()["result"]["output"] == "x" * 5000


async def test_a_step_inside_a_step_names_the_outer_one(server: Server):
    url = await server.create("nested", "n-1")
    outer, inner = (await server.reached("nested", "n-1", "complete"))["steps"]
    assert (outer["parent"], inner["parent"]) == (None, outer["seq"])
    shown = await page(server, url.replace(API, "/__workflows").replace("/instances", ""))
    assert "inside step #1" in shown.text
    assert [one["href"] for one in shown.attributes("a")].count("#step-1") == 1
    assert shown.attributes("tbody")[0]["id"] == "step-1"


async def test_an_instance_with_a_child_and_one_that_rolls_back_are_shown(server: Server):
    await server.create("family", "f-1")
    await server.reached("family", "f-1", "errored")
    shown = await page(server, "/__workflows/family/f-1")
    assert "workflow" in shown.text
    assert "rollback" in shown.text
