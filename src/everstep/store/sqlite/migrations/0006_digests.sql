-- What tells calls of one name apart when a history is replayed, a digest of their arguments; and the version of Python
-- that began an instance's history: another one may order asyncio's callbacks otherwise. The steps of a restarted instance
-- have other idempotency keys: `restarts` is part of them.
alter table step add column digest integer;
alter table instance add column python text;
alter table instance add column restarts integer not null default 0;
