-- What is stuck is asked for again once a day, so that it is archived by itself when what it failed by is mended. What got
-- stuck before this was known waits for an operator no longer.
update recordings set due_at_ms = 0 where state = 'stuck' and due_at_ms is null and run_id is null;
