-- name: create_instances
-- Create instances whose ids are free; the others are not in the answer.
insert into instance (workflow, id, status, due_at, created_at, started_at, "trigger", version, params, parent, tags,
                      success_retention_ms, error_retention_ms, python)
values {rows}
on conflict (workflow, id) do nothing
returning pk, workflow, id

-- name: create_children
-- The same for instances with a parent that is at work. Of one that is being paused they are inserts paused, and go on with
-- it; of one that was paused, ended, begun anew or deleted meanwhile there are none. A cross join: they are numbered in
-- the order they are given in.
with v (workflow, id, status, due_at, created_at, started_at, "trigger", version, params, parent, tags, success_retention_ms,
        error_retention_ms, python) as (values {rows})
insert into instance (workflow, id, status, due_at, created_at, started_at, paused_at, "trigger", version, params, parent,
                      tags, success_retention_ms, error_retention_ms, python)
select v.workflow,
       v.id,
       case when p.status = 'waitingForPause' then 'paused' else v.status end,
       case when p.status <> 'waitingForPause' then v.due_at end,
       v.created_at,
       case when p.status <> 'waitingForPause' then v.started_at end,
       case when p.status = 'waitingForPause' then v.created_at end,
       v."trigger", v.version, v.params, v.parent, v.tags, v.success_retention_ms, v.error_retention_ms,
       case when p.status <> 'waitingForPause' then v.python end
  from v cross join instance as p
 where p.pk = v.parent and p.status in ('running', 'waiting', 'waitingForPause')
on conflict (workflow, id) do nothing
returning pk, workflow, id, status

-- name: may_have_children
select 1 from instance where pk = ? and status in ('running', 'waiting', 'waitingForPause')

-- name: due_instances
-- Instances whose time has come, the longest due first. By their index, which holds what is still to come only: the
-- planner, which knows nothing of sizes, would rather look at every instance the workflow ever had.
select pk
  from instance indexed by instance_due
 where due_at <= ?1 and workflow in (select value from json_each(?2))
 order by due_at, pk
 limit ?3

-- name: due_resumed_first
-- The same for a workflow with a limit: those that ran before go before those that never did.
select pk
  from instance indexed by instance_due
 where due_at <= ?1 and workflow in (select value from json_each(?2))
 order by started_at is null, due_at, pk
 limit ?3

-- name: claim_instances
-- Take instances. From here on they are running and owned; a crash is emitted by the missing due_at.
update instance
   set status = 'running', due_at = null,
       started_at = coalesce(started_at, ?1),
       python = coalesce(python, '{python}')
 where pk in (select value from json_each(?2))
returning {instance}

-- name: next_due
-- When the next claim will find something.
select due_at
  from instance indexed by instance_due
 where due_at is not null and workflow in (select value from json_each(?1))
 order by due_at
 limit 1

-- name: recover_running
-- Make the instances of a dead owner due, and count the recovery: from 1 again wherever the journal has grown since.
update instance
   set due_at = ?1,
       recoveries = case when progress_at_recovery = p.position then recoveries + 1 else 1 end,
       progress_at_recovery = p.position
  from (select i.pk,
               coalesce(sum(2 * s.attempt + 1 + (s.state = 'retrying') + 2 * (s.ended_at is not null)), 0) as position
          from instance as i left join step as s on s.instance = i.pk
         where i.status in ('running', 'waitingForPause') and i.status = 'running' and i.due_at is null
         group by i.pk) as p
 where instance.pk = p.pk
returning instance.pk

-- name: recover_pausing
-- A pause that was promised holds: nothing is in flight any more.
update instance
   set status = 'paused'
 where status in ('running', 'waitingForPause') and status = 'waitingForPause'

-- name: list_owned
-- What should be in memory. What is running and due is about to be claimed.
select pk, status from instance where status in ('running', 'waitingForPause') and due_at is null

-- name: release_running
-- A clean stop gives its instances back without counting anything.
update instance
   set due_at = ?1
 where status in ('running', 'waitingForPause') and status = 'running' and due_at is null

-- name: find_instance
select {instance} from instance where workflow = ? and id = ?

-- name: list_instances
-- Newest first, without values; `cursor` is the pk of the last one seen.
select {line}
  from instance
 where workflow = ?1 and (?2 is null or status = ?2) and pk < coalesce(?3, 9223372036854775807)
 order by pk desc
 limit ?4

-- name: list_tagged
select {line}
  from instance
 where pk in (select instance from tag where workflow = ?1 and tag = ?5)
   and (?2 is null or status = ?2) and pk < coalesce(?3, 9223372036854775807)
 order by pk desc
 limit ?4

-- name: lines_of
select {line} from instance where pk in (select value from json_each(?1))

-- name: instance_by_pk
select {instance} from instance where pk = ?

-- name: descendants_of
-- The children of an instance, and theirs.
with recursive family (pk) as (
  select pk from instance where parent = ?1
  union
  select instance.pk from instance join family on instance.parent = family.pk
)
select {instance} from instance where pk in family order by pk

-- name: live_descendants_of
-- Of those, the ones that have not ended: what is done to an instance reaches them.
with recursive family (pk) as (
  select pk from instance where parent = ?1
  union
  select instance.pk from instance join family on instance.parent = family.pk
)
select {instance} from instance where pk in family and ended_at is null order by pk

-- name: wake_parents
-- Those who wait for a child that has ended are due.
update instance set due_at = 0 where pk in (select value from json_each(?1)) and status = 'waiting'

-- name: add_tag
insert or ignore into tag (workflow, tag, instance) values (?, ?, ?)

-- name: list_expired
-- Instances whose time is over. A child stays for as long as its parent has not ended, which may still want its result.
select pk
  from instance
 where expires_at <= ?1
   and not exists (select 1 from instance as p where p.pk = instance.parent and p.ended_at is null)
 order by expires_at, pk
 limit ?2

-- name: next_position_block
update position_allocator set block = block + 1 returning block

-- name: find_step
select seq from step where instance = ? and kind = ? and name = ? and count = ? and parent is null

-- name: delete_steps_from
-- What started at the step or after it, and whatever has not ended: its timers and waits begin anew.
delete from step where instance = ?1 and (seq >= ?2 or state not in ('complete', 'errored') or kind = 'rollback')

-- name: delete_orphaned_inner_steps
-- Steps of steps that are gone.
delete from step where instance = ?1 and parent is not null and parent not in (select seq from step where instance = ?1)

-- name: clear_order
-- What is left of the history has gaps: a step that is missing in it is no contradiction.
update step set sent_after = null where instance = ?1

-- name: delete_attempts_from
delete from attempt where instance = ?1 and seq not in (select seq from step where instance = ?1)

-- name: delete_chunks_from
delete from chunk where instance = ?1 and seq not in (select seq from step where instance = ?1)

-- name: begin_rollback
-- The marker under which a replay only gathers rollback handlers; its error is what they are emitted. There is one,
-- and a rollback under way keeps its reason.
insert into step (instance, seq, kind, name, count, state, attempt, started_at, is_absolute, compensable, sensitive, error, position)
select ?1, coalesce(max(seq) filter (where kind = 'rollback' and name = ''), max(seq) + 1, 1),
       'rollback', '', 1, 'running', 0, ?2, 0, 0, 0, ?3, ?4
  from step
 where instance = ?1
on conflict (instance, seq) do nothing

-- name: make_due
update instance set status = 'queued', due_at = ?2, paused_at = null where pk = ?1

-- name: write_chunk
insert or replace into chunk (instance, seq, attempt, number, bytes) values (?, ?, ?, ?, ?)

-- name: chunks_of
select bytes from chunk where instance = ?1 and seq = ?2 and attempt = ?3 and number >= ?4 order by number limit ?5

-- name: delete_other_chunks
delete from chunk where instance = ?1 and seq = ?2 and attempt <> ?3

-- name: delete_chunks_of
delete from chunk where instance = ?1 and seq = ?2 and attempt = ?3

-- name: status_events_after
select position, at, type, number from status_event where instance = ?1 and position > ?2 order by position

-- name: steps_after
select position, ended_position, {step}
  from step
 where instance = ?1 and (position > ?2 or ended_position > ?2)

-- name: attempts_after
select position, seq, attempt, started_at, ended_at, error, retry_at
  from attempt
 where instance = ?1 and position > ?2

-- name: ended_position
select ended_position from instance where pk = ?

-- name: count_instances
select workflow, status, count(*) from instance group by workflow, status

-- name: count_due
-- Instances that could go on, if somebody had a place for them.
select count(*)
  from instance indexed by instance_due
 where due_at <= ?1 and workflow in (select value from json_each(?2))

-- name: unclaimable
-- Live instances of workflows that nobody here runs.
select workflow, count(*)
  from instance indexed by instance_due
 where due_at is not null and workflow not in (select value from json_each(?1))
 group by workflow

-- name: steps_of
select instance, {step}
  from step
 where instance in (select value from json_each(?1))
 order by instance, seq

-- name: steps_between
-- The steps with the beginnings of their results, which may be a gigabyte together, or with all of them.
select instance, {cut_step}
  from step
 where instance = ?1 and seq between ?2 and coalesce(?3, 9223372036854775807)
 order by seq

-- name: last_step
select max(seq) from step where instance = ?

-- name: outline_of
-- What is read without touching the results.
select instance, {outline} from step where instance = ?1 order by seq

-- name: attempts_between
select seq, attempt, started_at, ended_at, error, retry_at
  from attempt
 where instance = ?1 and seq between ?2 and coalesce(?3, 9223372036854775807)
 order by seq, attempt

-- name: events_of
select instance, id, type, payload, created_at
  from event
 where instance in (select value from json_each(?1))
 order by id

-- name: write_steps
-- Record steps as they are now, many in one statement. A position is where subscribers see that the step began, and ended.
insert into step (instance, {step}, position, ended_position)
values {rows}
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

-- name: write_attempts
insert or replace into attempt (instance, seq, attempt, started_at, ended_at, error, retry_at, position)
values {rows}

-- name: write_status_events
-- Keep what came true: a transitions that lost to a pause or an end did not happen. A cross join: from some hundred rows on the
-- planner would rather look at every instance there is.
with v (position, instance, type, at) as (values {rows})
insert into status_event (position, instance, type, at)
select v.position, v.instance, v.type, v.at
  from v cross join instance as i on i.pk = v.instance
 where v.type = 'workflow_' || i.status

-- name: insert_status_events
insert into status_event (position, instance, type, at) values (?, ?, ?, ?)

-- name: write_instances
-- Move instances on. A pause that was promised meanwhile wins over waiting and running; one that was taken back
-- loses; and what has ended stays as it ended. One that parks while an event it waits for is on disk already, from a
-- moment before, or while a child it waits for has ended or was deleted, is due at once: whoever brought that about
-- found it at work and left the handing over to its owner. Of a child that was never created the step has no attempt.
with v (pk, status, due_at, output, error, ended_at, expires_at, rollback, ended_position) as (values {rows})
update instance
   set status = case
         when instance.status = 'waitingForPause' and v.status in ('waiting', 'paused') then 'paused'
         when instance.status = 'waitingForPause' and v.status = 'running' then 'waitingForPause'
         when v.status = 'paused' then instance.status
         else v.status
       end,
       due_at = case
         when instance.status = 'waitingForPause' then null
         when v.status = 'paused' then instance.due_at
         when v.status = 'waiting' and exists (
                select 1
                  from event as e join step as s on s.instance = e.instance and s.event_type = e.type
                 where e.instance = v.pk and {open} and s.kind = 'wait') then 0
         when v.status = 'waiting' and exists (
                select 1
                  from step as s
                       left join instance as c
                         on c.workflow = substr(s.child, 1, instr(s.child, '/') - 1)
                            and c.id = substr(s.child, instr(s.child, '/') + 1) and c.parent = s.instance
                 where s.instance = v.pk and {open} and s.kind = 'child'
                   and (c.ended_at is not null or (c.pk is null and s.attempt > 0))) then 0
         else v.due_at
       end,
       output = v.output,
       error = v.error,
       ended_at = v.ended_at,
       expires_at = v.expires_at,
       rollback = v.rollback,
       ended_position = v.ended_position
  from v
 where instance.pk = v.pk and instance.ended_at is null
   and (v.ended_at is not null or instance.status in ('running', 'waiting', 'waitingForPause'))

-- name: delete_events
delete from event where id in (select value from json_each(?1))

-- name: restore_events
-- Give events back that waits consumed which had been cancelled before.
insert or ignore into event (id, instance, type, payload, created_at)
select value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 from json_each(?1)

-- name: insert_event
insert into event (instance, type, payload, created_at) values (?, ?, ?, ?) returning id

-- name: wake_for_event
-- An instance that waits for this type of event is due now.
update instance
   set due_at = min(coalesce(due_at, ?2), ?2)
 where pk = ?1 and status = 'waiting'
   and exists (select 1
                 from step
                where instance = ?1 and {open}
                  and kind = 'wait' and event_type = ?3)
returning pk

-- name: pause_instance
update instance
   set status = case when status = 'running' and due_at is null then 'waitingForPause' else 'paused' end,
       due_at = null,
       paused_at = ?2
 where pk = ?1 and status in ('queued', 'running', 'waiting')
returning status

-- name: shift_timers
-- Move what was still to come by the time spent paused; a sleep until a moment stays where it is.
update step
   set wake_at = wake_at + ?2
 where instance = ?1 and {open} and is_absolute = 0 and wake_at > ?3

-- name: resume_instance
update instance
   set status = case when status = 'waitingForPause' then 'running' else 'queued' end,
       due_at = case when status <> 'waitingForPause' then ?2 end,
       paused_at = null,
       ended_at = null,
       expires_at = null,
       ended_position = null,
       error = null
 where pk = ?1 and status in ('paused', 'waitingForPause', 'errored')
returning status

-- name: terminate_instance
update instance
   set status = 'terminated', due_at = null, ended_at = ?2, expires_at = ?2 + success_retention_ms, ended_position = ?3
 where pk = ?1

-- name: cancel_open_steps
update step
   set state = 'cancelled', ended_at = ?2
 where instance = ?1 and {open}

-- name: delete_steps
delete from step where instance = ?

-- name: delete_attempts
delete from attempt where instance = ?

-- name: delete_instance_events
delete from event where instance = ?

-- name: restart_instance
update instance
   set status = 'queued', due_at = ?2, started_at = null, ended_at = null, paused_at = null,
       recoveries = 0, progress_at_recovery = -1, restarts = restarts + 1,
       output = null, error = null, rollback = null, expires_at = null,
       ended_position = null, version = ?3, python = ?4
 where pk = ?1

-- name: delete_status_events
delete from status_event where instance = ?

-- name: insert_restart_event
-- Events of the next life are numbered above this: a step makes at most five, an attempt two, an instance four.
insert into status_event (position, instance, type, at, number)
select ?2, ?1, 'restarted', ?3,
       4 + coalesce((select max(number) from status_event where instance = ?1), 0)
       + (select count(*) from status_event where instance = ?1)
       + 5 * (select count(*) from step where instance = ?1)
       + 2 * (select count(*) from attempt where instance = ?1)

-- name: delete_status_events_before_restart
delete from status_event
 where instance = ?1 and position < (select max(position) from status_event where instance = ?1 and type = 'restarted')

-- name: insert_end_event
-- An end that is taken back stays among the events, or the numbers of all that follow would transitions.
insert into status_event (position, instance, type, at)
select ended_position, pk, 'workflow_' || status, ended_at
  from instance
 where pk = ?1 and status = 'errored' and ended_position is not null

-- name: delete_chunks
delete from chunk where instance = ?

-- name: delete_tags
delete from tag where instance = ?

-- name: delete_instance
delete from instance where pk = ?
