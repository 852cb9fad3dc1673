"""A release that brings the schema further starts while workers of the release before are at work."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from everstep.core.errors import SchemaVersionError
from everstep.store.postgres import schema as schema_module
from everstep.store.postgres.statements import in_schema, load_scripts
from everstep.store.postgres.store import PostgresStore

pytestmark = pytest.mark.crash

_NEXT = """
-- The sort of thing a later release adds: columns that may be left out, an index, a table.
alter table everstep.instance add column priority integer not null default 0;
alter table everstep.step add column note text;
alter table everstep.event add column sender text;
create index instance_priority on everstep.instance (priority) where priority > 0;
create table everstep.deployment (id bigint generated always as identity primary key, version text not null);
"""


async def test_workers_of_the_release_before_go_on_while_a_new_one_migrates(fleet, monkeypatch: pytest.MonkeyPatch):
    async with fleet.client() as client:
        await fleet.worker()
        params = {"steps": 30, "seconds": 0.03}
        chains = [await client.workflow("chain").create(id=f"c{n}", params=params) for n in range(10)]
        approval = await client.workflow("approval").create(id="a")
        await fleet.noted(50)
        with monkeypatch.context() as newer:
            newer.setattr(schema_module, "load_scripts", _scripts_of_the_next_release)
            store = PostgresStore(fleet.database)
            await store.open()
            assert (await store.find("chain", "c0")) is not None
        # What was running goes on, and what is new begins: parked, woken, created, terminated by the older code.
        for payload in (1, 2):
            await approval.send_event(type="go", payload=payload)
        assert await approval.result("20 seconds") == [1, 2]
        chains.append(await client.workflow("chain").create(id="later", params=params))
        ended = await client.workflow("chain").create(id="ended", params=params)
        await ended.terminate()
        pids = set(await asyncio.gather(*(one.result("30 seconds") for one in chains)))
        assert pids == {worker.pid for worker in fleet.processes}
        await store.close()
    calls = Counter(what for _, _, what in fleet.notes if not what.startswith("ended "))
    assert len(calls) == 330
    assert set(calls.values()) == {1}
    with pytest.raises(SchemaVersionError, match=rf"newer than the {len(load_scripts('everstep'))} "):
        await PostgresStore(fleet.database).open()


def _scripts_of_the_next_release(schema: str) -> list[str]:
    return [*load_scripts(schema), in_schema(_NEXT, schema)]
