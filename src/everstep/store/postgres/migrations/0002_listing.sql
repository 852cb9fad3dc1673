-- Pages of a workflow's instances, newest first.
create index instance_listed on everstep.instance (workflow, pk);
