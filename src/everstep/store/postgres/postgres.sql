-- name: write_steps
-- The write of every step: check the fencing token, lock the instances this worker still owns, write to their journals.
with fence as materialized (
  update everstep.writer
     set last_txn = $4
   where worker = $1 and number = $2 and epoch = $3 and last_txn < $4
  returning worker
), mine as materialized (
  select pk
    from everstep.instance
   where pk = any ($5::bigint[]) and owner = $1 and exists (select from fence)
   order by pk
     for key share
), base as materialized (
  select (nextval('everstep.position') << 20) + 0 * count(*) as at from mine
), written as (
  {steps}
)
select exists (select from fence) as stands, array (select pk from mine) as mine

-- name: write_group
-- The same for everything a batch may write: journals, failed attempts, consumed events, transitions, new instances.
-- A pause requested meanwhile wins over waiting and running; a pause taken back loses; an ended instance stays ended. A
-- child is created while its parent is owned and running. If the parent is being paused, the child is created paused.
with fence as materialized (
  update everstep.writer
     set last_txn = $4
   where worker = $1 and number = $2 and epoch = $3 and last_txn < $4
  returning worker
), mine as materialized (
  select pk, status
    from everstep.instance
   where pk = any ($5::bigint[]) and owner = $1 and exists (select from fence)
   order by pk
     for no key update
), base as materialized (
  select (nextval('everstep.position') << 20) + 0 * count(*) as at from mine
), written as (
  {steps}
), failed as (
  insert into everstep.attempt (instance, seq, attempt, started_at, ended_at, error, retry_at, position)
  select a.instance, a.seq, a.attempt, a.started_at, a.ended_at, a.error, a.retry_at, base.at + a.position
    from unnest($33::bigint[], $34::integer[], $35::integer[], $36::bigint[], $37::bigint[], $38::text[], $39::bigint[],
                $40::bigint[])
           as a (instance, seq, attempt, started_at, ended_at, error, retry_at, position)
         join mine on mine.pk = a.instance
         cross join base
  on conflict (instance, seq, attempt) do update
     set started_at = excluded.started_at,
         ended_at = excluded.ended_at,
         error = excluded.error,
         retry_at = excluded.retry_at,
         position = excluded.position
), dropped as (
  delete from everstep.chunk as c
   using unnest($33::bigint[], $34::integer[], $35::integer[]) as a (instance, seq, attempt), mine
   where mine.pk = a.instance and c.instance = a.instance and c.seq = a.seq and c.attempt = a.attempt
), consumed as (
  delete from everstep.event as e
   using unnest($41::bigint[], $42::bigint[]) as c (instance, id), mine
   where mine.pk = c.instance and e.instance = c.instance and e.id = c.id
), transitions as materialized (
  select m.*
    from unnest($43::bigint[], $44::text[], $45::bigint[], $46::text[], $47::text[], $48::bigint[], $49::bigint[],
                $50::text[], $51::bigint[], $52::bigint[])
           as m (pk, status, due_at, output, error, ended_at, expires_at, rollback, position, at)
         join mine on mine.pk = m.pk
), updated as (
  update everstep.instance as i
     set status = case
           when i.status = 'waitingForPause' and m.status in ('waiting', 'paused') then 'paused'
           when i.status = 'waitingForPause' and m.status = 'running' then 'waitingForPause'
           when m.status = 'paused' then i.status
           else m.status
         end,
         due_at = case
           when i.status = 'waitingForPause' then null
           when m.status = 'paused' then i.due_at
           else m.due_at
         end,
         owner = case when i.status = 'waitingForPause' and m.status in ('waiting', 'paused') then null else i.owner end,
         output = m.output,
         error = m.error,
         ended_at = m.ended_at,
         expires_at = m.expires_at,
         rollback = m.rollback,
         ended_position = case when m.ended_at is not null then base.at + m.position end
    from transitions as m cross join base
   where i.pk = m.pk and i.ended_at is null
     and (m.ended_at is not null or i.status in ('running', 'waiting', 'waitingForPause'))
  returning i.pk, i.status
), emitted as (
  insert into everstep.status_event (instance, position, type, at)
  select m.pk, base.at + m.position, 'workflow_' || m.status, m.at
    from transitions as m join updated on updated.pk = m.pk and updated.status = m.status
         cross join base
   where m.ended_at is null
), inserts as (
  select n.*, coalesce(p.status = 'waitingForPause', false) as paused
    from unnest($53::text[], $54::text[], $55::bigint[], $56::boolean[], $57::bigint[], $58::text[], $59::text[],
                $60::text[], $61::bigint[], $62::text[], $63::bigint[], $64::bigint[])
           with ordinality
           as n (workflow, id, nonce, owned, created_at, trigger, version, params, parent, tags, success_retention_ms,
                 error_retention_ms, turn)
         left join mine as p on p.pk = n.parent
   where exists (select from fence)
     and (n.parent is null or p.status in ('running', 'waiting', 'waitingForPause'))
), created as (
  insert into everstep.instance (workflow, id, nonce, status, due_at, owner, created_at, started_at, paused_at, "trigger",
                                 version, params, parent, tags, success_retention_ms, error_retention_ms, python)
  select b.workflow, b.id, b.nonce,
         case when b.paused then 'paused' when b.owned then 'running' else 'queued' end,
         case when not (b.owned or b.paused) then b.created_at end,
         case when b.owned and not b.paused then $1 end,
         b.created_at,
         case when b.owned and not b.paused then b.created_at end,
         case when b.paused then b.created_at end,
         b.trigger, b.version, b.params, b.parent, b.tags, b.success_retention_ms, b.error_retention_ms,
         case when b.owned and not b.paused then '{python}' end
    from inserts as b
   order by b.turn
  on conflict (workflow, id) do nothing
  returning pk, nonce, workflow, tags, status
), tagged as (
  insert into everstep.tag (instance, workflow, tag)
  select created.pk, created.workflow, tag
    from created cross join json_array_elements_text(created.tags::json) as tag
   where created.tags is not null
  on conflict do nothing
)
select exists (select from fence) as stands,
       array (select pk from mine) as mine,
       array (select pk from mine where status in ('running', 'waiting', 'waitingForPause')) as at_work,
       array (select nonce from created) as nonces,
       array (select pk from created) as pks,
       array (select nonce from created where status = 'paused') as paused

-- name: steps
-- A later state of a step replaces what may change of it. A position is where subscribers see that it began, and ended.
insert into everstep.step (instance, {step}, position, ended_position)
select s.instance, {s_step}, base.at + s.position, base.at + s.ended_position
  from unnest($6::bigint[], $7::integer[], $8::text[], $9::text[], $10::integer[], $11::text[], $12::integer[],
              $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::boolean[], $18::text[], $19::text[],
              $20::boolean[], $21::boolean[], $22::text[], $23::text[], $24::text[], $25::integer[], $26::integer[],
              $27::integer[], $28::integer[], $29::integer[], $30::bigint[], $31::bigint[],
              $32::bigint[])
         as s (instance, {step}, position, ended_position)
       join mine on mine.pk = s.instance
       cross join base
on conflict (instance, seq) do update
   set state = excluded.state,
       attempt = excluded.attempt,
       attempt_at = excluded.attempt_at,
       ended_at = excluded.ended_at,
       wake_at = excluded.wake_at,
       result = excluded.result,
       error = excluded.error,
       cancelled_after = excluded.cancelled_after,
       settlement = excluded.settlement,
       sent_after = excluded.sent_after,
       ended_position = excluded.ended_position

-- name: lock_in_order
-- Before a batch of several statements: locks in the order of keys cannot deadlock.
select pk from everstep.instance where pk = any ($1::bigint[]) order by pk for no key update

-- name: wake_if_satisfied
-- What parked while an event it waits for was on disk already, or a child it waits for had ended or was deleted, is due at
-- once: whoever brought that about found it at work. Of a child that was never created the step has no attempt.
update everstep.instance as i
   set due_at = 0
 where i.pk = any ($1::bigint[]) and i.status = 'waiting'
   and (exists (select
                  from everstep.event as e join everstep.step as s on s.instance = e.instance and s.event_type = e.type
                 where e.instance = i.pk and s.state in ('running', 'retrying', 'waiting') and s.kind = 'wait')
        or exists (select
                     from everstep.step as s
                          left join everstep.instance as c
                            on c.workflow = split_part(s.child, '/', 1) and c.id = split_part(s.child, '/', 2)
                               and c.parent = s.instance
                    where s.instance = i.pk and s.state in ('running', 'retrying', 'waiting') and s.kind = 'child'
                      and (c.ended_at is not null or (c.pk is null and s.attempt > 0))))

-- name: wake_parents
-- Those who wait for a child that has ended are due.
update everstep.instance set due_at = 0 where pk = any ($1::bigint[]) and status = 'waiting'

-- name: invalidate_owners
-- Invalidate instances that other workers own.
with changed as (
  insert into everstep.invalidation (worker, instance)
  select owner, pk
    from everstep.instance
   where pk = any ($1::bigint[]) and owner <> $2 and owner in (select id from everstep.worker)
  returning worker
)
select pg_notify('everstep_' || worker, '') from (select distinct worker from changed) as owners

-- name: insert_invalidation
-- Invalidate an instance at its owner.
with changed as (
  insert into everstep.invalidation (worker, instance)
  select id, $2 from everstep.worker where id = $1
  returning worker
)
select pg_notify('everstep_' || worker, '') from changed

-- name: insert_invalidations
-- Invalidate claimed instances at their former owners, without a notification; not at workers that are gone.
insert into everstep.invalidation (worker, instance)
select owner, pk
  from unnest($1::bigint[], $2::bigint[]) as taken (owner, pk)
 where owner in (select id from everstep.worker)

-- name: notify_due
-- Notify every worker that an instance is due which this one has no slot for.
select pg_notify('everstep_due', '')

-- name: read_back_owned
-- After a lost connection whose transaction was committed: which of its instances this worker owns.
select pk from everstep.instance where pk = any ($1::bigint[]) and owner = $2

-- name: read_back_created
-- The same for new instances, which are known by their nonces.
select n.nonce, i.pk, i.owner is not distinct from $4 as mine
  from unnest($1::text[], $2::text[], $3::bigint[]) as n (workflow, id, nonce)
       join everstep.instance as i on i.workflow = n.workflow and i.id = n.id and i.nonce = n.nonce

-- name: check_fencing_token
-- What a transaction of several statements begins with. The numbers are written into it, as `begin` and this are one
-- exchange, which takes no arguments.
update everstep.writer
   set last_txn = {txn}
 where worker = {worker} and number = {writer} and epoch = {epoch} and last_txn < {txn}

-- name: last_txn
-- The number of the writer's last committed transaction; waits for one that is still running.
select epoch, last_txn from everstep.writer where worker = $1 and number = $2 for update

-- name: skip_txn
-- Take the number after one that was not committed, so that it never will be.
update everstep.writer
   set last_txn = $4 + 1
 where worker = $1 and number = $2 and epoch = $3 and last_txn < $4
returning last_txn

-- name: which_database
-- What no other database answers, through a pooler either: when its server started, and its number there.
select pg_postmaster_start_time(), oid from pg_catalog.pg_database where datname = current_database()

-- name: register_worker
-- Begin a life; ids are never used again.
insert into everstep.worker (lease_until, host, pid, version)
values (clock_timestamp() + $1::bigint * interval '1 millisecond', $2, $3, $4)
returning id, epoch

-- name: insert_writers
insert into everstep.writer (worker, number, epoch) select $1, n, $2 from generate_series(1, $3::integer) as n

-- name: delete_writers
-- On shutdown: without its writers' rows, a late transaction of this worker fails the fence.
delete from everstep.writer where worker = $1

-- name: expire_own_lease
-- On shutdown: a worker that still owns instances may be taken over at once.
update everstep.worker set lease_until = '-infinity', epoch = epoch + 1 where id = $1

-- name: delete_worker
delete from everstep.worker as w
 where w.id = $1
   and not exists (select from everstep.instance where owner = $1 and status in ('running', 'waitingForPause'))

-- name: delete_invalidations
delete from everstep.invalidation where worker = $1

-- name: heartbeat
-- The only statement of an idle worker. It renews the lease if a third of it is gone, deletes the invalidations that were
-- acted on, and returns the others, the database's time, the next due time, the workers with expired leases, and which
-- instances that somebody here waits for have ended. Reading an invalidation deletes nothing: the answer may be lost.
with renewed as (
  update everstep.worker
     set lease_until = clock_timestamp() + $3::bigint * interval '1 millisecond'
   where id = $1 and epoch = $2 and lease_until < clock_timestamp() + $3::bigint * interval '1 millisecond' * 2 / 3
), acknowledged as (
  delete from everstep.invalidation where worker = $1 and id = any ($6::bigint[])
), pending as materialized (
  select id, instance from everstep.invalidation where worker = $1 and id <> all ($6::bigint[])
)
select exists (select from everstep.worker where id = $1 and epoch = $2) as stands,
       (extract(epoch from clock_timestamp()) * 1000)::bigint as now,
       array (select distinct instance from pending) as changed,
       array (select id from pending) as change_ids,
       (select due_at
          from everstep.instance
         where due_at is not null and workflow || '' = any ($4::text[])
         order by due_at
         limit 1) as next_due,
       array (select id from everstep.worker where lease_until < clock_timestamp() and id <> $1) as expired_workers,
       (select count(*) from everstep.worker) as workers,
       array (select w.pk
                from unnest($5::bigint[]) as w (pk) left join everstep.instance as i on i.pk = w.pk
               where i.pk is null or i.ended_at is not null) as ended

-- name: fence_workers
-- Raise the epoch of some workers whose leases have expired. This waits for their transactions in flight; later ones find
-- no writer of their epoch. The lease is extended for a moment, so that other workers leave the takeover to this one.
with mine as materialized (
  select id
    from everstep.worker
   where id = any ($1::bigint[]) and lease_until < clock_timestamp()
   order by lease_until, id
   limit $2
     for update skip locked
), fenced_workers as (
  update everstep.worker as w
     set epoch = w.epoch + 1, lease_until = clock_timestamp() + $3::bigint * interval '1 millisecond'
    from mine
   where w.id = mine.id
  returning w.id
), fenced as (
  update everstep.writer as l
     set epoch = l.epoch + 1
    from fenced_workers
   where l.worker = fenced_workers.id
)
select id from fenced_workers

-- name: expired_workers
select id from everstep.worker where lease_until < clock_timestamp()

-- name: take_over_pausing
-- A pause that was promised holds: nothing is in flight any more.
update everstep.instance
   set status = 'paused', owner = null
 where owner = any ($1::bigint[]) and status in ('running', 'waitingForPause') and status = 'waitingForPause'

-- name: take_over_running
-- Make instances of dead workers due, and count the recovery: from 1 again wherever the journal has grown since.
with dead as materialized (
  select pk
    from everstep.instance
   where owner = any ($1::bigint[]) and status in ('running', 'waitingForPause') and status = 'running'
     and due_at is null
   limit $3
     for update skip locked
), p as materialized (
  select d.pk,
         coalesce(sum(2 * s.attempt + 1 + (s.state = 'retrying')::integer + 2 * (s.ended_at is not null)::integer), 0)
           as position
    from dead as d left join everstep.step as s on s.instance = d.pk
   group by d.pk
)
update everstep.instance as i
   set due_at = $2,
       owner = null,
       recoveries = case when i.progress_at_recovery = p.position then i.recoveries + 1 else 1 end,
       progress_at_recovery = p.position
  from p
 where i.pk = p.pk
returning i.pk

-- name: release_running
-- A clean stop gives its instances back without counting anything.
update everstep.instance
   set due_at = $1, owner = null
 where owner = $2 and status in ('running', 'waitingForPause') and status = 'running' and due_at is null

-- name: peek
-- Whether anything is due at all, before a claim locks anything.
select due_at
  from everstep.instance
 where due_at is not null and workflow || '' = any ($1::text[])
 order by due_at
 limit 1

-- name: due_instances
-- Instances whose time has come, the longest due first. Those that may be in another worker's memory are left to it for
-- a moment: it wakes them without a replay.
-- `workflow || ''` is by no index: the one of what is due holds what is still to come only, and as long as the planner
-- knows nothing of sizes it would rather look at every instance the workflow ever had.
select pk, owner
  from everstep.instance
 where due_at <= $1 and workflow || '' = any ($2::text[])
   and (owner is null or owner = $4 or due_at <= $1 - {grace_ms}
        or not exists (select from everstep.worker where id = owner))
 order by due_at, pk
 limit $3
   for update skip locked

-- name: due_resumed_first
-- The same for a workflow with a limit: those that ran before go before those that never did.
select pk, owner
  from everstep.instance
 where due_at <= $1 and workflow || '' = any ($2::text[])
   and (owner is null or owner = $4 or due_at <= $1 - {grace_ms}
        or not exists (select from everstep.worker where id = owner))
 order by started_at is null, due_at, pk
 limit $3
   for update skip locked

-- name: claim_instances
-- Take instances: from here on they are running and this worker's.
update everstep.instance
   set status = 'running', due_at = null, owner = $3,
       started_at = coalesce(started_at, $1),
       python = coalesce(python, '{python}')
 where pk = any ($2::bigint[])
returning {instance}

-- name: insert_claim_status_events
with base as materialized (
  select nextval('everstep.position') << 20 as at
)
insert into everstep.status_event (instance, position, type, at)
select c.pk, base.at + c.turn, 'workflow_running', $2
  from unnest($1::bigint[]) with ordinality as c (pk, turn) cross join base

-- name: lock_owned
-- Keep an instance this worker's while a piece of a stream is written.
select pk from everstep.instance where pk = $1 and owner = $2 for key share

-- name: lock_instance
-- Whoever changes an instance from outside has it to itself; what its owner has in flight comes before.
select {instance}, owner from everstep.instance where workflow = $1 and id = $2 for update

-- name: lock_with_parent
-- The same for one whose parent is emitted of it: whoever locks several locks them in this order.
with one as materialized (
  select pk, parent from everstep.instance where workflow = $1 and id = $2
)
select {instance}, owner
  from everstep.instance
 where pk in (select pk from one union all select parent from one)
 order by pk
   for update

-- name: lock_descendants
-- Of the children of an instance, and theirs, those that have not ended: what is done to it reaches them. Whoever creates
-- a child holds its parent's row, so that of an instance that is locked all children are seen by the next statement.
with recursive family (pk) as (
  select pk from everstep.instance where parent = $1
  union
  select i.pk from everstep.instance as i join family on i.parent = family.pk
)
select {instance}, owner
  from everstep.instance
 where pk in (select pk from family) and ended_at is null
 order by pk
   for update

-- name: find_instance
select {instance} from everstep.instance where workflow = $1 and id = $2

-- name: lines_of
select {line} from everstep.instance where pk = any ($1::bigint[])

-- name: instance_by_pk
select {instance} from everstep.instance where pk = $1

-- name: find_with_owner
-- An instance and who owns it.
select {instance}, owner from everstep.instance where pk = $1

-- name: list_owned
-- What a worker should have in memory.
select pk, status
  from everstep.instance
 where owner = $1 and status in ('running', 'waitingForPause') and due_at is null

-- name: list_instances
-- Newest first, without values; `cursor` is the pk of the last one seen.
select {line}
  from everstep.instance
 where workflow = $1 and ($2::text is null or status = $2) and pk < coalesce($3::bigint, 9223372036854775807)
 order by pk desc
 limit $4

-- name: list_tagged
select {line}
  from everstep.instance
 where pk in (select instance from everstep.tag where workflow = $1 and tag = $5)
   and ($2::text is null or status = $2) and pk < coalesce($3::bigint, 9223372036854775807)
 order by pk desc
 limit $4

-- name: descendants_of
-- The children of an instance, and theirs.
with recursive family (pk) as (
  select pk from everstep.instance where parent = $1
  union
  select i.pk from everstep.instance as i join family on i.parent = family.pk
)
select {instance} from everstep.instance where pk in (select pk from family) order by pk

-- name: count_instances
select workflow, status, count(*) from everstep.instance group by workflow, status

-- name: count_due
-- Instances that could go on, if some worker had a place for them.
select count(*) from everstep.instance where due_at <= $1 and workflow || '' = any ($2::text[])

-- name: unclaimable
-- Live instances of workflows that nobody here runs.
select workflow, count(*)
  from everstep.instance
 where due_at is not null and workflow || '' <> all ($1::text[])
 group by workflow

-- name: steps_of
select instance, {step} from everstep.step where instance = any ($1::bigint[]) order by instance, seq

-- name: steps_between
-- The steps with the beginnings of their results, which may be a gigabyte together, or with all of them.
select instance, {cut_step}
  from everstep.step
 where instance = $1 and seq between $2 and coalesce($3::int, 2147483647)
 order by seq

-- name: outline_of
-- What is read without touching the results.
select instance, {outline} from everstep.step where instance = $1 order by seq

-- name: attempts_between
select seq, attempt, started_at, ended_at, error, retry_at
  from everstep.attempt
 where instance = $1 and seq between $2 and coalesce($3::int, 2147483647)
 order by seq, attempt

-- name: events_of
select instance, id, type, payload, created_at
  from everstep.event
 where instance = any ($1::bigint[])
 order by id

-- name: chunks_of
select bytes
  from everstep.chunk
 where instance = $1 and seq = $2 and attempt = $3 and number >= $4
 order by number
 limit $5

-- name: status_events_after
select position, at, type, number from everstep.status_event where instance = $1 and position > $2 order by position

-- name: steps_after
select position, ended_position, {step}
  from everstep.step
 where instance = $1 and (position > $2 or ended_position > $2)

-- name: attempts_after
select position, seq, attempt, started_at, ended_at, error, retry_at
  from everstep.attempt
 where instance = $1 and position > $2

-- name: ended_position
select ended_position from everstep.instance where pk = $1

-- name: insert_event
-- Ids rise along an instance, as whoever sends holds its row. The one before tells whether its owner has heard of all.
insert into everstep.event (instance, type, payload, created_at)
values ($1, $2, $3, $4)
returning id, (select max(e.id) from everstep.event as e where e.instance = $1) as before

-- name: wake_for_event
-- An instance that waits for this type of event is due now.
update everstep.instance
   set due_at = least(due_at, $2)
 where pk = $1 and status = 'waiting'
   and exists (select
                 from everstep.step
                where instance = $1 and state in ('running', 'retrying', 'waiting')
                  and kind = 'wait' and event_type = $3)
returning pk

-- name: pause_instances
-- One at work with its owner is promised to be paused; any other one is, and belongs to nobody.
update everstep.instance
   set status = case when status = 'running' and due_at is null then 'waitingForPause' else 'paused' end,
       owner = case when status = 'running' and due_at is null then owner end,
       due_at = null,
       paused_at = $2
 where pk = any ($1::bigint[]) and status in ('queued', 'running', 'waiting')
returning pk, status

-- name: shift_timers
-- Move what was still to come by the time spent paused; a sleep until a moment stays where it is.
update everstep.step as s
   set wake_at = s.wake_at + greatest(0, $2 - i.paused_at)
  from everstep.instance as i
 where i.pk = any ($1::bigint[]) and i.ended_at is null
   and s.instance = i.pk and s.state in ('running', 'retrying', 'waiting') and not s.is_absolute
   and s.wake_at > i.paused_at

-- name: resume_instances
update everstep.instance
   set status = case when status = 'waitingForPause' then 'running' else 'queued' end,
       due_at = case when status <> 'waitingForPause' then $2::bigint end,
       owner = case when status = 'waitingForPause' then owner end,
       paused_at = null,
       ended_at = null,
       expires_at = null,
       ended_position = null,
       error = null
 where pk = any ($1::bigint[]) and status in ('paused', 'waitingForPause', 'errored')
returning pk, status

-- name: terminate_instances
update everstep.instance
   set status = 'terminated', due_at = null, owner = null, ended_at = $2, expires_at = $2 + success_retention_ms,
       ended_position = nextval('everstep.position') << 20
 where pk = any ($1::bigint[])

-- name: cancel_open_steps
update everstep.step
   set state = 'cancelled', ended_at = $2
 where instance = any ($1::bigint[]) and state in ('running', 'retrying', 'waiting')

-- name: begin_rollback
-- The marker under which a replay only gathers rollback handlers; its error is what they are emitted. There is one, and
-- a rollback under way keeps its reason.
insert into everstep.step (instance, seq, kind, name, count, state, attempt, started_at, is_absolute, compensable, sensitive,
                           error, position)
select $1, coalesce(max(seq) filter (where kind = 'rollback' and name = ''), max(seq) + 1, 1),
       'rollback', '', 1, 'running', 0, $2, false, false, false, $3, nextval('everstep.position') << 20
  from everstep.step
 where instance = $1
on conflict (instance, seq) do nothing

-- name: make_due
update everstep.instance set status = 'queued', due_at = $2, owner = null, paused_at = null where pk = $1

-- name: restart_instance
update everstep.instance
   set status = 'queued', due_at = $2, owner = null, started_at = null, ended_at = null, paused_at = null,
       recoveries = 0, progress_at_recovery = -1, restarts = restarts + 1,
       output = null, error = null, rollback = null, expires_at = null,
       ended_position = null, version = $3, python = $4
 where pk = $1

-- name: insert_status_events
-- Write status_events for subscribers.
insert into everstep.status_event (instance, position, type, at)
select t.pk, nextval('everstep.position') << 20, t.type, $3
  from unnest($1::bigint[], $2::text[]) as t (pk, type)

-- name: insert_restart_event
-- Events of the next life are numbered above this: a step makes at most five, an attempt two, an instance four.
insert into everstep.status_event (instance, position, type, at, number)
select $1, nextval('everstep.position') << 20, 'restarted', $2,
       4 + coalesce((select max(number) from everstep.status_event where instance = $1), 0)
       + (select count(*) from everstep.status_event where instance = $1)
       + 5 * (select count(*) from everstep.step where instance = $1)
       + 2 * (select count(*) from everstep.attempt where instance = $1)

-- name: delete_status_events_before_restart
delete from everstep.status_event
 where instance = $1
   and position < (select max(position) from everstep.status_event where instance = $1 and type = 'restarted')

-- name: insert_end_event
-- An end that is taken back stays among the events, or the numbers of all that follow would transitions.
insert into everstep.status_event (instance, position, type, at)
select pk, ended_position, 'workflow_' || status, ended_at
  from everstep.instance
 where pk = $1 and status = 'errored' and ended_position is not null

-- name: find_step
select seq from everstep.step where instance = $1 and kind = $2 and name = $3 and count = $4 and parent is null

-- name: delete_steps_from
-- What started at the step or after it, and whatever has not ended: its timers and waits begin anew.
delete from everstep.step
 where instance = $1 and (seq >= $2 or state not in ('complete', 'errored') or kind = 'rollback')

-- name: delete_orphaned_inner_steps
-- Steps of steps that are gone.
delete from everstep.step
 where instance = $1 and parent is not null and parent not in (select seq from everstep.step where instance = $1)

-- name: clear_order
-- What is left of the history has gaps: a step that is missing in it is no contradiction.
update everstep.step set sent_after = null where instance = $1

-- name: restore_events
-- Give events back that waits consumed which had been cancelled before.
insert into everstep.event (id, instance, type, payload, created_at) overriding system value
select e.id, e.instance, e.type, e.payload, e.created_at
  from unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[])
         as e (id, instance, type, payload, created_at)
on conflict (instance, id) do nothing

-- name: delete_attempts_from
delete from everstep.attempt
 where instance = $1 and seq not in (select seq from everstep.step where instance = $1)

-- name: delete_chunks_from
delete from everstep.chunk
 where instance = $1 and seq not in (select seq from everstep.step where instance = $1)

-- name: list_expired
-- Instances whose time is over. A child stays for as long as its parent has not ended, which may still want its result.
select pk
  from everstep.instance as i
 where expires_at <= $1
   and not exists (select from everstep.instance as p where p.pk = i.parent and p.ended_at is null)
 order by expires_at, pk
 limit $2
   for update skip locked

-- name: write_chunk
insert into everstep.chunk (instance, seq, attempt, number, bytes)
values ($1, $2, $3, $4, $5)
on conflict (instance, seq, attempt, number) do update set bytes = excluded.bytes

-- name: delete_other_chunks
delete from everstep.chunk where instance = $1 and seq = $2 and attempt <> $3

-- name: delete_steps
delete from everstep.step where instance = any ($1::bigint[])

-- name: delete_attempts
delete from everstep.attempt where instance = any ($1::bigint[])

-- name: delete_instance_events
delete from everstep.event where instance = any ($1::bigint[])

-- name: delete_status_events
delete from everstep.status_event where instance = any ($1::bigint[])

-- name: delete_chunks
delete from everstep.chunk where instance = any ($1::bigint[])

-- name: delete_tags
delete from everstep.tag where instance = any ($1::bigint[])

-- name: delete_instances
delete from everstep.instance where pk = any ($1::bigint[])
