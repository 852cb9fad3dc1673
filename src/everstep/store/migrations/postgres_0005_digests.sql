-- What tells calls of one name apart when a history is replayed, a digest of their arguments; and the version of Python
-- that began an instance's history: another one may order asyncio's callbacks otherwise.
alter table everstep.step add column digest bigint;
alter table everstep.instance add column python text;
