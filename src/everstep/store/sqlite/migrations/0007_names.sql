-- Tables and columns by the terms that PostgreSQL, Temporal and Oban use, with the unit in the name.
alter table milestone rename to status_event;
alter table counter rename to position_allocator;
alter table instance rename column keep_success to success_retention_ms;
alter table instance rename column keep_errors to error_retention_ms;
alter table instance rename column recovered_position to progress_at_recovery;
alter table step rename column absolute to is_absolute;
