-- What tells calls of one name apart when a history is replayed, a digest of their arguments; and the version of Python
-- that began an instance's history: another one may order asyncio's callbacks otherwise.
alter table step add column digest integer;
alter table instance add column python text;
