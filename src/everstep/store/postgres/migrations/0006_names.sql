-- Tables and columns by the terms that PostgreSQL, Temporal and Oban use, with the unit in the name.
alter table everstep.lane rename to writer;
alter table everstep.writer rename column receipt to last_txn;
alter table everstep.note rename to invalidation;
alter table everstep.milestone rename to status_event;
alter table everstep.instance rename column keep_success to success_retention_ms;
alter table everstep.instance rename column keep_errors to error_retention_ms;
alter table everstep.instance rename column recovered_position to progress_at_recovery;
alter table everstep.step rename column absolute to is_absolute;
