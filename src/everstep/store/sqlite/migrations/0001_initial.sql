-- The first schema: instances, the steps they took, the attempts that failed, the events that wait for them.
-- Times are whole milliseconds since 1970. Values and errors are JSON text.

-- One row per instance. `due_at` is the promise of liveness: whatever goes on by itself has one, and the claim finds it.
-- A running row without `due_at` is owned by the engine that runs; after a crash that is how it is recognised.
-- Keys are never used again: what a deleted instance left in memory, or as the parent of others, is nobody else's.
create table instance (
  pk integer primary key autoincrement,
  workflow text not null,
  id text not null,
  status text not null,
  due_at integer,
  created_at integer not null,
  started_at integer,
  ended_at integer,
  paused_at integer,
  recoveries integer not null default 0,
  recovered_position integer not null default -1,
  "trigger" text not null,
  version text,
  parent integer,
  tags text,
  keep_success integer,
  keep_errors integer,
  expires_at integer,
  ended_position integer,
  rollback text,
  params text,
  output text,
  error text,
  unique (workflow, id)
);

create index instance_due on instance (due_at) where due_at is not null;

-- What maintenance may delete, and the children of a parent.
create index instance_expiry on instance (expires_at) where expires_at is not null;

create index instance_parent on instance (parent) where parent is not null;

create index instance_owned on instance (status) where status in ('running', 'waitingForPause');

-- One row per step, written when it ends; earlier only when an attempt lasts, fails, sleeps or waits.
-- A rowid table with a narrow index: rows of many instances land on one hot page.
create table step (
  rowid integer primary key,
  instance integer not null,
  seq integer not null,
  kind text not null,
  name text not null,
  count integer not null,
  state text not null,
  attempt integer not null,
  started_at integer not null,
  attempt_at integer,
  ended_at integer,
  wake_at integer,
  absolute integer not null,
  event_type text,
  child text,
  compensable integer not null,
  sensitive integer not null,
  config text,
  result text,
  error text,
  position integer,
  ended_position integer
);

create unique index step_key on step (instance, seq);

create index step_open on step (instance) where state in ('running', 'retrying', 'waiting');

-- One row per failed attempt.
create table attempt (
  instance integer not null,
  seq integer not null,
  attempt integer not null,
  started_at integer not null,
  ended_at integer not null,
  error text not null,
  retry_at integer,
  position integer,
  primary key (instance, seq, attempt)
) without rowid;

-- Events that no wait has taken yet. Ids are never used again, so that one seen twice is known.
create table event (
  id integer primary key autoincrement,
  instance integer not null,
  type text not null,
  payload text,
  created_at integer not null
);

create index event_instance on event (instance);

-- Tags of instances, for finding them.
create table tag (
  workflow text not null,
  tag text not null,
  instance integer not null,
  primary key (workflow, tag, instance)
) without rowid;

create index tag_instance on tag (instance);

-- What happened to an instance that no other row tells: that it waited, ran again, was paused. Together with the
-- positions of steps and attempts these are the events that subscribers see, in the order they were written.
create table milestone (
  position integer primary key,
  instance integer not null,
  type text not null,
  at integer not null
);

create index milestone_instance on milestone (instance);

-- The bytes of results that are streams.
create table chunk (
  instance integer not null,
  seq integer not null,
  attempt integer not null,
  number integer not null,
  bytes blob not null,
  primary key (instance, seq, attempt, number)
) without rowid;

-- The highest position given out, in blocks: every process starts a block of its own.
create table counter (
  block integer not null
);

-- One row, also where somebody runs this by hand a second time.
insert into counter select 0 where not exists (select 1 from counter);
