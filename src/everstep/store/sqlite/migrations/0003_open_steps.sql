-- Steps that have not ended, once more: SQLite turns an `in` with three values into a table of its own for every row
-- that is written. With `or` it compares, and statements that say the same words find the index.
drop index step_open;

create index step_open on step (instance) where state = 'running' or state = 'retrying' or state = 'waiting';
