-- The order in which an instance's code hears of things, for replaying it exactly: what it had heard when it asked for a
-- step and when it cancelled it, the number of the step's end, and what had a row by then. Steps inside a step name it.
alter table step add column parent integer;
alter table step add column asked_after integer;
alter table step add column cancelled_after integer;
alter table step add column settlement integer;
alter table step add column sent_after integer;
