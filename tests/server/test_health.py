"""`GET /__workflows/-/health` and the inspector say what keeps the engine from working, and when that is over."""

from __future__ import annotations

import asyncio

from serving import Server

from everstep.core.errors import StoreUnavailableError

FULL = "the database has no room left: the disk is full"


async def test_an_engine_that_works_is_healthy(server: Server):
    answer = await server.http.get("/__workflows/-/health")
    assert answer.status_code == 200
    assert answer.json() == {
        "ok": True, "reason": None, "database": "sqlite", "in_memory": 0, "worker": None,
        "lost_threads": 0, "warning": None,
    }  # fmt: skip
    assert (await server.http.get("/__workflows?format=json")).json()["reason"] is None
    assert "Nothing is written" not in (await server.http.get("/__workflows")).text


async def test_a_full_disk_is_told_until_there_is_room(server: Server, monkeypatch):
    group = server.es._store._group
    with monkeypatch.context() as full:

        def refuse(_):
            raise StoreUnavailableError(FULL)

        full.setattr(group, "_commit", refuse)
        created = asyncio.create_task(server.es.workflow("echo").create(id="e"))
        while (answer := await server.http.get("/__workflows/-/health")).status_code == 200:
            await asyncio.sleep(0.01)
        assert (answer.status_code, answer.json()["ok"], answer.json()["reason"]) == (503, False, FULL)
        shown = (await server.http.get("/__workflows")).text
        assert f"Nothing is written at the moment: </strong>{FULL}" in shown
    await created
    assert (await server.http.get("/__workflows/-/health")).status_code == 200
