-- Where the numbers of an instance's events go on after a restart: above all that were given before it.
alter table everstep.milestone add column number bigint;
