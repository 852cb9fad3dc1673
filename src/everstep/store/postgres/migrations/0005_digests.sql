-- What tells calls of one name apart when a history is replayed, a digest of their arguments; and the version of Python
-- that began an instance's history: another one may order asyncio's callbacks otherwise. The steps of a restarted instance
-- have other idempotency keys: `restarts` is part of them.
alter table everstep.step add column digest bigint;
alter table everstep.instance add column python text;
alter table everstep.instance add column restarts integer not null default 0;
