"""The engine's metrics over HTTP."""

from __future__ import annotations

from serving import Server


async def test_every_limit_is_shown_with_how_full_it_is(server: Server):
    answer = await server.http.get("/__workflows/-/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = dict(line.split(" ") for line in answer.text.splitlines() if not line.startswith("#"))
    assert lines["everstep_running_limit"] == "10000"
    assert lines["everstep_creating_waiting"] == "0"
    assert {name.removesuffix("_limit").removesuffix("_waiting") for name in lines} == {
        "everstep_running", "everstep_resident", "everstep_creating", "everstep_threads",
    }  # fmt: skip
