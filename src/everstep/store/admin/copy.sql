-- name: at_work
-- At the source: what an engine had when it died. A clean stop leaves none.
select count(*)
  from instance
 where status in ('running', 'waitingForPause') and (status = 'waitingForPause' or due_at is null)

-- name: lock_target
-- Nobody writes at the target until we are done; a worker that starts meanwhile waits.
lock table everstep.worker, everstep.instance in share row exclusive mode

-- name: live_workers
select count(*) from everstep.worker where lease_until > clock_timestamp()

-- name: register_dead_worker
-- What was at work belongs to a worker whose lease is over: the first to start adopts it, as it does after any crash.
insert into everstep.worker (lease_until, host, pid) values ('-infinity', 'updated from SQLite', 0) returning id

-- name: columns_of
select column_name::text from information_schema.columns where table_schema = $1 and table_name = $2

-- name: set_identity
-- Keys that were given out at the source are not given out again, not even those of instances that are gone.
select setval(pg_get_serial_sequence($1, $2), $3::bigint)

-- name: set_position
-- Positions rise on from where the source's could have been: it numbers by blocks of 2^32, PostgreSQL by groups of 2^20.
select setval('everstep.position', ($1::bigint + 1) << 12)
