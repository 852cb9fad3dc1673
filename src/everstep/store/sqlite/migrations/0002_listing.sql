-- Pages of a workflow's instances, newest first: by workflow and, as in every index, by key.
create index instance_listed on instance (workflow);
