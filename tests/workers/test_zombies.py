"""A worker that comes back to life after others took its instances over leaves no mark on them."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import asyncpg
import pytest

from everstep import Everstep, WorkflowEntrypoint
from everstep.store.postgres.store import PostgresStore
from postgres_server import PostgresServer
from proxies import Proxy

from .conftest import Fleet

pytestmark = pytest.mark.crash

CHAIN = {"steps": 40, "seconds": 0.05}
began: list[str] = []


class Once(WorkflowEntrypoint[Any, Any]):
    async def run(self, event: Any, step: Any) -> Any:
        return await step.do("once", self.once)

    async def once(self) -> int:
        began.append("once")
        return 1


_AUDIT = """
create table audit (
  id bigint generated always as identity, who text not null, what text not null, instance bigint not null,
  attempt integer, position bigint, at timestamptz not null default clock_timestamp());
create function audited() returns trigger language plpgsql as $$
begin
  insert into {schema}.audit (who, what, instance, attempt, position)
  values (session_user, tg_table_name || ' ' || tg_op,
          coalesce((to_jsonb(new) ->> 'instance')::bigint, (to_jsonb(new) ->> 'pk')::bigint),
          (to_jsonb(new) ->> 'attempt')::integer, (to_jsonb(new) ->> 'position')::bigint);
  return null;
end $$;
create trigger audited after insert or update on instance for each row execute function audited();
create trigger audited after insert or update on step for each row execute function audited();
create trigger audited after insert or update on attempt for each row execute function audited();
create trigger audited after insert or update on status_event for each row execute function audited();
"""


@pytest.mark.parametrize("how", ["stopped", "cut off"])
async def test_after_the_takeover_no_row_carries_anything_of_the_zombies(fleet: Fleet, how: str):
    url, schema = fleet.database.split("?schema=")
    admin = await asyncpg.connect(url)
    await admin.execute("drop role if exists zombie; create role zombie superuser login")
    proxy = Proxy(int(url.rsplit(":", 1)[1].split("/", maxsplit=1)[0]))
    try:
        async with fleet.client() as client:
            await admin.execute(f"set search_path to {schema}; " + _AUDIT.format(schema=schema))
            others = fleet.database
            fleet.database = others.replace("everstep@", "zombie@").replace(
                f":{_port(others)}/", f":{proxy.port if how == 'cut off' else _port(others)}/"
            )
            zombie = await fleet.worker()
            fleet.database = others
            chains = [await client.workflow("chain").create(id=f"c{n}", params=CHAIN) for n in range(5)]
            await fleet.noted(20)
            if how == "stopped":
                os.kill(zombie.pid, signal.SIGSTOP)
            else:  # what it sends from now on arrives when it is over
                proxy.hold()
            second = await fleet.worker()
            await fleet.noted(20, by=second)
            if how == "stopped":
                os.kill(zombie.pid, signal.SIGCONT)
            else:
                proxy.heal()
            assert set(await asyncio.gather(*(one.result("30 seconds") for one in chains))) == {second.pid}
        audit = await admin.fetch("select * from audit order by id")
        _check(audit)
    finally:
        await admin.close()
        await fleet.end()
        await asyncio.to_thread(proxy.close)


async def test_no_attempt_begins_while_nobody_knows_whose_the_instance_is(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
):
    began.clear()
    store = PostgresStore(postgres_server.empty_schema(), lease_ms=3_000)
    async with Everstep([Once], database="", store=store) as es:
        heartbeat, heard = store.heartbeat, asyncio.Event()

        async def late(*arguments: Any) -> Any:
            await heard.wait()
            return await heartbeat(*arguments)

        monkeypatch.setattr(store, "heartbeat", late)
        await asyncio.sleep(3)  # as long as its lease
        instance = await es.workflow(Once).create()
        await asyncio.sleep(0.3)
        assert began == []
        heard.set()
        assert await instance.result("5 seconds") == 1
    assert began == ["once"]


def _check(audit: list[Any]) -> None:
    assert {row["who"] for row in audit} == {"zombie", "everstep"}
    for instance in {row["instance"] for row in audit}:
        writers = [row["who"] for row in audit if row["instance"] == instance]
        # Created by the client, worked on by the zombie, and from the takeover on by nobody but its successor.
        taken_over = len(writers) - writers[::-1].index("zombie")
        assert "zombie" not in writers[taken_over:]
        assert all(who == "zombie" for who in writers[writers.index("zombie") : taken_over]), writers
        steps = [row for row in audit if row["instance"] == instance and row["what"].startswith("step")]
        positions = [row["position"] for row in steps if row["what"] == "step INSERT"]
        assert positions == sorted(set(positions))


def _port(url: str) -> str:
    return url.rsplit(":", 1)[1].split("/", maxsplit=1)[0]
