-- The order in which an instance's code hears of things, for replaying it exactly: what it had heard when it asked for a
-- step and when it cancelled it, the number of the step's end, and what had a row by then. Steps inside a step name it.
alter table everstep.step
  add column parent integer,
  add column asked_after integer,
  add column cancelled_after integer,
  add column settlement integer,
  add column sent_after integer;
